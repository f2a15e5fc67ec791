//! The scratch folder of a worker. It belongs to one process at a time, and so does the worker's name on this machine.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The most workers of one default name.
const MOST_WORKERS: u32 = 100;

/// Where the name of a worker comes from.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    /// A person chose it.
    Given(&'a str),
    /// It is that of host and device; further workers get `-2`, `-3` and so on.
    Default(&'a str),
}

/// A folder for downloads and checkpoints, locked until this is dropped or the process ends.
#[derive(Debug)]
pub struct Scratch {
    /// The name of the worker, after which the folder is called.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes and locks the folder of a worker in `root`.
    ///
    /// # Errors
    /// When the folder cannot be made, or another process works under the given name.
    pub fn claim(root: &Path, name: Name<'_>) -> anyhow::Result<Self> {
        match name {
            Name::Given(name) => match Self::try_claim(root, name)? {
                Some(scratch) => Ok(scratch),
                None => bail!(
                    "--name {name}: another worker of this name runs here, in {}: stop it, or choose another name",
                    root.join(name).display()
                ),
            },
            Name::Default(name) => {
                for number in 1..=MOST_WORKERS {
                    let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
                    if let Some(scratch) = Self::try_claim(root, &name)? {
                        return Ok(scratch);
                    }
                }
                bail!("{MOST_WORKERS} workers named {name} run here: name this one with --name")
            }
        }
    }

    /// `None` if another process has the folder.
    fn try_claim(root: &Path, name: &str) -> anyhow::Result<Option<Self>> {
        let path = root.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("--scratch {}", path.display()))?;
        let file = path.join("lock");
        let lock = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { name: name.to_owned(), path, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", file.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_worker_gets_another_name_and_folder() {
        let root = tempfile::tempdir().unwrap();
        let claim = || Scratch::claim(root.path(), Name::Default("host-cpu")).unwrap();
        let (first, second, third) = (claim(), claim(), claim());
        assert_eq!([&*first.name, &second.name, &third.name], ["host-cpu", "host-cpu-2", "host-cpu-3"]);
        assert!(second.path.ends_with("host-cpu-2") && second.path.is_dir());
        drop(second);
        assert_eq!(claim().name, "host-cpu-2", "a name is free again when its process has ended");
    }

    #[test]
    fn a_given_name_is_refused_while_it_is_in_use() {
        let root = tempfile::tempdir().unwrap();
        let claim = || Scratch::claim(root.path(), Name::Given("gpu1"));
        let first = claim().unwrap();
        let refused = claim().unwrap_err().to_string();
        assert!(refused.contains("--name gpu1: another worker of this name runs here"), "{refused}");
        drop(first);
        assert_eq!(claim().unwrap().name, "gpu1");
    }
}
