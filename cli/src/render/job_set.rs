//! Job sets.

use fivefold_common::job::JobState;
use fivefold_common::job_set::JobSetState;
use fivefold_common::one_line::one_line;
use fivefold_common::spec::Objective;
use fivefold_proto::convert::{job_set_state_from_wire, job_state_from_wire};
use fivefold_proto::v1::JobSet;

use super::job::objective;
use super::page::{Page, Tone};
use super::table::{Cell, Column, NOTHING, fitted_table, number};
use super::text::{time, word};

/// Id, name, state, score and reason of a job set in one line.
pub(crate) fn headline(set: &JobSet) -> String {
    let mut line = format!("{}: {}", id_and_name(set), state_word(set));
    let objective = objective(set);
    if let Some(value) = set.objective.filter(|_| objective != Objective::MacroF1) {
        line += &format!(", {} {value:.4}", objective.title());
    }
    if let Some(macro_f1) = set.macro_f1 {
        let at = set.threshold.map_or(String::new(), |threshold| format!(" at threshold {threshold:.4}"));
        line += &format!(", macro F1 {macro_f1:.4}{at}");
    }
    if let Some(at) = set.pause_time {
        line += &format!(", to be paused at {}", time(at));
    }
    if !set.kept_folds.is_empty() {
        line += &format!(", partial: {}", kept_folds(set));
    }
    if !set.state_reason.is_empty() {
        line += &format!(": {}", one_line(&set.state_reason));
    }
    line
}

/// Its id and, if it has one, its name: `js-abcdefgh (evening)`.
pub(crate) fn id_and_name(set: &JobSet) -> String {
    let (id, name) = (one_line(&set.id), name_of(set));
    if name.is_empty() { id.into_owned() } else { format!("{id} ({name})") }
}

pub(crate) fn job_set_table(sets: &[JobSet], page: &Page) -> String {
    let columns = [
        Column::new("ID"),
        Column::new("STATE"),
        Column::new("JOBS DONE").rank(3),
        Column::new("MACRO F1").rank(2).least_width(8),
        Column::new("SUBMITTED").rank(4),
        Column::new("NAME").rank(1).least_width(6),
        Column::new("REASON").rank(5).least_width(12),
    ];
    fitted_table(columns, &sets.iter().map(job_set_row).collect::<Vec<_>>(), page)
}

fn job_set_row(set: &JobSet) -> [Cell; 7] {
    let done = set.jobs.iter().filter(|job| job_state_from_wire(job.state) == Ok(JobState::Succeeded)).count();
    // A list may leave the jobs out.
    let done = if set.jobs.is_empty() { NOTHING.to_owned() } else { format!("{done}/{}", set.jobs.len()) };
    let name = name_of(set);
    let macro_f1 = match set.macro_f1 {
        Some(macro_f1) if !set.kept_folds.is_empty() => format!("{macro_f1:.4} ({})", kept_folds(set)),
        macro_f1 => number(macro_f1, 4),
    };
    [
        one_line(&set.id).into_owned().into(),
        state_cell(set),
        done.into(),
        macro_f1.into(),
        set.create_time.map_or(NOTHING.to_owned(), time).into(),
        if name.is_empty() { NOTHING.to_owned() } else { name }.into(),
        one_line(&set.state_reason).into_owned().into(),
    ]
}

/// The folds that a user ended the job set with, such as `folds 0, 2 of 5`.
fn kept_folds(set: &JobSet) -> String {
    let kept: Vec<String> = set.kept_folds.iter().map(u32::to_string).collect();
    let all = set.spec.as_ref().map_or(0, |spec| spec.folds.len());
    format!("{} {} of {all}", if kept.len() == 1 { "fold" } else { "folds" }, kept.join(", "))
}

fn name_of(set: &JobSet) -> String {
    set.spec.as_ref().map_or(String::new(), |spec| one_line(&spec.name).into_owned())
}

/// Its name, if it has one, and its state.
pub(crate) fn name_and_state(set: &JobSet) -> String {
    let name = name_of(set);
    if name.is_empty() { state_word(set).to_owned() } else { format!("{name}, {}", state_word(set)) }
}

fn state_cell(set: &JobSet) -> Cell {
    let word = state_word(set);
    match job_set_state_from_wire(set.state) {
        _ if set.paused => Cell::toned(word, Tone::Odd),
        Ok(JobSetState::Training | JobSetState::Predicting) => Cell::toned(word, Tone::Busy),
        Ok(JobSetState::Succeeded) => Cell::toned(word, Tone::Good),
        Ok(JobSetState::Failed) => Cell::toned(word, Tone::Bad),
        Ok(JobSetState::Cancelled) => Cell::toned(word, Tone::Odd),
        Err(_) => word.into(),
    }
}

fn state_word(set: &JobSet) -> &'static str {
    if set.paused { "paused" } else { word(job_set_state_from_wire(set.state)) }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{JobSetSpec, job_set};

    use super::*;
    use crate::render::page::tests::terminal;

    #[test]
    fn headlines_have_name_state_and_score() {
        let mut set = JobSet {
            id: "js-abcdefgh".into(),
            state: job_set::State::Predicting.into(),
            macro_f1: Some(0.5),
            threshold: Some(0.25),
            ..JobSet::default()
        };
        assert_eq!(headline(&set), "js-abcdefgh: predicting, macro F1 0.5000 at threshold 0.2500");
        set.spec = Some(JobSetSpec { name: "evening".into(), ..JobSetSpec::default() });
        set.paused = true;
        set.macro_f1 = None;
        assert_eq!(headline(&set), "js-abcdefgh (evening): paused");
        set.spec = Some(JobSetSpec { folds: (0..5).collect(), ..JobSetSpec::default() });
        (set.paused, set.macro_f1, set.kept_folds) = (false, Some(0.5), vec![0, 2]);
        let partial = "js-abcdefgh: predicting, macro F1 0.5000 at threshold 0.2500, partial: folds 0, 2 of 5";
        assert_eq!(headline(&set), partial);
        assert!(
            job_set_table(std::slice::from_ref(&set), &terminal(usize::MAX, 24)).contains("0.5000 (folds 0, 2 of 5)")
        );
        set.state_reason = "fold 3 has failed: the loss of batch 42 is not finite".into();
        set.create_time = Some(fivefold_proto::Timestamp { seconds: 1_735_787_045, nanos: 0 });
        set.spec = Some(JobSetSpec { name: "a-name-of-thirty-two-letters-or-".into(), ..JobSetSpec::default() });
        for width in 40..100 {
            let text = job_set_table(std::slice::from_ref(&set), &terminal(width, 24));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            assert!(text.contains("js-abcdefgh  predicting  ") && text.contains("a-nam"), "{width}: {text}");
        }
        let narrow = job_set_table(std::slice::from_ref(&set), &terminal(40, 24));
        assert_eq!(narrow, "ID           STATE       NAME\njs-abcdefgh  predicting  a-name-of-thir…\n");
        let tiny = job_set_table(std::slice::from_ref(&set), &terminal(23, 24));
        assert_eq!(tiny, "ID           STATE\njs-abcdefgh  predicting\n");
    }
}
