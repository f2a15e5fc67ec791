//! The folder of packed images.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fivefold_pack::pushed_images::free_bytes;
use rustix::fs::{Access, access};

/// A folder of packed images, which workers of a machine may share.
#[derive(Debug, Clone)]
pub struct CacheFolder {
    /// The folder.
    pub path: PathBuf,
    /// The most bytes of its files; `None` for no limit.
    pub limit_bytes: Option<u64>,
}

/// The folder that is used where none is named: `fivefold/images` in the user's cache folder, or `images` in `scratch` where
/// the former cannot be written. Without a limit it may take what it has and nine tenths of what is free now.
pub fn usual_cache(scratch: &Path, limit_bytes: Option<u64>) -> CacheFolder {
    let of_user = cache_of_user(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
    let of_user = of_user.map(|cache| cache.join("fivefold/images"));
    let path = of_user.filter(|path| match make_writable(path) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(
                "cannot use {}: {error}; images of pushed data sets go to {}",
                path.display(),
                scratch.display()
            );
            false
        }
    });
    let path = path.unwrap_or_else(|| scratch.join("images"));
    let limit_bytes = limit_bytes.or_else(|| {
        let free_bytes = make_writable(&path).and_then(|()| free_bytes(&path)).ok()?;
        Some(held_bytes(&path) + free_bytes / 10 * 9)
    });
    CacheFolder { path, limit_bytes }
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
    fn a_folder_that_cannot_be_made_is_not_writable() {
        let folder = tempfile::tempdir().unwrap();
        make_writable(&folder.path().join("a/b")).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "1234").unwrap();
        assert!(make_writable(&file.join("images")).is_err());
        assert!((4..4 + (1 << 20)).contains(&held_bytes(folder.path())));
    }
}
