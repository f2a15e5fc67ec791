//! Files that are there whole or not at all.

use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use tempfile::NamedTempFile;

/// A temporary file beside `path`, to become it with [`put_in_place`]; removed when it is dropped before.
pub(crate) fn begin(path: &Path) -> anyhow::Result<NamedTempFile> {
    let name = path.file_name().with_context(|| format!("{} does not name a file", path.display()))?;
    anyhow::ensure!(!path.is_dir(), "{} is a folder; name a file", path.display());
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".part")
        // As if it were made in place: the umask takes away what it should.
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder_of(path))
        .with_context(|| format!("cannot write into {}", folder_of(path).display()))
}

/// Syncs a finished file and gives it its name.
pub(crate) fn put_in_place(file: NamedTempFile, path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}

/// Writes `path` with what `write` gives.
pub(crate) fn write(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> anyhow::Result<()> {
    let file = begin(path)?;
    let mut output = BufWriter::new(file);
    write(&mut output).and_then(|()| output.flush()).with_context(|| format!("cannot write {}", path.display()))?;
    let file = output.into_inner().map_err(|error| error.into_error())?;
    put_in_place(file, path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        write(&path, |output| output.write_all(b"old")).unwrap();
        let failed = write(&path, |output| {
            output.write_all(b"half")?;
            Err(std::io::Error::other("the disk is full"))
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("report.json: the disk is full"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let refused = write(folder.path(), |_| Ok(())).unwrap_err();
        assert!(refused.to_string().contains("is a folder"));
    }
}
