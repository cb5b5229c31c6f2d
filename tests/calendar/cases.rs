//! Cases: random expressions in random zones, half of them begun shortly before the clock changes.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The range in which cases begin, in seconds: from 1973, when the last zone came to differ from UTC by whole minutes (the
/// other readers go along in those), to 2036.
const STARTS: (i64, i64) = (94_694_400, 2_082_758_400);

use crate::TIMES;

/// How many changes of the clock are looked at for an awkward one.
const AWKWARD_SEARCHED_MAX: usize = 300;
/// What the time zone database holds that is no zone of any place; Rota takes neither, the other readers take both.
const NO_ZONES: [&str; 2] = ["Etc/Unknown", "Factory"];
/// The zones that left out a whole day since 1971, and when they had done so, in seconds.
pub const LOST_DAYS: [(&str, i64); 7] = [
    ("Kwajalein", 746_000_000),
    ("Pacific/Kwajalein", 746_000_000),
    ("Pacific/Enderbury", 790_000_000),
    ("Pacific/Kanton", 790_000_000),
    ("Pacific/Kiritimati", 790_000_000),
    ("Pacific/Apia", 1_325_500_000),
    ("Pacific/Fakaofo", 1_325_500_000),
];

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    pub expression: String,
    pub zone: String,
    pub start: i64,
}

impl Case {
    /// The question for a worker.
    pub fn line(&self) -> String {
        let Self { expression, zone, start } = self;
        format!("{expression}\t{zone}\t{start}\t{TIMES}")
    }
}

/// Numbers that a seed determines (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `from` up to and including `to`.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.number() % u64::try_from(to - from + 1).unwrap()).unwrap()
    }

    pub fn one_in(&mut self, count: i64) -> bool {
        self.between(1, count) == 1
    }
}

/// Makes cases, all of them known by the seed.
pub struct Cases {
    random: Random,
    zones: Vec<(String, TimeZone)>,
    /// Whether day fields may hold what only some readers know: L, LW, # and the last weekday.
    extended: bool,
}

impl Cases {
    pub fn new(seed: u64, extended: bool) -> Self {
        let database = TimeZoneDatabase::bundled();
        let names = database.available().map(|name| name.as_str().to_owned());
        let zones = names.filter(|name| !NO_ZONES.contains(&name.as_str())).map(|name| {
            let zone = database.get(&name).unwrap();
            (name, zone)
        });
        Self { random: Random::new(seed), zones: zones.collect(), extended }
    }

    /// A case whose zone leaves out no whole day after its beginning.
    pub fn make_without_lost_days(&mut self) -> Case {
        loop {
            let case = self.make();
            let lost = LOST_DAYS.iter().find(|(zone, _)| *zone == case.zone);
            if lost.is_none_or(|(_, until)| case.start > *until) {
                return case;
            }
        }
    }

    pub fn make(&mut self) -> Case {
        let index = self.random.between(0, self.zones.len() as i64 - 1) as usize;
        let (zone, clock) = self.zones[index].clone();
        let any = self.random.between(STARTS.0, STARTS.1);
        let change = clock.following(Timestamp::from_second(any).unwrap()).next().map(|it| it.timestamp().as_second());
        let start = match change.filter(|change| *change < STARTS.1 && !self.random.one_in(2)) {
            Some(change) => change - self.random.between(-7_200, 30 * 3_600),
            None => any,
        };
        Case { expression: self.expression(), zone, start }
    }

    fn expression(&mut self) -> String {
        let minute = self.field(0, 59, &[]);
        // Most changes are in the small hours.
        let hour = if self.random.one_in(2) { self.field(0, 23, &[]) } else { self.field(0, 4, &[]) };
        let rare = self.random.one_in(3);
        let day = if rare { self.day() } else { "*".to_owned() };
        let month = if self.random.one_in(4) { self.field(1, 12, &["jan", "MAR", "Oct", "nov"]) } else { "*".into() };
        let weekday = if self.random.one_in(3) { self.weekday() } else { "*".to_owned() };
        format!("{minute} {hour} {day} {month} {weekday}")
    }

    fn day(&mut self) -> String {
        if self.extended && self.random.one_in(4) {
            return ["L", "LW", "15,L", "*/9,L"][self.random.between(0, 3) as usize].to_owned();
        }
        self.field(1, 31, &[])
    }

    fn weekday(&mut self) -> String {
        if self.extended && self.random.one_in(4) {
            let (day, turn) = (self.random.between(0, 7), self.random.between(1, 5));
            return if self.random.one_in(2) { format!("{day}#{turn}") } else { format!("{day}L") };
        }
        // robfig knows no 7, and a step without an end stops at different days.
        let field = self.field(0, 6, &["sun", "MON", "Fri"]);
        let open = field.split(',').any(|part| part.contains('/') && !part.contains(['-', '*']));
        if open { "1-5".to_owned() } else { field }
    }

    fn field(&mut self, low: i64, high: i64, names: &[&str]) -> String {
        match self.random.between(1, 10) {
            1..=2 => "*".to_owned(),
            3 => format!("*/{}", self.random.between(1, high.min(31))),
            4 if !names.is_empty() => names[self.random.between(0, names.len() as i64 - 1) as usize].to_owned(),
            4..=6 => self.random.between(low, high).to_string(),
            _ => {
                let count = self.random.between(1, 3);
                (0..count).map(|_| self.part(low, high)).collect::<Vec<_>>().join(",")
            }
        }
    }

    fn part(&mut self, low: i64, high: i64) -> String {
        let (one, other) = (self.random.between(low, high), self.random.between(low, high));
        let (from, to) = (one.min(other), one.max(other));
        match self.random.between(1, 5) {
            1..=2 => from.to_string(),
            3 => format!("{from}-{to}"),
            // cronsim reads a step of a range with one value as one without an end.
            4 if from < to => format!("{from}-{to}/{}", self.random.between(1, 20)),
            4 => from.to_string(),
            _ => format!("{from}/{}", self.random.between(2, 20)),
        }
    }
}

/// Whether the clock changes, from a month before the case begins until `last`, in a way at which readers lose their way
/// that go along in whole hours and days: at midnight, off the hour, or by other than an hour.
pub fn meets_awkward_change(case: &Case, last: Option<i64>) -> bool {
    let zone = TimeZoneDatabase::bundled().get(&case.zone).unwrap();
    let begin = Timestamp::from_second(case.start - 31 * 86_400).unwrap();
    let mut before = zone.to_offset(begin);
    let changes =
        zone.following(begin).take_while(|change| last.is_none_or(|last| change.timestamp().as_second() <= last));
    changes.take(AWKWARD_SEARCHED_MAX).any(|change| {
        let (until, resumes) =
            (before.to_datetime(change.timestamp()), change.offset().to_datetime(change.timestamp()));
        let seconds = change.offset().seconds() - before.seconds();
        before = change.offset();
        let (low, high) = (until.min(resumes), until.max(resumes));
        seconds != 0 && (low.date() != high.date() || low.hour() == 0 || seconds.abs() != 3_600 || until.minute() != 0)
    })
}
