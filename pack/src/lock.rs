//! The right to add segments of one identity to a folder: one process has it at a time.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use fivefold_common::durable_file::WriteError;

use crate::identity::Identity;
use crate::segment_writer::unsealed_name;

/// The right, until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct BuilderLock {
    _file: File,
}

impl BuilderLock {
    /// Takes the right, and deletes what a builder left that was killed. `None` while another process has it.
    pub(crate) fn try_take(folder: &Path, identity: &Identity) -> Result<Option<Self>, WriteError> {
        let path = folder.join(format!("{}.lock", identity.digest()));
        let failed = |error| WriteError { path: path.clone(), error };
        let file = File::create(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let left = format!(".{}", unsealed_name(identity));
        for entry in fs::read_dir(folder).map_err(failed)?.map_while(Result::ok) {
            if entry.file_name().as_encoded_bytes().starts_with(left.as_bytes()) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(Some(Self { _file: file }))
    }
}
