//! Lists of images. A list is read once: the bytes that were checked are the ones uploaded.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use fivefold_common::manifest::{Manifest, ManifestKind, shared_id};
use fivefold_common::spec::JobSetSpec;

/// A list file and its rows.
#[derive(Debug)]
pub(crate) struct ImageList {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Bytes,
    pub(crate) manifest: Manifest,
}

impl ImageList {
    /// Reads a training list: `Id,Target`.
    pub(crate) fn read_labelled(path: &Path) -> anyhow::Result<ImageList> {
        ImageList::read(path, ManifestKind::Labelled)
    }

    /// Reads a test list: `Id` or `Id,Predicted`.
    pub(crate) fn read_test(path: &Path) -> anyhow::Result<ImageList> {
        ImageList::read(path, ManifestKind::Test)
    }

    fn read(path: &Path, kind: ManifestKind) -> anyhow::Result<ImageList> {
        let name = path.display().to_string();
        let bytes = Bytes::from(std::fs::read(path).with_context(|| format!("cannot read {name}"))?);
        let manifest = Manifest::read_csv(&name, kind, &bytes[..])?;
        Ok(ImageList { path: path.to_owned(), bytes, manifest })
    }
}

/// Checks the lists of one job set together: no id in both, and at least one row per fold in each.
pub(crate) fn check_lists(spec: &JobSetSpec, train: &ImageList, hpa: Option<&ImageList>) -> anyhow::Result<()> {
    if let Some(hpa) = hpa
        && let Some(id) = shared_id(&train.manifest, &hpa.manifest)
    {
        let (train, hpa) = (train.path.display(), hpa.path.display());
        anyhow::bail!("the id {id:?} is in both {train} and {hpa}; remove it from one of them");
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
