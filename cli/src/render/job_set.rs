//! Job sets.

use fivefold_common::job::JobState;
use fivefold_common::one_line::one_line;
use fivefold_proto::convert::{job_set_state_from_wire, job_state_from_wire};
use fivefold_proto::v1::JobSet;

use super::table::{NOTHING, number, table};
use super::text::{time, word};

/// Id, name, state, score and reason of a job set in one line.
pub(crate) fn headline(set: &JobSet) -> String {
    let mut line = one_line(&set.id).into_owned();
    let name = name_of(set);
    if !name.is_empty() {
        line += &format!(" ({name})");
    }
    line += &format!(": {}", state_word(set));
    if let (Some(macro_f1), Some(threshold)) = (set.macro_f1, set.threshold) {
        line += &format!(", macro F1 {macro_f1:.4} at threshold {threshold:.4}");
    }
    if !set.state_reason.is_empty() {
        line += &format!(": {}", one_line(&set.state_reason));
    }
    line
}

pub(crate) fn job_set_table(sets: &[JobSet]) -> String {
    let header = ["ID", "STATE", "JOBS DONE", "MACRO F1", "SUBMITTED", "NAME", "REASON"];
    table(header, &sets.iter().map(job_set_row).collect::<Vec<_>>())
}

fn job_set_row(set: &JobSet) -> [String; 7] {
    let done = set.jobs.iter().filter(|job| job_state_from_wire(job.state) == Ok(JobState::Succeeded)).count();
    // A list may leave the jobs out.
    let done = if set.jobs.is_empty() { NOTHING.to_owned() } else { format!("{done}/{}", set.jobs.len()) };
    let name = name_of(set);
    [
        one_line(&set.id).into_owned(),
        state_word(set).to_owned(),
        done,
        number(set.macro_f1, 4),
        set.create_time.map_or(NOTHING.to_owned(), time),
        if name.is_empty() { NOTHING.to_owned() } else { name },
        one_line(&set.state_reason).into_owned(),
    ]
}

fn name_of(set: &JobSet) -> String {
    set.spec.as_ref().map_or(String::new(), |spec| one_line(&spec.name).into_owned())
}

fn state_word(set: &JobSet) -> &'static str {
    if set.paused { "paused" } else { word(job_set_state_from_wire(set.state)) }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{JobSetSpec, job_set};

    use super::*;

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
    }
}
