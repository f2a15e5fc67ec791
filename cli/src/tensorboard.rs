//! A folder for TensorBoard: a run for each fold.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use fivefold_common::durable_file;
use fivefold_common::job::JobKind;
use fivefold_proto::convert::job_kind_from_wire;
use fivefold_proto::v1::JobSet;

use crate::event_file::event_file;
use crate::render::epoch_history::EpochHistory;
use crate::render::job::objective;

/// Brings the event files of a job set up to date: `DIR/js-abcdefgh/fold-0/` and so on. What TensorBoard has read stays, unless
/// a fold was trained again. Returns the folder of the job set.
pub(crate) fn update(folder: &Path, job_set: &JobSet, history: &EpochHistory) -> anyhow::Result<PathBuf> {
    let created = job_set.create_time.unwrap_or_default();
    let of_set = folder.join(&job_set.id);
    for job in job_set.jobs.iter().filter(|job| job_kind_from_wire(job.kind) == Ok(JobKind::Train)) {
        let epochs = history.of(job);
        if epochs.is_empty() {
            continue;
        }
        let run = of_set.join(format!("fold-{}", job.fold));
        let path = run.join(format!("events.out.tfevents.{}.fivefold", created.seconds));
        fs::create_dir_all(&run).with_context(|| format!("cannot create {}", run.display()))?;
        write(&path, &event_file(epochs, objective(job_set), created.seconds as f64))?;
    }
    Ok(of_set)
}

/// Appends to the file what it lacks; one that does not begin like `content` is replaced.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let present = match fs::read(path) {
        Ok(present) => present,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    match content.strip_prefix(present.as_slice()) {
        Some([]) => Ok(()),
        Some(rest) if !present.is_empty() => {
            let mut file = OpenOptions::new().append(true).open(path)?;
            file.write_all(rest).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => Ok(durable_file::write(path, |output| output.write_all(content))?),
    }
}

/// Checks that a folder for TensorBoard can be made, before anything is waited for.
///
/// # Errors
/// When it is a file, or cannot be made.
pub(crate) fn prepare(folder: &Path) -> anyhow::Result<()> {
    if folder.is_file() {
        bail!("--tensorboard {}: expected a folder", folder.display());
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{EpochMetrics, Job, JobKind};

    use super::*;

    fn job_set(epochs: u32, train_loss: f64) -> (JobSet, EpochHistory) {
        let epoch = |epoch| EpochMetrics { epoch, train_loss, ..EpochMetrics::default() };
        let job = Job {
            id: 1,
            kind: JobKind::Train.into(),
            fold: 2,
            last_epoch: epochs.checked_sub(1).map(epoch),
            ..Job::default()
        };
        let mut history = EpochHistory::default();
        history.insert(1, (0..epochs).map(epoch).collect());
        (JobSet { id: "js-abcdefgh".to_owned(), jobs: vec![job], ..JobSet::default() }, history)
    }

    #[test]
    fn files_grow_with_the_epochs_and_are_replaced_when_a_fold_is_trained_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("js-abcdefgh/fold-2/events.out.tfevents.0.fivefold");
        let written = |(job_set, history): (JobSet, EpochHistory)| {
            update(folder.path(), &job_set, &history).unwrap();
            fs::read(&run).unwrap_or_default()
        };
        assert!(written(job_set(0, 0.5)).is_empty());
        let one = written(job_set(1, 0.5));
        let three = written(job_set(3, 0.5));
        assert!(three.len() > one.len() && three.starts_with(&one));
        assert_eq!(written(job_set(3, 0.5)), three);
        let again = written(job_set(1, 0.25));
        assert!(again.len() == one.len() && again != one);
        assert_eq!(written(job_set(1, 0.5)), one);
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(prepare(file.path()).unwrap_err().to_string().ends_with("expected a folder"));
    }
}
