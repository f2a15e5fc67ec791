//! The data set of `--dataset`: a file that describes it, or the name under which it was pushed.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use fivefold_client::{CallError, Connection};
use fivefold_common::data_set_name::{DataSetName, DataSetNameError};
use fivefold_common::dataset_file::{DatasetFile, DatasetLists};
use fivefold_common::spec::SpecOverrides;
use fivefold_proto::convert::required;
use fivefold_proto::status::Reason;
use fivefold_proto::v1::{DataSet, GetDataSetRequest};

use crate::error::UsageError;
use crate::list_source::ListSource;
use crate::spec_flags::read_dataset_file;

/// What `--dataset` says. A path has a `/` or ends with `.toml`, and a name has neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DatasetSource {
    File(PathBuf),
    Pushed(DataSetName),
}

/// Text that is neither a path nor a name.
#[derive(Debug, thiserror::Error)]
#[error("{0}; a file is named with its ending .toml, or as ./FILE")]
pub(crate) struct DatasetSourceError(DataSetNameError);

impl FromStr for DatasetSource {
    type Err = DatasetSourceError;

    fn from_str(text: &str) -> Result<Self, DatasetSourceError> {
        if text.contains('/') || text.ends_with(".toml") {
            return Ok(Self::File(text.into()));
        }
        text.parse().map(Self::Pushed).map_err(DatasetSourceError)
    }
}

/// A data set to be submitted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DescribedDataset {
    pub(crate) overrides: SpecOverrides,
    pub(crate) train: Option<ListSource>,
    pub(crate) extra: Option<ListSource>,
    pub(crate) test: Option<ListSource>,
    pub(crate) folds: Option<ListSource>,
    /// The index of its pushed images; empty where each worker has the images in a folder.
    pub(crate) images_digest: String,
}

impl DescribedDataset {
    /// Reads the description. The lists are not read.
    pub(crate) async fn read(source: &DatasetSource, coordinator: &Connection) -> anyhow::Result<Self> {
        match source {
            DatasetSource::File(path) => Ok(Self::of_file(read_dataset_file(path)?)),
            DatasetSource::Pushed(name) => Self::of_pushed(get_data_set(name, coordinator).await?),
        }
    }

    fn of_file(DatasetFile { overrides, lists }: DatasetFile) -> Self {
        let DatasetLists { train, extra, test, folds } = lists;
        let [train, extra, test, folds] = [train, extra, test, folds].map(|path| path.map(ListSource::File));
        Self { overrides, train, extra, test, folds, images_digest: String::new() }
    }

    fn of_pushed(data_set: DataSet) -> anyhow::Result<Self> {
        let DataSet { name, dataset_toml, manifests, .. } = data_set;
        let manifests = required("data_set.manifests", manifests)?;
        let file = DatasetFile::parse(&dataset_toml)
            .map_err(|error| UsageError(format!("the description of the data set {name}, {error}: push it again")))?;
        let held = |what: &str, digest: String| {
            (!digest.is_empty()).then(|| ListSource::Held { name: format!("the {what} of {name}"), digest })
        };
        Ok(Self {
            overrides: file.overrides,
            train: held("training list", manifests.train_digest),
            extra: held("extra list", manifests.hpa_digest),
            test: held("test list", manifests.test_digest),
            folds: held("folds", manifests.folds_digest),
            images_digest: manifests.images_digest,
        })
    }
}

/// The data set of a name.
pub(crate) async fn get_data_set(name: &DataSetName, coordinator: &Connection) -> anyhow::Result<DataSet> {
    let request = GetDataSetRequest { name: name.to_string() };
    let answer = coordinator.call(request, async |c, r| c.data_sets().get_data_set(r).await).await;
    let answer = answer.map_err(|error| {
        let is_file = Path::new(name.as_str()).is_file();
        let hint = if is_file { format!("; the file here is called ./{name}") } else { String::new() };
        data_set_error(error, &hint)
    })?;
    Ok(required("data_set", answer.data_set)?)
}

/// The error of a call, with advice of its own for an unknown data set.
pub(crate) fn data_set_error(error: CallError, hint: &str) -> anyhow::Error {
    match error {
        CallError::Refused(refusal) if refusal.reason() == Some(Reason::NotFound) => {
            UsageError(format!("{refusal}; `fivefold datasets` lists the pushed ones{hint}")).into()
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::Manifests;

    use super::*;

    #[test]
    fn paths_and_names_are_told_apart() {
        for path in ["dataset.toml", "./xrays", "sets/xrays", "/sets/xrays.toml"] {
            assert_eq!(path.parse::<DatasetSource>().unwrap(), DatasetSource::File(path.into()));
        }
        let name = "xrays".parse().unwrap();
        assert_eq!("xrays".parse::<DatasetSource>().unwrap(), DatasetSource::Pushed(name));
        let message = "my xrays".parse::<DatasetSource>().unwrap_err().to_string();
        assert!(message.contains("cannot be the name of a data set"), "{message}");
        assert!(message.ends_with("a file is named with its ending .toml, or as ./FILE"), "{message}");
    }

    #[test]
    fn a_pushed_data_set_has_the_settings_of_its_file_and_lists_of_the_coordinator() {
        let manifests = Manifests {
            train_digest: "t".into(),
            hpa_digest: "h".into(),
            images_digest: "i".into(),
            ..Manifests::default()
        };
        let dataset_toml = "epochs = 3\n[lists]\ntrain = \"t.csv\"\nextra = { file = \"x.csv\", use = \"training\" }";
        let data_set = DataSet {
            name: "xrays".into(),
            dataset_toml: dataset_toml.into(),
            manifests: Some(manifests),
            ..DataSet::default()
        };
        let described = DescribedDataset::of_pushed(data_set.clone()).unwrap();
        assert_eq!((described.overrides.epochs, described.overrides.valid_with_hpa), (Some(3), Some(false)));
        let held = |name: &str, digest: &str| Some(ListSource::Held { name: name.into(), digest: digest.into() });
        assert_eq!(described.train, held("the training list of xrays", "t"));
        assert_eq!((described.extra, described.test), (held("the extra list of xrays", "h"), None));
        assert_eq!(described.images_digest, "i");

        let newer = DataSet { dataset_toml: "epoks = 3".into(), ..data_set };
        let message = DescribedDataset::of_pushed(newer).unwrap_err().to_string();
        assert!(message.contains("the description of the data set xrays, line 1 (epoks = 3)"), "{message}");
    }
}
