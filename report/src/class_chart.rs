//! F1 of each label as a bar, with its F1 in each fold.

use fivefold_common::macro_f1::ClassTally;
use fivefold_common::report::{ClassReport, Report};
use maud::Markup;
use plotters::prelude::{Circle, PathElement, Rectangle, Text};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::chart::{BLUE, DrawError, FAINT, INK, ORANGE, canvas, cut, figure, text_style};
use crate::rows::Rows;

/// The labels with bars, those of the lowest F1.
const LABELS: usize = 60;
const WIDTH: i32 = 760;
const NAME_WIDTH: i32 = 190;
const BAR_HEIGHT: i32 = 18;
const AXIS_HEIGHT: i32 = 24;
const NAME_CHARS: usize = 26;

/// Bars in label order, of the labels that some row has.
pub(crate) fn class_chart(report: &Report, rows: &Rows<'_>) -> Result<Markup, DrawError> {
    let mut classes: Vec<&ClassReport> = report.per_class.iter().filter(|class| class.scores.support > 0).collect();
    let is_cut = classes.len() > LABELS;
    if is_cut {
        classes.sort_by(|a, b| a.scores.f1.total_cmp(&b.scores.f1));
        classes.truncate(LABELS);
    }
    let of_folds = f1_of_folds(report, rows);
    let height = classes.len() as i32 * BAR_HEIGHT + AXIS_HEIGHT;
    let right = |f1: f64| NAME_WIDTH + ((WIDTH - NAME_WIDTH - 20) as f64 * f1).round() as i32;
    let chart = canvas((WIDTH as u32, height as u32), |root| {
        let centred = text_style().pos(Pos::new(HPos::Center, VPos::Top));
        let ended = text_style().pos(Pos::new(HPos::Right, VPos::Center));
        for tenths in [0, 2, 4, 6, 8, 10] {
            let x = right(f64::from(tenths) / 10.0);
            root.draw(&PathElement::new([(x, 0), (x, height - AXIS_HEIGHT)], FAINT.mix(0.5)))?;
            root.draw(&Text::new(format!("{:.1}", f64::from(tenths) / 10.0), (x, height - AXIS_HEIGHT + 4), &centred))?;
        }
        for (place, class) in (0..).zip(&classes) {
            let (top, middle) = (place * BAR_HEIGHT + 3, place * BAR_HEIGHT + BAR_HEIGHT / 2);
            let corners = [(NAME_WIDTH, top), (right(class.scores.f1), top + BAR_HEIGHT - 6)];
            root.draw(&Rectangle::new(corners, BLUE.mix(0.7).filled()))?;
            root.draw(&Text::new(cut(&class.name, NAME_CHARS), (NAME_WIDTH - 6, middle), &ended))?;
            for tally in &of_folds {
                let counts = tally.classes[usize::from(class.label)];
                if counts.support > 0 {
                    root.draw(&Circle::new((right(counts.f1()), middle), 3, ORANGE.filled()))?;
                }
            }
        }
        root.draw(&PathElement::new([(NAME_WIDTH, 0), (NAME_WIDTH, height - AXIS_HEIGHT)], INK))?;
        Ok(())
    })?;
    let keys = [(BLUE, "all folds".to_owned()), (ORANGE, "each fold".to_owned())];
    let about = if is_cut { format!("The {LABELS} labels with the lowest F1.") } else { "In label order.".to_owned() };
    Ok(figure("F1 of the labels", &about, &keys, &chart))
}

/// The counts of each fold that has rows, in the order of the folds.
pub(crate) fn f1_of_folds(report: &Report, rows: &Rows<'_>) -> Vec<ClassTally> {
    let of_fold = |fold| {
        let mut tally = ClassTally::new(rows.names.len());
        for row in rows.rows.iter().filter(|row| row.scored.fold == fold) {
            tally.add(&row.scored.target, &row.predicted);
        }
        tally
    };
    report.per_fold.iter().map(|fold| of_fold(fold.fold)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::{report, table};

    #[test]
    fn the_folds_counts_are_those_of_the_whole() {
        let (report, table) = (report(), table());
        let rows = Rows::of(&report, &table);
        let folds = f1_of_folds(&report, &rows);
        let support: Vec<u64> = folds.iter().map(|tally| tally.classes[0].support).collect();
        assert_eq!(support, [2, 0]);
        let svg = class_chart(&report, &rows).unwrap().into_string();
        assert!(svg.contains("Golgi &lt;apparatus&gt;"), "{svg}");
    }
}
