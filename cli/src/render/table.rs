//! Tables.

use super::page::{Page, Paint, Tone, cut};

/// The space between two columns.
const GAP: usize = 2;

/// A column of a table that fits its page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    header: &'static str,
    /// The columns of the highest rank are left out first where the page is narrow; those of rank 0 always stay.
    rank: u8,
    /// How narrow the column may become before others are left out.
    least_width: usize,
    /// The width that it has at least, also without anything in it, in a table that is drawn again and again.
    steady_width: usize,
}

impl Column {
    /// A column that always stays.
    pub(crate) fn new(header: &'static str) -> Self {
        Self { header, rank: 0, least_width: usize::MAX, steady_width: 0 }
    }

    pub(crate) fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    pub(crate) fn least_width(self, least_width: usize) -> Self {
        Self { least_width, ..self }
    }

    pub(crate) fn steady_width(self, steady_width: usize) -> Self {
        Self { steady_width, ..self }
    }
}

/// `columns` without their steady widths, for a table that is drawn once.
pub(crate) fn drawn_once<const COLUMNS: usize>(columns: [Column; COLUMNS]) -> [Column; COLUMNS] {
    columns.map(|column| column.steady_width(0))
}

/// The text at one place of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone: Some(tone) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: None }
    }
}

/// `rows` under the headers of `columns`, with two spaces between the columns and no trailing spaces, in lines of at most
/// `page.width` characters. Columns without anything in them are left out.
pub(crate) fn fitted_table<const COLUMNS: usize>(
    columns: [Column; COLUMNS],
    rows: &[[Cell; COLUMNS]],
    page: &Page,
) -> String {
    let widths = fitted_widths(&columns, rows, page.width);
    let mut text = String::new();
    let header = columns.map(|column| Cell::toned(column.header, Tone::Head));
    for row in std::iter::once(&header).chain(rows) {
        text += &line(row, &widths, page.paint);
    }
    text
}

/// The width of each column; 0 for those that are left out.
fn fitted_widths<const COLUMNS: usize>(
    columns: &[Column; COLUMNS],
    rows: &[[Cell; COLUMNS]],
    page_width: usize,
) -> [usize; COLUMNS] {
    let mut widths: [usize; COLUMNS] = std::array::from_fn(|place| {
        let cells = rows.iter().map(|row| row[place].text.as_str());
        let is_empty = cells.clone().all(|text| text.is_empty() || text == NOTHING);
        let steady = columns[place].steady_width;
        if is_empty && columns[place].rank > 0 && steady == 0 {
            return 0;
        }
        let widths = cells.chain([columns[place].header]).map(|text| text.chars().count());
        widths.chain([steady]).max().unwrap_or_default()
    });
    let least = |widths: &[usize; COLUMNS]| -> [usize; COLUMNS] {
        std::array::from_fn(|place| widths[place].min(columns[place].least_width))
    };
    while total(&least(&widths)) > page_width {
        let shown = (0..COLUMNS).filter(|&place| widths[place] > 0 && columns[place].rank > 0);
        let Some(dispensable) = shown.max_by_key(|&place| columns[place].rank) else { break };
        widths[dispensable] = 0;
    }
    // The last columns give way first. Where not even the least widths fit, each column keeps a character.
    let least = least(&widths);
    let least = if total(&least) > page_width { widths.map(|width| width.min(1)) } else { least };
    for place in (0..COLUMNS).rev() {
        let excess = total(&widths).saturating_sub(page_width);
        widths[place] = widths[place].saturating_sub(excess).max(least[place]);
    }
    widths
}

/// The length of a line.
fn total(widths: &[usize]) -> usize {
    widths.iter().filter(|width| **width > 0).map(|width| width + GAP).sum::<usize>().saturating_sub(GAP)
}

fn line<const COLUMNS: usize>(row: &[Cell; COLUMNS], widths: &[usize; COLUMNS], paint: Paint) -> String {
    let mut line = String::new();
    // Spaces are written before the next text, so that no line ends with them.
    let mut spaces = 0;
    for (cell, &width) in row.iter().zip(widths).filter(|(_, width)| **width > 0) {
        let text = cut(&cell.text, width);
        let length = text.chars().count();
        if length > 0 {
            line += &" ".repeat(spaces);
            line += &paint.apply(cell.tone, &text);
            spaces = 0;
        }
        spaces += width - length + GAP;
    }
    line.push('\n');
    line
}

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
    use crate::render::page::tests::terminal;

    #[test]
    fn columns_line_up() {
        let rows = [["0".to_owned(), "leased".to_owned(), String::new()], ["10".into(), "é".into(), "why".into()]];
        assert_eq!(
            table(["FOLD", "STATE", "REASON"], &rows),
            "FOLD  STATE   REASON\n0     leased\n10    é       why\n"
        );
    }

    #[test]
    fn a_narrow_page_shortens_columns_and_then_leaves_some_out() {
        let columns = [
            Column::new("FOLD"),
            Column::new("WORKER").rank(1).least_width(6),
            Column::new("LOSS").rank(2),
            Column::new("NOTE").rank(3),
        ];
        let rows = [
            ["0".into(), "gpu1-cuda0".into(), "0.25".into(), NOTHING.into()],
            ["1".into(), NOTHING.into(), Cell::toned("0.5", Tone::Bad), "".into()],
        ];
        let on = |width| fitted_table(columns, &rows, &terminal(width, 24));
        assert_eq!(on(80), "FOLD  WORKER      LOSS\n0     gpu1-cuda0  0.25\n1     -           0.5\n");
        assert_eq!(on(20), "FOLD  WORKER    LOSS\n0     gpu1-cu…  0.25\n1     -         0.5\n");
        assert_eq!(on(17), "FOLD  WORKER\n0     gpu1-cuda0\n1     -\n");
        assert_eq!(on(12), "FOLD  WORKER\n0     gpu1-…\n1     -\n");
        assert_eq!(on(3), "FO…\n0\n1\n");
        let coloured = Page { paint: Paint::Coloured, ..terminal(20, 24) };
        let text = fitted_table(columns, &rows, &coloured);
        assert!(text.ends_with("1     -         \u{1b}[31m0.5\u{1b}[0m\n"), "{text}");
    }
}
