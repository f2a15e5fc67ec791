//! The lists of images that a user names, read once: what was checked is what is uploaded.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use fivefold_common::manifest::{Manifest, ManifestKind, shared_id};
use fivefold_common::spec::JobSetSpec;

/// A checked list.
#[derive(Debug)]
pub(crate) struct List {
    /// Its file.
    pub(crate) path: PathBuf,
    /// The file's bytes.
    pub(crate) bytes: Bytes,
    /// Its rows.
    pub(crate) manifest: Manifest,
}

impl List {
    /// Reads `Id,Target`.
    pub(crate) fn labelled(path: &Path) -> anyhow::Result<List> {
        List::read(path, ManifestKind::Labelled)
    }

    /// Reads `Id` or `Id,Predicted`.
    pub(crate) fn test(path: &Path) -> anyhow::Result<List> {
        List::read(path, ManifestKind::Test)
    }

    fn read(path: &Path, kind: ManifestKind) -> anyhow::Result<List> {
        let name = path.display().to_string();
        let bytes = Bytes::from(std::fs::read(path).with_context(|| format!("cannot read {name}"))?);
        let manifest = Manifest::read_csv(&name, kind, &bytes[..])?;
        Ok(List { path: path.to_owned(), bytes, manifest })
    }
}

/// Refuses lists that cannot be one job set: an id in both, or fewer rows than folds.
pub(crate) fn check_together(spec: &JobSetSpec, train: &List, hpa: Option<&List>) -> anyhow::Result<()> {
    if let Some(hpa) = hpa
        && let Some(id) = shared_id(&train.manifest, &hpa.manifest)
    {
        let (train, hpa) = (train.path.display(), hpa.path.display());
        anyhow::bail!("the id {id:?} is in both {train} and {hpa}: each image should be in one of them");
    }
    for list in std::iter::once(train).chain(hpa) {
        let rows = list.manifest.rows.len();
        if rows < spec.folds as usize {
            let (list, folds) = (list.path.display(), spec.folds);
            anyhow::bail!("{list}: {rows} rows cannot fill {folds} folds; lower --folds or add rows");
        }
    }
    Ok(())
}
