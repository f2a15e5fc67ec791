//! The folder of packed images.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fivefold_pack::pushed_images::free_bytes;
use rustix::fs::{Access, access};

/// A folder of packed images, which workers of a machine may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFolder {
    /// The folder.
    pub path: PathBuf,
    /// The most bytes of its files; `None` for no limit.
    pub limit_bytes: Option<u64>,
}

/// Where a worker keeps packed images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFolders {
    /// Images decoded from a folder of images; `None` to decode them in each epoch.
    pub decoded: Option<CacheFolder>,
    /// Images of pushed data sets.
    pub pushed: CacheFolder,
}

/// Less is not worth a cache of decoded images.
const LEAST_DECODED_BYTES: u64 = 1_000_000_000;

impl CacheFolders {
    /// A folder that was named.
    pub fn named(path: &Path, limit_bytes: Option<u64>) -> Self {
        let folder = CacheFolder { path: path.to_owned(), limit_bytes };
        Self { decoded: Some(folder.clone()), pushed: folder }
    }

    /// The folders where none is named: `fivefold/images` and `fivefold/decoded` in the user's cache folder, or in `scratch` where
    /// the former cannot be written. Without a limit, decoded images take a tenth of the space that is free without them, if
    /// that is enough for some, and those of pushed data sets leave a tenth free.
    pub fn usual(scratch: &Path, limit_bytes: Option<u64>) -> Self {
        let path = usual_path(scratch);
        if limit_bytes.is_some() {
            return Self::named(&path, limit_bytes);
        }
        // Apart from the others, so that neither make room by deleting the others.
        let decoded = path.with_file_name("decoded");
        let free = make_writable(&decoded).and_then(|()| free_bytes(&path)).ok();
        let limit = |folder: &Path, tenths| free.map(|free_bytes| share(held_bytes(folder), free_bytes, tenths));
        let decoded_bytes = limit(&decoded, 1).filter(|bytes| *bytes >= LEAST_DECODED_BYTES);
        Self {
            pushed: CacheFolder { limit_bytes: limit(&path, 9), path },
            decoded: decoded_bytes.map(|bytes| CacheFolder { path: decoded, limit_bytes: Some(bytes) }),
        }
    }
}

/// Tenths of what would be free without the files of a folder. A restart does not change that.
fn share(held_bytes: u64, free_bytes: u64, tenths: u64) -> u64 {
    (held_bytes + free_bytes) / 10 * tenths
}

fn usual_path(scratch: &Path) -> PathBuf {
    let of_user = cache_of_user(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
    let of_user = of_user.map(|cache| cache.join("fivefold/images"));
    let path = of_user.filter(|path| match make_writable(path) {
        Ok(()) => true,
        Err(error) => {
            let (path, scratch) = (path.display(), scratch.display());
            tracing::warn!("cannot use {path}: {error}; packed images are kept in {scratch}");
            false
        }
    });
    path.unwrap_or_else(|| scratch.join("images"))
}

/// The user's cache folder, as the XDG Base Directory Specification has it.
fn cache_of_user(xdg_cache_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    xdg_cache_home.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".cache")))
}

fn make_writable(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// The size of a folder's files in bytes.
fn held_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_cache_folder_is_where_it_is_set_or_in_the_home() {
        let cache = |xdg: &str, home: &str| {
            let set = |text: &str| (!text.is_empty()).then(|| text.into());
            cache_of_user(set(xdg), set(home)).map(|path| path.display().to_string())
        };
        assert_eq!(cache("/xdg", "/home/a").as_deref(), Some("/xdg"));
        assert_eq!(cache("", "/home/a").as_deref(), Some("/home/a/.cache"));
        assert_eq!(cache("relative", "/home/a").as_deref(), Some("/home/a/.cache"), "as if it were not set");
        assert_eq!(cache("", ""), None);
    }

    #[test]
    fn a_share_is_the_same_however_much_of_it_is_taken() {
        let gb = 1_000_000_000;
        assert_eq!((share(0, 50 * gb, 1), share(5 * gb, 45 * gb, 1)), (5 * gb, 5 * gb));
        assert_eq!((share(0, 50 * gb, 9), share(45 * gb, 5 * gb, 9)), (45 * gb, 45 * gb));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_not_writable() {
        let folder = tempfile::tempdir().unwrap();
        make_writable(&folder.path().join("a/b")).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "1234").unwrap();
        assert!(make_writable(&file.join("images")).is_err());
        assert!((4..4 + (1 << 20)).contains(&held_bytes(folder.path())));
    }
}
