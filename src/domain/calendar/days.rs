//! Days: which days of a month an expression names.
//!
//! A month is told by the weekday of its first day and by its length, so each question is answered for all its days at
//! once, and whether an expression ever comes true is known from the few kinds of months there are.

/// Every seventh day of a month from day 0.
const EVERY_SEVENTH: u64 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;
/// All days of the week.
const WHOLE_WEEK: u32 = 0b111_1111;
/// Saturday, counted from Sunday.
const SATURDAY: u32 = 6;
/// The lengths that each month can have, in days; January is the first.
const LENGTHS: [&[u32]; 12] = [&[31], &[28, 29], &[31], &[30], &[31], &[30], &[31], &[31], &[30], &[31], &[30], &[31]];

/// A day of the month and a day of the week as an expression restricts them. In each mask the bit of a number stands for
/// the number; weekdays count from Sunday.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Days {
    /// Days of the month by number.
    pub numbers: u32,
    /// Days by how many days come after them in their month (`L`, `L-3`).
    pub before_last: u32,
    /// Whether the last working day of the month is one (`LW`).
    pub last_working: bool,
    /// Days whose nearest working day is meant (`15W`).
    pub nearest: u32,
    /// Weekdays.
    pub weekdays: u32,
    /// Weekdays by their turn within the month (`5#2`); the first turn at 0.
    pub turns: [u32; 5],
    /// Weekdays of which the last of the month is meant (`5L`).
    pub last_weekdays: u32,
    /// Whether a day must be named by both fields, instead of by either.
    pub both: bool,
}

impl Days {
    /// The days of a month that are named, day 1 as bit 1, when its first day is that weekday.
    pub fn of_month(&self, first_weekday: u32, length: u32) -> u32 {
        let by_number = self.by_number(first_weekday, length);
        let by_weekday = self.by_weekday(first_weekday, length);
        if self.both { by_number & by_weekday } else { by_number | by_weekday }
    }

    /// Whether one of these months (January as bit 1) ever has such a day. Every month begins with every weekday in some
    /// year, also the February of a leap year.
    pub fn exist_in(&self, months: u64) -> bool {
        let named = (1..).zip(LENGTHS).filter(|(month, _)| months >> month & 1 == 1);
        named.flat_map(|(_, lengths)| lengths).any(|length| (0..7).any(|first| self.of_month(first, *length) != 0))
    }

    fn by_number(&self, first_weekday: u32, length: u32) -> u32 {
        let mut days = self.numbers;
        for back in ones(self.before_last).filter(|back| *back < length) {
            days |= 1 << (length - back);
        }
        let weekday = |day: u32| (first_weekday + day - 1) % 7;
        if self.last_working {
            days |= match weekday(length) {
                0 => 1 << (length - 2),
                SATURDAY => 1 << (length - 1),
                _ => 1 << length,
            };
        }
        for day in ones(self.nearest).filter(|day| *day <= length) {
            days |= match weekday(day) {
                0 if day < length => 1 << (day + 1),
                0 => 1 << (day - 2),
                SATURDAY if day > 1 => 1 << (day - 1),
                SATURDAY => 1 << (day + 2),
                _ => 1 << day,
            };
        }
        days & all_days(length)
    }

    fn by_weekday(&self, first_weekday: u32, length: u32) -> u32 {
        if self.weekdays == WHOLE_WEEK {
            return all_days(length);
        }
        let mut days = 0;
        for weekday in 0..7 {
            let first = 1 + (weekday + 7 - first_weekday) % 7;
            let every = mask(EVERY_SEVENTH << first) & all_days(length);
            if self.weekdays >> weekday & 1 == 1 {
                days |= every;
            }
            if self.last_weekdays >> weekday & 1 == 1 {
                days |= 1 << every.ilog2();
            }
            for turn in (0u32..).zip(self.turns).filter(|(_, turn)| turn >> weekday & 1 == 1).map(|(turn, _)| turn) {
                days |= every & mask(1 << (first + 7 * turn));
            }
        }
        days
    }
}

/// The days 1 to `length`.
fn all_days(length: u32) -> u32 {
    mask((2 << length) - 2)
}

/// The days of a month among the bits of a wider mask.
fn mask(days: u64) -> u32 {
    u32::try_from(days & u64::from(u32::MAX)).unwrap_or_default()
}

fn ones(mask: u32) -> impl Iterator<Item = u32> {
    (0..u32::BITS).filter(move |bit| mask >> bit & 1 == 1)
}
