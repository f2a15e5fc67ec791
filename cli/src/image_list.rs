//! Lists of images. A list is read once: the bytes that were checked are the ones uploaded.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use fivefold_common::manifest::{FoldTable, GivenFolds, Manifest, ManifestRow, SplitReport, rare_labels, shared_id};
use fivefold_common::spec::{JobSetSpec, SplitMethod};

/// A file and its bytes, for the upload.
#[derive(Debug)]
pub(crate) struct ListFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Bytes,
}

impl ListFile {
    pub(crate) fn read(path: &Path) -> anyhow::Result<ListFile> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(ListFile { path: path.to_owned(), bytes: bytes.into() })
    }

    /// The file's name in messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// A list file and its rows.
#[derive(Debug)]
pub(crate) struct ImageList {
    pub(crate) file: ListFile,
    pub(crate) manifest: Manifest,
}

impl ImageList {
    /// Reads a training list, as the spec describes it.
    pub(crate) fn read_labelled(path: &Path, spec: &JobSetSpec) -> anyhow::Result<ImageList> {
        ImageList::labelled(ListFile::read(path)?, spec)
    }

    /// A training list that was read.
    pub(crate) fn labelled(file: ListFile, spec: &JobSetSpec) -> anyhow::Result<ImageList> {
        let manifest = Manifest::read_labelled_csv(&file.name(), spec, &file.bytes[..])?;
        Ok(ImageList { file, manifest })
    }

    /// Reads a test list: the ids, or the columns of a submission.
    pub(crate) fn read_test(path: &Path, spec: &JobSetSpec) -> anyhow::Result<ImageList> {
        ImageList::test(ListFile::read(path)?, spec)
    }

    /// A test list that was read.
    pub(crate) fn test(file: ListFile, spec: &JobSetSpec) -> anyhow::Result<ImageList> {
        let manifest = Manifest::read_test_csv(&file.name(), spec, &file.bytes[..])?;
        Ok(ImageList { file, manifest })
    }
}

/// Endings of image files, in lower case.
const ENDINGS: [&str; 5] = [".png", ".jpg", ".jpeg", ".tif", ".tiff"];

/// Refuses ids that end like the names of image files, unless the spec says where the files are: no worker would find
/// `a.png_red.png`.
pub(crate) fn check_ids(spec: &JobSetSpec, list: &ImageList) -> anyhow::Result<()> {
    if !spec.image_files.is_empty() {
        return Ok(());
    }
    let ending_of = |id: &str| {
        let id = id.to_ascii_lowercase();
        ENDINGS.iter().find(|ending| id.ends_with(**ending))
    };
    let rows = list.manifest.rows.iter().enumerate();
    let found = rows.filter_map(|(row, ManifestRow { id, .. })| Some((row, id, ending_of(id)?))).next();
    if let Some((row, id, ending)) = found {
        let (name, row) = (list.file.path.display(), row + 1);
        anyhow::bail!(
            "{name}, row {row}: the id {id:?} ends like a file name, and the images are {id}_red.png and so on; an id is the \
             name without colour and ending: remove {ending} from the ids, or set image_files, such as train/{{id}}"
        );
    }
    Ok(())
}

/// A file of folds that were made elsewhere.
#[derive(Debug)]
pub(crate) struct FoldsFile {
    pub(crate) file: ListFile,
    pub(crate) folds: GivenFolds,
}

impl FoldsFile {
    /// Reads a file with the columns `Id` and `Fold`.
    pub(crate) fn read(path: &Path) -> anyhow::Result<FoldsFile> {
        FoldsFile::of(ListFile::read(path)?)
    }

    /// A file of folds that was read.
    pub(crate) fn of(file: ListFile) -> anyhow::Result<FoldsFile> {
        let folds = GivenFolds::read_csv(&file.name(), &file.bytes[..])?;
        Ok(FoldsFile { file, folds })
    }
}

/// Checks the lists of one job set together: no id in both, and at least one row per fold in each.
pub(crate) fn check_lists(spec: &JobSetSpec, train: &ImageList, hpa: Option<&ImageList>) -> anyhow::Result<()> {
    if let Some(hpa) = hpa
        && let Some(id) = shared_id(&train.manifest, &hpa.manifest)
    {
        let (train, hpa) = (train.file.path.display(), hpa.file.path.display());
        anyhow::bail!("the id {id:?} is in both {train} and {hpa}; remove it from one of them");
    }
    for list in std::iter::once(train).chain(hpa) {
        let rows = list.manifest.rows.len();
        if rows < spec.folds as usize {
            let (list, folds) = (list.file.path.display(), spec.folds);
            anyhow::bail!("{list}: {rows} rows cannot fill {folds} folds; lower --folds or add rows");
        }
    }
    Ok(())
}

/// Splits the lists like the coordinator and returns the figures. The default method without groups is left out: it cannot
/// fail on checked lists.
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
        Some(given) => given.folds.table(spec, train, hpa).with_context(|| given.file.name())?,
        None => FoldTable::split(spec, train, hpa)?,
    };
    Ok(Some(SplitReport::of(spec, train, hpa, &table)))
}

/// Warnings on a valid split: groups in two folds, sets of labels missing in some folds, a shuffle without stratification.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_end_like_files_are_refused_with_their_row() {
        let list = |text: &str| {
            let file = ListFile { path: "train.csv".into(), bytes: text.to_owned().into() };
            ImageList::labelled(file, &JobSetSpec::default()).unwrap()
        };
        let spec = JobSetSpec::default();
        assert!(check_ids(&spec, &list("Id,Target\na.b,\nb,\n")).is_ok());
        let refused = check_ids(&spec, &list("Id,Target\na,\nb.PNG,\n")).unwrap_err().to_string();
        assert!(refused.starts_with("train.csv, row 2: the id \"b.PNG\" ends like a file name"), "{refused}");
        assert!(refused.contains("remove .png from the ids, or set image_files, such as train/{id}"), "{refused}");
        let spec = JobSetSpec { image_files: "train/{id}".into(), ..JobSetSpec::default() };
        assert!(check_ids(&spec, &list("Id,Target\na,\nb.PNG,\n")).is_ok());
    }
}
