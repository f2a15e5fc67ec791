//! Tables.

/// `rows` under `header`, with two spaces between the columns and no trailing spaces.
pub(crate) fn table<const COLUMNS: usize>(header: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let header = header.map(str::to_owned);
    let mut widths = [0; COLUMNS];
    for row in std::iter::once(&header).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line += &format!("{cell:<width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// The cell of an unset value.
pub(crate) const NOTHING: &str = "-";

/// `value` with a fixed number of decimals, or [`NOTHING`].
pub(crate) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or(NOTHING.to_owned(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["0".to_owned(), "leased".to_owned(), String::new()], ["10".into(), "é".into(), "why".into()]];
        assert_eq!(
            table(["FOLD", "STATE", "REASON"], &rows),
            "FOLD  STATE   REASON\n0     leased\n10    é       why\n"
        );
    }
}
