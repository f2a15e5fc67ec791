//! What a watch shows on a terminal.

use fivefold_common::job::JobKind;
use fivefold_common::job_set::JobSetState;
use fivefold_proto::convert::job_set_state_from_wire;

use crate::render::fold_table::short_table;
use crate::render::job_set::headline;
use crate::render::page::{Page, Tone, cut};
use crate::render::view::View;

/// The lines of the screen that are left for events and for the cursor.
const SPARE_LINES: usize = 2;

/// The job set in lines that fit the page: what it does, what remains, and its folds, those that run before all others.
pub(super) fn frame(view: &View<'_>, page: &Page) -> String {
    let mut lines = vec![page.paint.apply(Some(Tone::Head), &cut(&headline(view.set), page.width))];
    lines.extend(view.summary(&page.now).map(|summary| cut(&summary, page.width)));
    let predictions = view.jobs(JobKind::Predict).count();
    let is_predicting = job_set_state_from_wire(view.set.state) == Ok(JobSetState::Predicting) && predictions > 0;
    let kind = if is_predicting { JobKind::Predict } else { JobKind::Train };
    let height = page.height.saturating_sub(lines.len() + SPARE_LINES).max(3);
    lines.push(short_table(view, kind, page, height).trim_end().to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{Job, JobSet, job, job_set};

    use super::*;
    use crate::render::fold_table::tests::{history, spec, training, with_state};
    use crate::render::page::tests::terminal;

    fn training_set(jobs: Vec<Job>) -> JobSet {
        JobSet {
            id: "js-abcdefgh".into(),
            state: job_set::State::Training.into(),
            jobs,
            spec: Some(spec()),
            ..JobSet::default()
        }
    }

    #[test]
    fn a_frame_has_state_time_and_folds() {
        let jobs = vec![with_state(0, job::State::Succeeded), training(1, 24), with_state(2, job::State::Queued)];
        let history = history(&jobs);
        let set = training_set(jobs);
        let text = frame(&View::new(&set, &history), &terminal(80, 24));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "js-abcdefgh: training");
        assert_eq!(lines[1], "1 of 3 folds trained, training ends in about 4 h 20 min, at 02:48 on Mon");
        assert!(lines[2].starts_with("FOLD  STATE"), "{text}");
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn forty_folds_fit_small_terminals() {
        let mut jobs: Vec<Job> = (0..40).map(|fold| with_state(fold, job::State::Queued)).collect();
        jobs[37] = training(37, 5);
        let history = history(&jobs);
        let mut set = training_set(jobs);
        set.state_reason = "a long reason ".repeat(20);
        for (width, height) in [(80, 24), (60, 24), (80, 10), (40, 6)] {
            let text = frame(&View::new(&set, &history), &terminal(width, height));
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines.len() < height, "{} lines of {height}:\n{text}", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{text}");
            assert!(lines.iter().any(|line| line.starts_with("37    training")), "{text}");
            assert!(lines[0].ends_with('…') && lines.last().unwrap().starts_with("… and "), "{text}");
        }
    }
}
