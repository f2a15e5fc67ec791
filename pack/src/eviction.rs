//! Room for new segments within a limit: those go first that were not used for the longest time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::segment::digest_in_name;
use crate::stamp;

/// Whether there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Enough,
    /// All that is left was used of late.
    Short,
}

/// A file that may go.
struct Unused {
    used: SystemTime,
    path: PathBuf,
    bytes: u64,
}

/// Deletes segments of any identity, the longest unused first, until `needed_bytes` more fit into `limit_bytes`.
/// Segments that were used after `used_since` stay: images would be decoded again and again if each epoch deleted what
/// the next one needs.
///
/// A file's time of change is the time of its last use.
pub(crate) fn make_room(
    folder: &Path,
    limit_bytes: u64,
    needed_bytes: u64,
    used_since: SystemTime,
) -> io::Result<Room> {
    let mut total_bytes = needed_bytes;
    let mut unused = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Other processes delete files too.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let (bytes, used) = (metadata.len(), metadata.modified()?);
        total_bytes = total_bytes.saturating_add(bytes);
        if digest_in_name(&path).is_some() && used < used_since {
            unused.push(Unused { used, path, bytes });
        }
    }
    unused.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
    for Unused { path, bytes, .. } in unused {
        if total_bytes <= limit_bytes {
            break;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        stamp::remove(&path);
        tracing::debug!("deleted the unused segment {}", path.display());
        total_bytes = total_bytes.saturating_sub(bytes);
    }
    Ok(if total_bytes <= limit_bytes { Room::Enough } else { Room::Short })
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
        assert_eq!(files(folder.path()), ["other"]);
    }
}
