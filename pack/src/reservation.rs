//! Segments that running folds need. They are reserved: they stay, and there is room for those that are still to come.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fivefold_common::durable_file::WriteError;
use fivefold_common::ids::Digest;

/// The ending of the name of a reservation's file.
const ENDING: &str = "reserved";
/// The file that is locked while segments are reserved or deleted.
const LOCK: &str = "room.lock";

/// Segments with their sizes in bytes.
pub(crate) type Reserved = HashMap<Digest, u64>;

/// The right to reserve and to delete segments of a folder, which one process has at a time, for a moment.
#[derive(Debug)]
pub(crate) struct RoomLock<'a> {
    folder: &'a Path,
    _file: File,
}

/// Some reserved segments, until this is dropped or the process ends. Their list is a file, which is locked so long.
#[derive(Debug)]
pub(crate) struct Reservation {
    path: PathBuf,
    _file: File,
}

impl<'a> RoomLock<'a> {
    /// Waits for the right.
    pub(crate) fn take(folder: &'a Path) -> Result<Self, WriteError> {
        let path = folder.join(LOCK);
        let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
        locked.map(|file| Self { folder, _file: file }).map_err(|error| WriteError { path, error })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &'a Path {
        self.folder
    }

    /// What is reserved. Reservations of processes that have ended are deleted.
    pub(crate) fn reserved(&self) -> io::Result<Reserved> {
        let mut reserved = Reserved::new();
        for entry in fs::read_dir(self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            // Its fold may have ended since.
            let Ok(file) = File::open(&path) else { continue };
            match file.try_lock() {
                Ok(()) => _ = fs::remove_file(&path),
                Err(TryLockError::WouldBlock) => reserved.extend(parse(&fs::read_to_string(&path).unwrap_or_default())),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(reserved)
    }

    /// Reserves segments.
    pub(crate) fn reserve(&self, segments: &Reserved) -> Result<Reservation, WriteError> {
        let mut number = 0_u32;
        let (path, created) = loop {
            let path = self.folder.join(format!("{}-{number}.{ENDING}", std::process::id()));
            match File::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                created => break (path, created),
            }
        };
        let list: String = segments.iter().map(|(digest, bytes)| format!("{digest} {bytes}\n")).collect();
        let written = created.and_then(|mut file| {
            file.try_lock().map_err(io::Error::from)?;
            file.write_all(list.as_bytes())?;
            Ok(file)
        });
        match written {
            Ok(file) => Ok(Reservation { path, _file: file }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(WriteError { path, error })
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // A file that stays is not locked any more, and so without effect.
        let _ = fs::remove_file(&self.path);
    }
}

/// The segments in the text of a reservation.
fn parse(text: &str) -> impl Iterator<Item = (Digest, u64)> {
    text.lines().filter_map(|line| {
        let (digest, bytes) = line.split_once(' ')?;
        Some((digest.parse().ok()?, bytes.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_images::files;

    #[test]
    fn segments_are_reserved_until_the_end_of_their_process() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let segments = |numbers: &[u8]| -> Reserved {
            numbers.iter().map(|number| (Digest::of(&[*number]), u64::from(*number))).collect()
        };
        let lock = RoomLock::take(folder).unwrap();
        assert!(lock.reserved().unwrap().is_empty());
        let first = lock.reserve(&segments(&[1, 2])).unwrap();
        let second = lock.reserve(&segments(&[2, 3])).unwrap();
        assert_eq!(lock.reserved().unwrap(), segments(&[1, 2, 3]));
        drop(first);
        assert_eq!(lock.reserved().unwrap(), segments(&[2, 3]));
        drop(second);
        // What a process leaves that was killed.
        fs::write(folder.join("1-0.reserved"), format!("{} 7\n", Digest::of(b"7"))).unwrap();
        assert!(lock.reserved().unwrap().is_empty());
        assert_eq!(files(folder), [LOCK]);
    }

    #[test]
    fn one_process_at_a_time_has_the_right() {
        let folder = tempfile::tempdir().unwrap();
        let lock = RoomLock::take(folder.path()).unwrap();
        let other = File::open(folder.path().join(LOCK)).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(lock);
        other.try_lock().unwrap();
    }
}
