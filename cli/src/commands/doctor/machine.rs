//! Facts of the machine itself: free disk space and the limit of open files.

use std::path::{Path, PathBuf};

use fivefold_common::finding::Finding;
use rustix::fs::{Access, access, statfs};
use rustix::process::{Resource, getrlimit};

/// A worker's need of scratch space: a few checkpoints of a ResNet50 with Adam's moments, 300 MB each.
const SCRATCH_MB: u64 = 3000;
/// A coordinator's need: the checkpoints of five folds in training, three each, and their results.
const STATE_MB: u64 = 6000;
/// Open files of a worker: libraries, images and connections.
const OPEN_FILES: u64 = 512;
/// The type of a file system in memory.
const TMPFS: u64 = 0x0102_1994;

/// The worker's scratch folder, or the temporary folder.
pub(super) fn scratch(named: Option<&Path>) -> Finding {
    let folder = named.map_or_else(std::env::temp_dir, PathBuf::from);
    disk(&folder, SCRATCH_MB, "a worker", "--scratch")
}

/// The coordinator's state folder.
pub(super) fn state(folder: &Path) -> Finding {
    disk(folder, STATE_MB, "a coordinator with five folds in training", "--state")
}

/// Checks the disk of a folder, which may not exist yet.
fn disk(folder: &Path, needed_mb: u64, who: &str, flag: &str) -> Finding {
    let shown = folder.display();
    let Some(there) = folder.ancestors().map(or_here).find(|folder| folder.exists()) else {
        return Finding::bad(format!("{shown} does not exist, nor does a folder above it; name another with {flag}"));
    };
    if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Finding::bad(format!(
            "this user may not write to {}; change its owner, or name another folder with {flag}",
            there.display()
        ));
    }
    let disk = match statfs(there) {
        Err(error) => return Finding::doubtful(format!("cannot read the free space of {shown}: {error}")),
        Ok(disk) => disk,
    };
    let free_mb = disk.f_bavail * disk.f_bsize as u64 / (1 << 20);
    let is_memory = disk.f_type as u64 == TMPFS;
    if free_mb < needed_mb {
        Finding::bad(format!(
            "{shown} has {free_mb} MB free, and {who} needs {needed_mb} MB; free some, or name another folder with {flag}"
        ))
    } else if is_memory {
        Finding::doubtful(format!(
            "{shown} has {free_mb} MB free, in memory (tmpfs): what is stored there takes memory from training; name a \
             folder on a disk with {flag}"
        ))
    } else {
        Finding::good(format!("{shown} has {free_mb} MB free"))
    }
}

/// The folder above a relative path is the current one.
fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// The number of files that a program may open; `None` is no limit.
pub(super) fn open_files() -> Finding {
    rate_open_files(getrlimit(Resource::Nofile).current)
}

fn rate_open_files(limit: Option<u64>) -> Finding {
    match limit {
        Some(limit) if limit < OPEN_FILES => Finding::bad(format!(
            "a program may open {limit} files, and a worker needs {OPEN_FILES}; raise the limit with `ulimit -n 4096`, or \
             LimitNOFILE= in its systemd unit"
        )),
        Some(limit) => Finding::good(format!("a program may open {limit} files")),
        None => Finding::good("a program may open any number of files"),
    }
}

#[cfg(test)]
mod tests {
    use fivefold_common::finding::Rating;

    use super::*;

    #[test]
    fn free_space_is_read_and_compared() {
        let folder = tempfile::tempdir().unwrap();
        let found = disk(&folder.path().join("not/yet"), 0, "a test", "--test");
        assert!(found.rating != Rating::Bad && found.message.contains(" MB free"), "{found}");
        let full = disk(folder.path(), u64::MAX, "a test", "--test");
        assert!(full.rating == Rating::Bad && full.message.contains("another folder with --test"), "{full}");
        assert!(disk(Path::new("relative"), 0, "a test", "--test").message.contains(" MB free"));
    }

    #[test]
    fn few_open_files_are_found() {
        assert_eq!(rate_open_files(Some(100)).rating, Rating::Bad);
        assert_eq!((rate_open_files(Some(1024)).rating, rate_open_files(None).rating), (Rating::Good, Rating::Good));
    }
}
