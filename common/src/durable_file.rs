//! Files written whole or not at all.
//!
//! A file is written under a temporary name in its own folder, synced, renamed, and its folder is synced. A crash or a power
//! cut leaves the old file, or none, or the whole new one.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file or folder that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}", path.display())]
pub struct WriteError {
    /// The final path, never the temporary one.
    pub path: PathBuf,
    /// The system's error.
    pub error: io::Error,
}

impl WriteError {
    fn at(path: &Path) -> impl Fn(io::Error) -> WriteError + '_ {
        |error| WriteError { path: path.to_owned(), error }
    }
}

/// A file being written under a temporary name. Dropping it before [`commit`](DurableFile::commit) deletes it.
#[derive(Debug)]
pub struct DurableFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl DurableFile {
    /// Creates the temporary file beside `path`, with the permissions of an ordinary new file.
    ///
    /// # Errors
    /// When `path` is a folder or names no file, or its folder cannot be written.
    pub fn create(path: &Path) -> Result<DurableFile, WriteError> {
        let refused = |kind, message| Err(WriteError::at(path)(io::Error::new(kind, message)));
        let Some(name) = path.file_name() else {
            return refused(io::ErrorKind::InvalidInput, "it does not name a file");
        };
        if path.is_dir() {
            return refused(io::ErrorKind::IsADirectory, "it is a folder; name a file");
        }
        let mut prefix = OsString::from(".");
        prefix.push(name);
        let temporary = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".part")
            // The default of tempfile is 0600; the umask still applies.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder_of(path))
            .map_err(WriteError::at(path))?;
        Ok(DurableFile { temporary, path: path.to_owned() })
    }

    /// The path of the temporary file, for writers that take a path.
    pub fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }

    /// Like [`commit`](DurableFile::commit), under another name in the same folder: for names that follow from the content.
    ///
    /// # Errors
    /// As [`commit`](DurableFile::commit).
    pub fn commit_as(self, name: &str) -> Result<(), WriteError> {
        let path = self.path.with_file_name(name);
        DurableFile { path, ..self }.commit()
    }

    /// Syncs the file, renames it to its path and syncs the folder.
    ///
    /// # Errors
    /// When the disk fails. The temporary file is deleted; the old file stays unless only the last sync failed.
    pub fn commit(self) -> Result<(), WriteError> {
        let DurableFile { temporary, path } = self;
        let failed = WriteError::at(&path);
        temporary.as_file().sync_all().map_err(&failed)?;
        temporary.persist(&path).map_err(|error| failed(error.error))?;
        sync_folder_of(&path).map_err(&failed)
    }
}

impl Write for DurableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.as_file_mut().flush()
    }
}

/// Writes the file at `path` with `content`, buffered.
///
/// # Errors
/// When `content` fails or the file cannot be written. The old file, if any, stays.
pub fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    let failed = WriteError::at(path);
    let mut output = BufWriter::new(DurableFile::create(path)?);
    content(&mut output).map_err(&failed)?;
    output.into_inner().map_err(|error| failed(error.into_error()))?.commit()
}

/// Renames a file or folder, which the caller has synced, and syncs the folder that holds its new name.
///
/// # Errors
/// When it cannot be renamed, or the folder cannot be synced.
pub fn rename(from: &Path, to: &Path) -> Result<(), WriteError> {
    fs::rename(from, to).and_then(|()| sync_folder_of(to)).map_err(WriteError::at(to))
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        write(&path, |output| output.write_all(b"old")).unwrap();
        let failed = write(&path, |output| {
            output.write_all(b"half")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failed.unwrap_err().to_string().ends_with("report.json: the disk is full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["report.json"]);

        write(&path, |output| output.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["report.json"]);
    }

    #[test]
    fn a_writer_may_write_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let file = DurableFile::create(&path).unwrap();
        fs::write(file.temporary_path(), b"content").unwrap();
        assert!(!path.exists());
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
        drop(DurableFile::create(&path).unwrap());
        assert_eq!(names(folder.path()), ["weights"]);
        fs::remove_file(&path).unwrap();
        DurableFile::create(&path).unwrap().commit_as("digest").unwrap();
        assert_eq!(names(folder.path()), ["digest"]);
    }

    #[test]
    fn folders_and_missing_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| DurableFile::create(path).unwrap_err().error.kind();
        assert_eq!(kind(folder.path()), io::ErrorKind::IsADirectory);
        assert_eq!(kind(Path::new("/")), io::ErrorKind::InvalidInput);
        assert_eq!(kind(&folder.path().join("none").join("file")), io::ErrorKind::NotFound);
    }
}
