//! Room for segments within a limit: those go first that were not used for the longest time. Reserved ones stay.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fivefold_common::ids::Digest;

use crate::reservation::{Reserved, RoomLock};
use crate::segment::digest_in_name;
use crate::stamp;

/// The ending of the name of a segment that is still being fetched, after its whole name.
const PART: &str = "part";

/// Whether there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Enough,
    /// All that is left is reserved, or was used of late.
    Short,
}

/// A file that may go.
#[derive(Debug)]
struct Unused {
    used: SystemTime,
    path: PathBuf,
    bytes: u64,
}

/// What is in a folder.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The size of all files, in bytes. Reserved segments count with their whole size, also those that are still to come.
    pub(crate) total_bytes: u64,
    /// What is still to come of the reserved segments, in bytes.
    pub(crate) missing_bytes: u64,
    /// What may go, the longest unused first.
    unused: Vec<Unused>,
}

/// Deletes segments of any identity, the longest unused first, until `needed_bytes` more fit into `limit_bytes`.
/// Segments that were used after `used_since` stay: images would be decoded again and again if each epoch deleted what
/// the next one needs.
pub(crate) fn make_room(
    folder: &Path,
    limit_bytes: u64,
    needed_bytes: u64,
    used_since: SystemTime,
) -> io::Result<Room> {
    let lock = RoomLock::take(folder).map_err(io::Error::other)?;
    let mut contents = Contents::of(&lock, &lock.reserved()?, used_since)?;
    let excess_bytes = contents.total_bytes.saturating_add(needed_bytes).saturating_sub(limit_bytes);
    let freed_bytes = contents.delete_unused(excess_bytes)?;
    Ok(if freed_bytes >= excess_bytes { Room::Enough } else { Room::Short })
}

impl Contents {
    /// What is in a folder. Segments that are `reserved`, or were used after `used_since`, may not go. A file's time of change
    /// is the time of its last use.
    pub(crate) fn of(lock: &RoomLock<'_>, reserved: &Reserved, used_since: SystemTime) -> io::Result<Self> {
        let reserved_bytes: u64 = reserved.values().sum();
        let mut contents = Self { total_bytes: reserved_bytes, missing_bytes: reserved_bytes, unused: Vec::new() };
        for entry in fs::read_dir(lock.folder())? {
            let path = entry?.path();
            // Other processes delete files too.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let (bytes, used) = (metadata.len(), metadata.modified()?);
            let digest = digest_of_part(&path).or_else(|| digest_in_name(&path));
            if digest.is_some_and(|digest| reserved.contains_key(&digest)) {
                contents.missing_bytes = contents.missing_bytes.saturating_sub(bytes);
                continue;
            }
            contents.total_bytes = contents.total_bytes.saturating_add(bytes);
            if digest.is_some() && used < used_since && !is_being_fetched(&path) {
                contents.unused.push(Unused { used, path, bytes });
            }
        }
        contents.unused.sort_by(|a, b| (b.used, &b.path).cmp(&(a.used, &a.path)));
        Ok(contents)
    }

    /// The size of what may go, in bytes.
    pub(crate) fn unused_bytes(&self) -> u64 {
        self.unused.iter().map(|unused| unused.bytes).sum()
    }

    /// Deletes what may go, the longest unused first, until `bytes` or more are free. Returns how many are.
    pub(crate) fn delete_unused(&mut self, bytes: u64) -> io::Result<u64> {
        let mut freed_bytes = 0;
        while freed_bytes < bytes
            && let Some(unused) = self.unused.pop()
        {
            match fs::remove_file(&unused.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            stamp::remove(&unused.path);
            tracing::debug!("deleted the unused segment {}", unused.path.display());
            freed_bytes += unused.bytes;
            self.total_bytes = self.total_bytes.saturating_sub(unused.bytes);
        }
        Ok(freed_bytes)
    }
}

/// The digest in the name of a segment's part.
fn digest_of_part(path: &Path) -> Option<Digest> {
    if path.extension()? != PART { None } else { digest_in_name(Path::new(path.file_stem()?)) }
}

/// Whether a process is fetching the segment whose part is at `path`.
fn is_being_fetched(path: &Path) -> bool {
    digest_of_part(path).is_some() && File::open(path).is_ok_and(|file| file.try_lock().is_err())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fivefold_common::ids::Digest;

    use super::*;
    use crate::segment::file_name;
    use crate::test_images::files;

    #[test]
    fn the_longest_unused_go_first_and_used_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let time = |hours: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hours);
        let name = |number: u8| file_name(Digest::of(&[number]));
        // The hours of their last use: 3, 1, 2, 4.
        for (number, hour) in [(0, 3), (1, 1), (2, 2), (3, 4)] {
            let path = folder.path().join(name(number));
            fs::write(&path, [0; 100]).unwrap();
            fs::File::open(&path).unwrap().set_modified(time(hour)).unwrap();
        }
        fs::write(folder.path().join("other"), [0; 50]).unwrap();
        let room = |limit, needed, since| make_room(folder.path(), limit, needed, time(since)).unwrap();
        let left = || {
            let left = files(folder.path());
            (0..4).filter(|number| left.contains(&name(*number))).collect::<Vec<u8>>()
        };
        assert_eq!(room(550, 100, 9), Room::Enough);
        assert_eq!(left(), [0, 1, 2, 3]);
        assert_eq!(room(549, 100, 9), Room::Enough);
        assert_eq!(left(), [0, 2, 3]);
        assert_eq!(room(349, 100, 2), Room::Short, "used in hour 2 and later");
        assert_eq!(left(), [0, 2, 3]);
        assert_eq!(room(250, 100, 4), Room::Enough);
        assert_eq!(left(), [3]);
        assert_eq!(room(10, 100, 9), Room::Short);
        assert_eq!(files(folder.path()), ["other", "room.lock"]);
    }

    #[test]
    fn reserved_segments_stay_and_have_room_before_they_come() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let digest = |number: u8| Digest::of(&[number]);
        let path = |number: u8, ending: &str| folder.join(file_name(digest(number)) + ending);
        for (number, ending) in [(0, ""), (1, ""), (2, ".part"), (3, ".part")] {
            fs::write(path(number, ending), [0; 100]).unwrap();
        }
        let later = SystemTime::now() + Duration::from_secs(60);
        let lock = RoomLock::take(folder).unwrap();
        // Of segment 2 a part is there, of segment 4 nothing.
        let reserved: Reserved = [(digest(0), 100), (digest(2), 150), (digest(4), 100)].into();
        let _reservation = lock.reserve(&reserved).unwrap();
        let fetching = File::open(path(3, ".part")).unwrap();
        fetching.lock().unwrap();
        let list_bytes = fs::metadata(folder.join(format!("{}-0.reserved", std::process::id()))).unwrap().len();
        let contents = Contents::of(&lock, &lock.reserved().unwrap(), later).unwrap();
        assert_eq!((contents.total_bytes - list_bytes, contents.missing_bytes), (550, 150));
        assert_eq!(contents.unused_bytes(), 100, "segment 1");
        drop((lock, fetching));
        assert_eq!(make_room(folder, 550 + list_bytes, 0, later).unwrap(), Room::Enough);
        assert!(path(1, "").exists());
        assert_eq!(make_room(folder, 350 + list_bytes, 0, later).unwrap(), Room::Enough);
        assert!(path(0, "").exists() && path(2, ".part").exists());
        assert!(!path(1, "").exists() && !path(3, ".part").exists(), "nobody fetches it any more");
        assert_eq!(make_room(folder, 349 + list_bytes, 0, later).unwrap(), Room::Short);
    }
}
