//! Lists of images. A list is read once: the bytes that were checked are the ones uploaded.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use fivefold_common::manifest::{
    FoldTable, GivenFolds, Manifest, ManifestError, ManifestKind, SplitReport, rare_labels, shared_id,
};
use fivefold_common::spec::{JobSetSpec, SplitMethod};

/// A list file and its rows.
#[derive(Debug)]
pub(crate) struct ImageList {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Bytes,
    pub(crate) manifest: Manifest,
}

impl ImageList {
    /// Reads a training list: `Id,Target`, and perhaps a column of groups. `group_column` is that of the spec.
    pub(crate) fn read_labelled(path: &Path, group_column: &str) -> anyhow::Result<ImageList> {
        ImageList::read(path, |name, bytes| Manifest::read_labelled_csv(name, group_column, bytes))
    }

    /// Reads a test list: `Id` or `Id,Predicted`.
    pub(crate) fn read_test(path: &Path) -> anyhow::Result<ImageList> {
        ImageList::read(path, |name, bytes| Manifest::read_csv(name, ManifestKind::Test, bytes))
    }

    fn read(
        path: &Path,
        read: impl FnOnce(&str, &[u8]) -> Result<Manifest, ManifestError>,
    ) -> anyhow::Result<ImageList> {
        let name = path.display().to_string();
        let bytes = read_bytes(path)?;
        let manifest = read(&name, &bytes)?;
        Ok(ImageList { path: path.to_owned(), bytes, manifest })
    }
}

/// A file of folds that were made elsewhere.
#[derive(Debug)]
pub(crate) struct FoldsFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Bytes,
    pub(crate) folds: GivenFolds,
}

impl FoldsFile {
    /// Reads a file with the columns `Id` and `Fold`.
    pub(crate) fn read(path: &Path) -> anyhow::Result<FoldsFile> {
        let bytes = read_bytes(path)?;
        let folds = GivenFolds::read_csv(&path.display().to_string(), &bytes[..])?;
        Ok(FoldsFile { path: path.to_owned(), bytes, folds })
    }
}

fn read_bytes(path: &Path) -> anyhow::Result<Bytes> {
    Ok(Bytes::from(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
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

/// Splits the lists as the coordinator will, unless that is by the default method without groups, which cannot fail on
/// checked lists. Returns the split in figures.
pub(crate) fn check_split(
    spec: &JobSetSpec,
    train: &ImageList,
    hpa: Option<&ImageList>,
    folds: Option<&FoldsFile>,
) -> anyhow::Result<Option<SplitReport>> {
    let (train, hpa) = (&train.manifest, hpa.map(|hpa| &hpa.manifest));
    let has_groups = train.groups.is_some() || hpa.is_some_and(|hpa| hpa.groups.is_some());
    if spec.split_method == SplitMethod::Mskf && !has_groups {
        return Ok(None);
    }
    let table = match folds {
        Some(file) => file.folds.table(spec, train, hpa).with_context(|| file.path.display().to_string())?,
        None => FoldTable::split(spec, train, hpa)?,
    };
    Ok(Some(SplitReport::of(spec, train, hpa, &table)))
}

/// What a user should know of a split that is possible: groups in two folds, and labels that some folds lack.
pub(crate) fn split_warnings(spec: &JobSetSpec, train: &Manifest, report: &SplitReport) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(groups) = report.groups.as_ref().filter(|groups| groups.in_two_folds > 0) {
        let example = groups.example.as_deref().unwrap_or_default();
        let remedy = match report.method {
            SplitMethod::Given => "give all its rows the same fold in the folds file",
            _ => "use --split_method=gkf or --split_method=sgkf to keep groups whole",
        };
        warnings.push(format!(
            "{} of {} groups of the column {} are in two folds, such as {example:?}: a model is validated on groups that \
             it was trained on, and scores are too good; {remedy}",
            groups.in_two_folds, groups.count, groups.column
        ));
    }
    if let Some(rare) = rare_labels(spec, train) {
        warnings.push(format!("split_method = {}: {rare}", spec.split_method));
    }
    if spec.split_method == SplitMethod::Sgkf && spec.split_shuffle {
        warnings.push(
            "split_method = sgkf with split_shuffle repeats a fault of scikit-learn 1.7.2: the folds are hardly \
             stratified; leave split_shuffle out"
                .to_owned(),
        );
    }
    warnings
}
