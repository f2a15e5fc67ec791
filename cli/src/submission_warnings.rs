//! What is allowed in a submission, but seldom meant.

use std::collections::HashSet;

use fivefold_common::spec::{JobSetSpec, LabelFormat};

use crate::image_list::ImageList;

/// A sentence with its remedy for each oddity of the settings and lists.
pub(crate) fn submission_warnings(
    spec: &JobSetSpec,
    train: &ImageList,
    hpa: Option<&ImageList>,
    test: Option<&ImageList>,
) -> Vec<String> {
    let labelled: Vec<&ImageList> = std::iter::once(train).chain(hpa).collect();
    let mut warnings: Vec<String> = labelled.iter().filter_map(|list| without_labels(spec, list)).collect();
    if let Some(test) = test {
        warnings.extend(labelled.iter().filter_map(|list| shared(test, list)));
    }
    warnings.extend(early_stop(spec));
    warnings
}

fn without_labels(spec: &JobSetSpec, list: &ImageList) -> Option<String> {
    let is_bare = list.manifest.rows.iter().all(|row| row.labels.is_empty());
    let name = list.file.path.display();
    let column = match spec.label_format {
        LabelFormat::Numbers | LabelFormat::Names => format!("column {}", spec.label_column),
        LabelFormat::OneHot => "columns of the classes".to_owned(),
    };
    is_bare.then(|| format!("{name}: no row has a label, so there is nothing to learn; check the {column}"))
}

fn shared(test: &ImageList, list: &ImageList) -> Option<String> {
    let known: HashSet<&str> = list.manifest.rows.iter().map(|row| row.id.as_str()).collect();
    let shared: Vec<&str> =
        test.manifest.rows.iter().map(|row| row.id.as_str()).filter(|id| known.contains(id)).collect();
    let (first, rows) = (shared.first()?, test.manifest.rows.len());
    let (test, list) = (test.file.path.display(), list.file.path.display());
    let count = shared.len();
    Some(format!("{count} of {rows} ids of {test} are in {list} too, such as {first:?}; is it the right test list?"))
}

/// The learning rate is reduced after `lr_patience` + 1 epochs without improvement, which has to be before training ends.
fn early_stop(spec: &JobSetSpec) -> Option<String> {
    let JobSetSpec { early_stop_patience, lr_patience, epochs, .. } = *spec;
    let is_too_early = early_stop_patience < epochs && early_stop_patience <= lr_patience.saturating_add(1);
    is_too_early.then(|| {
        format!(
            "early_stop_patience = {early_stop_patience} ends training before lr_patience = {lr_patience} reduces the \
             learning rate; set early_stop_patience above {}",
            lr_patience.saturating_add(1)
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn list(folder: &Path, name: &str, text: &str) -> ImageList {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        let spec = JobSetSpec::default();
        if name == "test.csv" { ImageList::read_test(&path, &spec) } else { ImageList::read_labelled(&path, &spec) }
            .unwrap()
    }

    #[test]
    fn usual_submissions_have_no_warnings() {
        let folder = tempfile::tempdir().unwrap();
        let train = list(folder.path(), "train.csv", "Id,Target\na,1\nb,\n");
        let test = list(folder.path(), "test.csv", "Id\nc\n");
        assert_eq!(submission_warnings(&JobSetSpec::default(), &train, None, Some(&test)), Vec::<String>::new());
    }

    #[test]
    fn oddities_are_named_with_their_list() {
        let folder = tempfile::tempdir().unwrap();
        let train = list(folder.path(), "train.csv", "Id,Target\na,\nb,\n");
        let test = list(folder.path(), "test.csv", "Id\nb\nc\n");
        let spec = JobSetSpec { early_stop_patience: 1, lr_patience: 9, ..JobSetSpec::default() };
        let warnings = submission_warnings(&spec, &train, None, Some(&test));
        let wanted = ["train.csv: no row has a label", "1 of 2 ids of", "set early_stop_patience above 10"];
        assert_eq!(warnings.len(), wanted.len(), "{warnings:?}");
        for (warning, wanted) in warnings.iter().zip(wanted) {
            assert!(warning.contains(wanted), "{warning}");
        }
    }
}
