//! The scratch folder of a worker and its name. Each belongs to one process of a machine at a time.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::name_lock::NameLock;

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

/// A folder for downloads and checkpoints, and a name. Both are locked until this is dropped or the process ends.
#[derive(Debug)]
pub struct Scratch {
    /// The name of the worker, after which the folder is called.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// The lock on the name.
    pub name_lock: NameLock,
    _folder_lock: File,
}

/// Whether a name is free.
enum Claim {
    Taken(Scratch),
    /// Another process works for the coordinator under the name.
    NameInUse,
    /// Another process works in the folder, for another coordinator.
    FolderInUse,
}

impl Scratch {
    /// Locks the name of a worker for the coordinator at an address, then makes and locks its folder in `root`.
    ///
    /// # Errors
    /// When the folder cannot be made, or another process works under the given name.
    pub fn claim(root: &Path, coordinator: &str, name: Name<'_>) -> anyhow::Result<Self> {
        match name {
            Name::Given(name) => match Self::try_claim(root, coordinator, name)? {
                Claim::Taken(scratch) => Ok(scratch),
                Claim::NameInUse => bail!(
                    "--name {name}: another worker of this name runs here for {coordinator}: stop it, or choose another \
                     name"
                ),
                Claim::FolderInUse => bail!(
                    "--name {name}: another worker of this name runs here, in {}: stop it, or choose another name or \
                     another folder with --scratch",
                    root.join(name).display()
                ),
            },
            Name::Default(name) => {
                for number in 1..=MOST_WORKERS {
                    let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
                    if let Claim::Taken(scratch) = Self::try_claim(root, coordinator, &name)? {
                        return Ok(scratch);
                    }
                }
                bail!("{MOST_WORKERS} workers named {name} run here: name this one with --name")
            }
        }
    }

    fn try_claim(root: &Path, coordinator: &str, name: &str) -> anyhow::Result<Claim> {
        let Some(name_lock) = NameLock::try_take(coordinator, name)? else { return Ok(Claim::NameInUse) };
        let path = root.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("--scratch {}", path.display()))?;
        let file = path.join("lock");
        let lock = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Claim::Taken(Self { name: name.to_owned(), path, name_lock, _folder_lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(Claim::FolderInUse),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", file.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address of one test alone: other processes see its locks too.
    fn coordinator(test: &str) -> String {
        format!("http://{test}-{}", std::process::id())
    }

    #[test]
    fn a_second_worker_gets_another_name_and_folder() {
        let (root, hub) = (tempfile::tempdir().unwrap(), coordinator("default"));
        let claim = || Scratch::claim(root.path(), &hub, Name::Default("host-cpu")).unwrap();
        let (first, second, third) = (claim(), claim(), claim());
        assert_eq!([&*first.name, &second.name, &third.name], ["host-cpu", "host-cpu-2", "host-cpu-3"]);
        assert!(second.path.ends_with("host-cpu-2") && second.path.is_dir());
        drop(second);
        assert_eq!(claim().name, "host-cpu-2", "a name is free again when its process has ended");
    }

    #[test]
    fn a_given_name_is_refused_while_it_is_in_use() {
        let (root, hub) = (tempfile::tempdir().unwrap(), coordinator("given"));
        let claim = || Scratch::claim(root.path(), &hub, Name::Given("gpu1"));
        let first = claim().unwrap();
        let refused = claim().unwrap_err().to_string();
        assert!(refused.contains("--name gpu1: another worker of this name runs here"), "{refused}");
        drop(first);
        assert_eq!(claim().unwrap().name, "gpu1");
    }

    #[test]
    fn another_scratch_folder_does_not_make_a_name_free() {
        let (root, other, hub) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), coordinator("folders"));
        let first = Scratch::claim(root.path(), &hub, Name::Given("gpu1")).unwrap();
        let refused = Scratch::claim(other.path(), &hub, Name::Given("gpu1")).unwrap_err().to_string();
        assert!(refused.contains("another worker of this name runs here") && refused.contains(&hub), "{refused}");
        assert_eq!(Scratch::claim(other.path(), &hub, Name::Default("gpu1")).unwrap().name, "gpu1-2");
        let elsewhere = format!("{hub}:1");
        assert_eq!(Scratch::claim(other.path(), &elsewhere, Name::Given("gpu1")).unwrap().name, "gpu1");
        let refused = Scratch::claim(root.path(), &elsewhere, Name::Given("gpu1")).unwrap_err().to_string();
        assert!(refused.contains("--scratch"), "{refused}");
        drop(first);
    }
}
