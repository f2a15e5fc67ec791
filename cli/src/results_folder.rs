//! A folder of results. A small file in it names the job set and the fit that its files are from, so that those of two job
//! sets are never mixed.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use fivefold_common::durable_file;
use fivefold_common::report::Report;
use serde::{Deserialize, Serialize};

use crate::console::notify;
use crate::error::UsageError;

/// The file that says what the folder holds.
const ORIGIN_FILE: &str = "results.json";
/// Files that a submission or its test list decides about.
const OF_SUBMISSION: [&str; 2] = ["submission.csv", "predictions.npy"];

/// What the files of a folder are from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The job set.
    pub(crate) job_set: String,
    /// Digest of the fit's out-of-fold table.
    pub(crate) fit: String,
    /// Whether folds are missing in the fit.
    pub(crate) partial: bool,
    /// Digest of the submission, if there is one.
    pub(crate) submission: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    #[serde(flatten)]
    origin: Origin,
    /// The names of the files, results.json aside.
    files: BTreeSet<String>,
}

/// Whether the results of another job set may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    No,
    Yes,
}

/// A folder that takes the files of one origin.
#[derive(Debug)]
pub(crate) struct ResultsFolder {
    path: PathBuf,
    content: Content,
}

impl ResultsFolder {
    /// Prepares the folder at `path` for the files `names` of `origin`: creates it, and deletes what it has of another job
    /// set, fit or submission.
    ///
    /// # Errors
    /// Before anything is changed, if the folder has the results of another job set, or complete results where partial ones
    /// are to come, and may not be replaced; or if one of `names` is a file of another program.
    pub(crate) fn prepare(path: &Path, origin: Origin, names: &[String], replace: Replace) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let present = read_content(path)?;
        if let Some(present) = &present {
            check_replaced(path, &present.origin, &origin, replace)?;
        }
        let files = present.as_ref().map(|present| present.files.clone()).unwrap_or_default();
        for name in names.iter().filter(|name| !files.contains(*name)) {
            if path.join(name).symlink_metadata().is_ok() {
                let file = path.join(name);
                let problem = "is not from `fivefold results`: move it away, or name another folder";
                return Err(UsageError(format!("{} {problem}", file.display())).into());
            }
        }
        let stays = |name: &String| match &present {
            Some(Content { origin: old, .. }) => {
                let is_of_submission = OF_SUBMISSION.contains(&name.as_str());
                old.job_set == origin.job_set
                    && old.fit == origin.fit
                    && (!is_of_submission || old.submission == origin.submission)
            }
            None => false,
        };
        let (kept, stale): (BTreeSet<String>, BTreeSet<String>) = files.into_iter().partition(stays);
        if let Some(present) = &present
            && let Some(notice) = deletion_notice(path, &present.origin, &origin, &stale)
        {
            notify(&notice);
        }
        for name in &stale {
            let file = path.join(name);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot delete {}", file.display()));
                }
                _ => {}
            }
        }
        let files = kept.into_iter().chain(names.iter().cloned()).collect();
        let folder = ResultsFolder { path: path.to_owned(), content: Content { origin, files } };
        // Before the files: one of an interrupted download is known as this job set's.
        folder.write()?;
        Ok(folder)
    }

    /// The path of a file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write(&self) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(&self.content)?;
        durable_file::write(&self.path.join(ORIGIN_FILE), |output| writeln!(output, "{json}"))?;
        Ok(())
    }
}

/// The most names of deleted files in a notice.
const NAMED_FILES: usize = 8;

/// What is about to be deleted, if it is of another job set or fit; `None` if it is nothing but the former submission.
fn deletion_notice(path: &Path, old: &Origin, new: &Origin, stale: &BTreeSet<String>) -> Option<String> {
    if stale.is_empty() || old.job_set == new.job_set && old.fit == new.fit {
        return None;
    }
    let of =
        if old.job_set == new.job_set { format!("an earlier fit of {}", old.job_set) } else { old.job_set.clone() };
    let mut names: Vec<&str> = stale.iter().map(String::as_str).take(NAMED_FILES).collect();
    let more = stale.len().saturating_sub(NAMED_FILES);
    let more_words = format!("{more} more");
    if more > 0 {
        names.push(&more_words);
    }
    let files = if stale.len() == 1 { "file" } else { "files" };
    Some(format!("deleting {} {files} of {of} in {}: {}", stale.len(), path.display(), names.join(", ")))
}

/// Refuses to replace the results of another job set, or complete ones by partial ones, unless asked to.
fn check_replaced(path: &Path, old: &Origin, new: &Origin, replace: Replace) -> anyhow::Result<()> {
    let path = path.display();
    let problem = if replace == Replace::Yes {
        return Ok(());
    } else if old.job_set != new.job_set {
        format!("{path} has the results of {}: name another folder, or replace them with --replace", old.job_set)
    } else if !old.partial && new.partial {
        format!(
            "{path} has the results of all folds of {}, and folds are missing now: name another folder, or replace \
             them with --replace",
            old.job_set
        )
    } else {
        return Ok(());
    };
    Err(UsageError(problem).into())
}

/// What the folder holds; `None` if it has no results.
fn read_content(path: &Path) -> anyhow::Result<Option<Content>> {
    let file = path.join(ORIGIN_FILE);
    match fs::read(&file) {
        Ok(bytes) => {
            let name = file.display();
            let content: Content = serde_json::from_slice(&bytes).with_context(|| {
                format!("{name} does not say what the folder has: delete it, or name another folder")
            })?;
            if let Some(name) = content.files.iter().find(|name| !is_file_name(name)) {
                bail!("{}: {name:?} is not a file in the folder", file.display());
            }
            Ok(Some(content))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(content_of_earlier_version(path)),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn is_file_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file_name| file_name == name)
}

/// A folder that an earlier version filled, which wrote no such file: its report names the job set.
fn content_of_earlier_version(path: &Path) -> Option<Content> {
    let report: Report = serde_json::from_slice(&fs::read(path.join("report.json")).ok()?).ok()?;
    let origin = Origin {
        job_set: report.job_set?,
        fit: report.oof_digest,
        partial: report.partial.is_some(),
        submission: None,
    };
    let models = (0..100).map(|fold| format!("fold-{fold}.safetensors"));
    let names = ["oof.csv", "report.json", "submission.csv", "oof.npy", "predictions.npy"].map(str::to_owned);
    let files = names.into_iter().chain(models).filter(|name| path.join(name).exists()).collect();
    Some(Content { origin, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(job_set: &str, fit: &str) -> Origin {
        Origin { job_set: job_set.into(), fit: fit.into(), partial: false, submission: Some("s".into()) }
    }

    fn prepare(path: &Path, origin: &Origin, names: &[&str], replace: Replace) -> Result<(), String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let folder =
            ResultsFolder::prepare(path, origin.clone(), &names, replace).map_err(|error| error.to_string())?;
        for name in &names {
            fs::write(folder.file(name), &origin.job_set).unwrap();
        }
        Ok(())
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_of_two_job_sets_are_never_mixed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (a, b) = (origin("js-aaaaaaaa", "1"), origin("js-bbbbbbbb", "1"));
        fs::write(path.join("notes.txt"), "mine").unwrap();
        prepare(path, &a, &["oof.csv", "report.json", "submission.csv"], Replace::No).unwrap();
        let refused = prepare(path, &b, &["oof.csv", "report.json"], Replace::No).unwrap_err();
        assert!(refused.contains("has the results of js-aaaaaaaa") && refused.contains("--replace"), "{refused}");
        assert_eq!(fs::read_to_string(path.join("oof.csv")).unwrap(), "js-aaaaaaaa");

        prepare(path, &b, &["oof.csv", "report.json"], Replace::Yes).unwrap();
        assert_eq!(names(path), ["notes.txt", "oof.csv", "report.json", "results.json"]);
        assert_eq!(fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");
    }

    #[test]
    fn what_is_deleted_is_counted_and_named_with_its_job_set() {
        let (a, b) = (origin("js-aaaaaaaa", "1"), origin("js-bbbbbbbb", "1"));
        let files =
            |count: usize| -> BTreeSet<String> { (0..count).map(|fold| format!("fold-{fold}.safetensors")).collect() };
        let notice = |old: &Origin, new: &Origin, count| deletion_notice(Path::new("out"), old, new, &files(count));
        let two = "deleting 2 files of js-aaaaaaaa in out: fold-0.safetensors, fold-1.safetensors";
        assert_eq!(notice(&a, &b, 2).as_deref(), Some(two));
        let nine = notice(&a, &b, 9).unwrap();
        assert!(nine.starts_with("deleting 9 files of ") && nine.ends_with("fold-7.safetensors, 1 more"), "{nine}");
        let other_fit = Origin { fit: "2".into(), ..a.clone() };
        let refit = notice(&a, &other_fit, 1).unwrap();
        assert!(refit.starts_with("deleting 1 file of an earlier fit of js-aaaaaaaa in out: "), "{refit}");
        assert_eq!(notice(&a, &b, 0), None);
        assert_eq!(notice(&a, &Origin { submission: None, ..a.clone() }, 1), None);
    }

    #[test]
    fn another_fit_and_another_submission_replace_what_is_of_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let first = origin("js-aaaaaaaa", "1");
        let files = ["oof.csv", "submission.csv", "fold-0.safetensors"];
        prepare(path, &first, &files, Replace::No).unwrap();
        prepare(path, &first, &["oof.csv"], Replace::No).unwrap();
        assert_eq!(names(path), ["fold-0.safetensors", "oof.csv", "results.json", "submission.csv"]);
        let other_list = Origin { submission: None, ..first.clone() };
        prepare(path, &other_list, &["oof.csv"], Replace::No).unwrap();
        assert_eq!(names(path), ["fold-0.safetensors", "oof.csv", "results.json"]);
        prepare(path, &origin("js-aaaaaaaa", "2"), &["oof.csv"], Replace::No).unwrap();
        assert_eq!(names(path), ["oof.csv", "results.json"]);

        let partial = Origin { partial: true, ..origin("js-aaaaaaaa", "3") };
        let refused = prepare(path, &partial, &["oof.csv"], Replace::No).unwrap_err();
        assert!(refused.contains("all folds"), "{refused}");
        prepare(path, &partial, &["oof.csv"], Replace::Yes).unwrap();
        prepare(path, &origin("js-aaaaaaaa", "4"), &["oof.csv"], Replace::No).unwrap();
    }

    #[test]
    fn foreign_files_are_neither_overwritten_nor_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("submission.csv"), "mine").unwrap();
        for replace in [Replace::No, Replace::Yes] {
            let refused =
                prepare(path, &origin("js-aaaaaaaa", "1"), &["oof.csv", "submission.csv"], replace).unwrap_err();
            assert!(refused.contains("submission.csv is not from `fivefold results`"), "{refused}");
        }
        assert_eq!(names(path), ["submission.csv"]);
        let outside = r#"{"job_set": "js-a", "fit": "1", "partial": false, "submission": null, "files": ["../x"]}"#;
        fs::write(path.join("results.json"), outside).unwrap();
        let refused = prepare(path, &origin("js-aaaaaaaa", "1"), &["oof.csv"], Replace::Yes).unwrap_err();
        assert!(refused.contains("is not a file in the folder"), "{refused}");
    }
}
