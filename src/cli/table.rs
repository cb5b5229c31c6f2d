//! Tables as kubectl prints them: columns in capitals, three blanks between them, no lines.

use crate::domain::words::in_one_line;

/// The blanks between two columns.
const GAP: &str = "   ";

/// A table with one line a row. A column that is empty in every row is left out.
pub fn table<const COLUMNS: usize>(header: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let rows: Vec<[String; COLUMNS]> = rows.iter().map(|row| row.each_ref().map(|cell| in_one_line(cell))).collect();
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
    for row in &rows {
        line(std::array::from_fn(|column| row[column].as_str()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_longest_cells_and_shows_no_empty_column() {
        let rows = [["1", "a long cell", "", "x"], ["22", "b", "", ""]].map(|row| row.map(str::to_owned));
        let expected = "#    WHAT          NOTE\n1    a long cell   x\n22   b\n";
        assert_eq!(table(["#", "WHAT", "EMPTY", "NOTE"], &rows), expected);
        let forged = [["1", "waits\n2    done", "", "x"], ["22", "b", "", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(["#", "WHAT", "EMPTY", "NOTE"], &forged).lines().count(), 3, "a cell makes no row");
    }
}
