//! Tables and durations as kubectl prints them: columns in capitals, three blanks between them, no lines.

use jiff::SignedDuration;

/// The blanks between two columns.
const GAP: &str = "   ";
/// Units of a duration, in seconds, with the number of the larger one from which on the smaller is left out.
const UNITS: [(&str, i64, i64); 4] = [("d", 86_400, 8), ("h", 3_600, 8), ("m", 60, 10), ("s", 1, i64::MAX)];

/// A table with one line a row. A column that is empty in every row is left out.
pub fn table<const COLUMNS: usize>(header: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        if longest == 0 { 0 } else { longest.max(header[column].chars().count()) }
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    let mut line = |cells: [&str; COLUMNS]| {
        let shown = cells.iter().zip(widths).filter(|(_, width)| *width > 0);
        let cells: Vec<String> = shown.map(|(cell, width)| format!("{cell:width$}")).collect();
        text += cells.join(GAP).trim_end();
        text.push('\n');
    };
    line(header);
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()));
    }
    text
}

/// How long something takes, in one or two units: `45s`, `3h20m`, `12d`.
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < 0 {
        return format!("-{}", self::duration(duration.abs()));
    }
    let Some(index) = UNITS.iter().position(|(_, unit, _)| seconds >= *unit) else { return "0s".into() };
    let (name, unit, alone_from) = UNITS[index];
    let (number, rest) = (seconds / unit, seconds % unit);
    match UNITS.get(index + 1) {
        Some((smaller, smaller_unit, _)) if number < alone_from && rest >= *smaller_unit => {
            format!("{number}{name}{}{smaller}", rest / smaller_unit)
        }
        _ => format!("{number}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_longest_cells_and_shows_no_empty_column() {
        let rows = [["1", "a long cell", "", "x"], ["22", "b", "", ""]].map(|row| row.map(str::to_owned));
        let expected = "#    WHAT          NOTE\n1    a long cell   x\n22   b\n";
        assert_eq!(table(["#", "WHAT", "EMPTY", "NOTE"], &rows), expected);
    }

    #[test]
    fn durations_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (60, "1m"),
            (599, "9m59s"),
            (601, "10m"),
            (3_600 * 3 + 1_230, "3h20m"),
            (3_600 * 23, "23h"),
            (86_400 * 2 + 3_599, "2d"),
            (86_400 * 7 + 7_200, "7d2h"),
            (86_400 * 400, "400d"),
            (-90, "-1m30s"),
        ] {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
    }
}
