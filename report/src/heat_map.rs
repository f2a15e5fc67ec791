//! A square of shaded cells, one for each pair of labels.

use maud::Markup;
use plotters::prelude::{FontTransform, Rectangle, Text};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::chart::{BLUE, DrawError, FAINT, canvas, cut, text_style};
use crate::rows::Rows;

const NAME_SIZE: i32 = 150;
const NAME_CHARS: usize = 20;
const LARGEST_CELL: i32 = 34;
const SMALLEST_CELL: i32 = 14;
/// The width of the cells together, unless they get too small.
const WIDTH: i32 = 560;

/// A cell for each pair of `labels`: the first is that of the row. `share` is its shade, in 0..=1; `text` is written in it
/// where there is room.
pub(crate) fn heat_map(
    rows: &Rows<'_>,
    labels: &[u16],
    share: impl Fn(u16, u16) -> f64,
    text: impl Fn(u16, u16) -> String,
) -> Result<Markup, DrawError> {
    let count = i32::try_from(labels.len()).unwrap_or(i32::MAX).max(1);
    let cell = (WIDTH / count).clamp(SMALLEST_CELL, LARGEST_CELL);
    let side = (NAME_SIZE + cell * count + 4) as u32;
    canvas((side, side), |root| {
        let ended = text_style().pos(Pos::new(HPos::Right, VPos::Center));
        let turned = text_style().transform(FontTransform::Rotate270).pos(Pos::new(HPos::Left, VPos::Center));
        let centred = text_style().pos(Pos::new(HPos::Center, VPos::Center));
        for (place, &label) in (0..).zip(labels) {
            let middle = NAME_SIZE + place * cell + cell / 2;
            let name = cut(rows.name(label), NAME_CHARS);
            root.draw(&Text::new(name.clone(), (NAME_SIZE - 6, middle), &ended))?;
            root.draw(&Text::new(name, (middle, NAME_SIZE - 6), &turned))?;
        }
        for (down, &row) in (0..).zip(labels) {
            for (across, &column) in (0..).zip(labels) {
                let corner = (NAME_SIZE + across * cell, NAME_SIZE + down * cell);
                let corners = [corner, (corner.0 + cell, corner.1 + cell)];
                root.draw(&Rectangle::new(corners, BLUE.mix(share(row, column).clamp(0.0, 1.0) * 0.85).filled()))?;
                root.draw(&Rectangle::new(corners, FAINT.mix(0.4)))?;
                let written = text(row, column);
                if cell == LARGEST_CELL && !written.is_empty() {
                    root.draw(&Text::new(written, (corner.0 + cell / 2, corner.1 + cell / 2), &centred))?;
                }
            }
        }
        Ok(())
    })
}
