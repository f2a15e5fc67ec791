//! The images that the models are most wrong about.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fivefold_common::report::Report;
use fivefold_common::scores::{ScoreRow, Source};
use fivefold_common::spec::Task;
use maud::{Markup, html};

use crate::Picture;
use crate::chart::cut;
use crate::rows::{Row, Rows};

/// The number of images that are shown.
pub const MISTAKES: usize = 24;
/// The least score in a loss: one of 0 for a true label would be an infinite mistake.
const LEAST_SCORE: f64 = 1e-7;
const ID_CHARS: usize = 40;

/// The loss of a row: mean binary cross-entropy over the labels or, with one class per row, the cross-entropy.
fn loss(task: Task, row: &ScoreRow) -> f64 {
    let surprise = |score: f64| -score.max(LEAST_SCORE).ln();
    let scores = (0_u16..).zip(&row.scores).map(|(label, score)| (row.target.contains(label), f64::from(*score)));
    match task {
        Task::Multiclass => scores.filter(|(is_true, _)| *is_true).map(|(_, score)| surprise(score)).sum(),
        Task::Multilabel => {
            let losses = scores.map(|(is_true, score)| surprise(if is_true { score } else { 1.0 - score }));
            losses.sum::<f64>() / row.scores.len() as f64
        }
    }
}

/// The wrong rows with the highest loss, in falling order.
fn worst<'r, 'a>(task: Task, rows: &'r Rows<'a>) -> Vec<(f64, &'r Row<'a>)> {
    let wrong = rows.rows.iter().filter(|row| row.predicted != row.scored.target);
    let mut wrong: Vec<(f64, &Row<'a>)> = wrong.map(|row| (loss(task, row.scored), row)).collect();
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0));
    wrong.truncate(MISTAKES);
    wrong
}

/// A card for each of the worst mistakes.
pub(crate) fn mistakes(report: &Report, rows: &Rows<'_>, picture: &dyn Fn(Source, &str) -> Picture) -> Markup {
    let worst = worst(report.task, rows);
    html! {
        @if worst.is_empty() { p { "Every image has exactly its labels." } }
        div.cards {
            @for (loss, row) in &worst {
                article {
                    (shown(&picture(row.scored.source, &row.scored.id), &row.scored.id))
                    h3 title=(row.scored.id) { (cut(&row.scored.id, ID_CHARS)) }
                    p { "is " (rows.list(&row.scored.target)) }
                    p { "predicted " (rows.list(&row.predicted)) }
                    p.faint { (row.scored.source) ", fold " (row.scored.fold) ", loss " (format!("{loss:.3}")) }
                    (scores(row, rows))
                }
            }
        }
    }
}

fn shown(picture: &Picture, id: &str) -> Markup {
    match picture {
        Picture::Png(bytes) => {
            html! { img alt=(format!("image {id}")) src=(format!("data:image/png;base64,{}", STANDARD.encode(bytes))); }
        }
        Picture::Unreadable(reason) => html! { p.faint { "No picture: " (reason) } },
        Picture::None => html! {},
    }
}

/// The scores of the labels that the row has or should have.
fn scores(row: &Row<'_>, rows: &Rows<'_>) -> Markup {
    let concerned = |label: &u16| row.scored.target.contains(*label) || row.predicted.contains(*label);
    let labels: Vec<u16> = (0_u16..).take(row.scored.scores.len()).filter(concerned).collect();
    html! {
        ul {
            @for &label in &labels {
                @let mark = match (row.scored.target.contains(label), row.predicted.contains(label)) {
                    (true, true) => "right",
                    (true, false) => "missed",
                    _ => "wrong",
                };
                li { (rows.name(label)) " " (format!("{:.3}", row.scored.scores[usize::from(label)])) " " span.faint { (mark) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::{report, table};

    #[test]
    fn the_worst_come_first_and_right_ones_not_at_all() {
        let (report, table) = (report(), table());
        let rows = Rows::of(&report, &table);
        let ids: Vec<&str> = worst(report.task, &rows).iter().map(|(_, row)| row.scored.id.as_str()).collect();
        assert_eq!(ids, ["d", "c"]);
        let d = &table.rows[3];
        let expected =
            -((1.0 - f64::from(0.2_f32)).ln() + (1.0 - f64::from(0.65_f32)).ln() + f64::from(0.1_f32).ln()) / 3.0;
        assert!((loss(Task::Multilabel, d) - expected).abs() < 1e-12);
        assert!((loss(Task::Multiclass, d) + f64::from(0.1_f32).ln()).abs() < 1e-12);
        let impossible = ScoreRow { scores: vec![1.0, 0.0, 0.0], ..d.clone() };
        assert!(loss(Task::Multiclass, &impossible).is_finite());
    }

    #[test]
    fn pictures_are_in_the_page_and_their_absence_is_explained() {
        let (report, table) = (report(), table());
        let rows = Rows::of(&report, &table);
        let picture = |_: Source, id: &str| match id {
            "d" => Picture::Png(vec![1, 2, 3]),
            _ => Picture::Unreadable("c.png: no such file".to_owned()),
        };
        let page = mistakes(&report, &rows, &picture).into_string();
        assert!(page.contains("src=\"data:image/png;base64,AQID\""), "{page}");
        assert!(page.contains("No picture: c.png: no such file"), "{page}");
        assert!(page.contains("Cytosol 0.100 <span class=\"faint\">missed"), "{page}");
    }
}
