//! Where a list comes from: a file, or an artifact that the coordinator holds.

use std::path::PathBuf;

use anyhow::Context as _;
use fivefold_client::Connection;
use fivefold_proto::v1::Artifact;

use crate::image_list::ListFile;
use crate::transfer::download;

/// A list that is not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListSource {
    File(PathBuf),
    Held {
        /// Its name in messages.
        name: String,
        digest: String,
    },
}

impl ListSource {
    /// Reads or downloads the list.
    pub(crate) async fn read(&self, coordinator: &Connection) -> anyhow::Result<ListFile> {
        match self {
            Self::File(path) => ListFile::read(path),
            Self::Held { name, digest } => {
                let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
                let path = folder.path().join("list.csv");
                let artifact = Artifact { digest: digest.clone(), ..Artifact::default() };
                download(coordinator, &artifact, &path).await.with_context(|| name.clone())?;
                let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                Ok(ListFile { path: name.into(), bytes: bytes.into() })
            }
        }
    }
}
