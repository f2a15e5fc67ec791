//! Lists of images.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::csv_rows::{MAX_NAME_BYTES, checked_id, column_advice, find_column, read_rows, shown, wrong_header};
use super::label_columns::LabelColumns;
use super::{ManifestError, ManifestProblem};
use crate::labels::Labels;
use crate::spec::{JobSetSpec, LabelFormat, Task};

/// A list of images in the order of the file, with unique ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The rows.
    pub rows: Vec<ManifestRow>,
    /// The groups of the rows, if the list has a column of groups.
    pub groups: Option<GroupColumn>,
}

/// One image and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRow {
    /// The image's id: a name that is part of its files' paths, perhaps with sub-folders. It never leaves their folder.
    pub id: String,
    /// Its labels; none in a test list.
    pub labels: Labels,
}

/// A list's column of groups. Rows of a group, such as the images of one patient, resemble each other more than rows of
/// different groups do, so a model must not be validated on a group that it was trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupColumn {
    /// The column's name in the header.
    pub name: String,
    /// The name of each row's group, in the order of the rows.
    pub of_rows: Vec<String>,
}

/// The places of a labelled list's columns.
struct LabelledColumns {
    id: usize,
    labels: LabelColumns,
    group: Option<(usize, String)>,
}

impl LabelledColumns {
    /// Finds the columns that the spec describes. The header has to have the column of groups that the spec names.
    fn find(header: &[&str], spec: &JobSetSpec) -> Result<LabelledColumns, ManifestProblem> {
        let Some(id) = find_column(header, &spec.id_column)? else {
            let expected = match spec.label_format {
                LabelFormat::Numbers | LabelFormat::Names => format!("{},{}", spec.id_column, spec.label_column),
                LabelFormat::OneHot => format!("{} and a column for each class", spec.id_column),
            };
            let mut advice = column_advice(header, "id_column", &spec.id_column, "ids");
            if spec.label_format != LabelFormat::OneHot {
                advice += &column_advice(header, "label_column", &spec.label_column, "labels");
            }
            return Err(wrong_header(expected, header, advice));
        };
        let labels = LabelColumns::find(header, spec)?;
        let group = match spec.group_column.as_str() {
            "" => match header.iter().find(|column| column.eq_ignore_ascii_case("group")) {
                Some(&column) => find_column(header, column)?.map(|place| (place, column.to_owned())),
                None => None,
            },
            named => match find_column(header, named)? {
                Some(place) => Some((place, named.to_owned())),
                None => {
                    let found = shown(&header.join(","));
                    return Err(ManifestProblem::NoGroupColumn { column: named.to_owned(), found });
                }
            },
        };
        let known =
            |place| place == id || labels.has(place) || group.as_ref().is_some_and(|(group, _)| *group == place);
        match header.iter().enumerate().find(|(place, _)| !known(*place)) {
            Some((_, column)) => Err(ManifestProblem::ExtraColumn { column: shown(column) }),
            None => Ok(LabelledColumns { id, labels, group }),
        }
    }
}

impl Manifest {
    /// Reads and checks a list of images and labels: the columns that the spec names, by default `Id` and `Target`, and
    /// perhaps a column of groups, in any order. The column of groups is the spec's `group_column`; if that is empty, it
    /// is `Group`, in upper or lower case, if there is one. If the task is multiclass, each row has exactly one class. `file`
    /// is the list's name in errors.
    ///
    /// # Errors
    /// The first invalid line.
    pub fn read_labelled_csv(file: &str, spec: &JobSetSpec, input: impl Read) -> Result<Manifest, ManifestError> {
        let mut rows = Vec::new();
        let mut groups = Vec::new();
        let mut ids = UniqueIds::default();
        let columns = read_rows(
            file,
            input,
            |header| LabelledColumns::find(header, spec),
            |columns, line, record| {
                let field = |place| record.get(place).unwrap_or_default();
                let id = ids.add(field(columns.id), line)?;
                let labels = columns.labels.read(record)?;
                if spec.task == Task::Multiclass && labels.len() != 1 {
                    return Err(ManifestProblem::NotOneClass { count: labels.len() });
                }
                if let Some((place, name)) = &columns.group {
                    groups.push(checked_group(name, field(*place))?);
                }
                rows.push(ManifestRow { id, labels });
                Ok(())
            },
        )?;
        let groups = columns.group.map(|(_, name)| GroupColumn { name, of_rows: groups });
        Ok(Manifest { rows, groups })
    }

    /// Reads and checks a test list: the column of ids alone, or the columns of a submission, by default `Id,Predicted`.
    /// Only the ids are read. `file` is the list's name in errors.
    ///
    /// # Errors
    /// The first invalid line.
    pub fn read_test_csv(file: &str, spec: &JobSetSpec, input: impl Read) -> Result<Manifest, ManifestError> {
        let mut rows = Vec::new();
        let mut ids = UniqueIds::default();
        let submitted = spec.submission_header();
        let columns = |header: &[&str]| {
            let is_known = header == [spec.id_column.as_str()] || header == submitted;
            let advice = || column_advice(header, "id_column", &spec.id_column, "ids");
            let expected = || format!("{} alone or {}", spec.id_column, shown(&submitted.join(",")));
            if is_known { Ok(()) } else { Err(wrong_header(expected(), header, advice())) }
        };
        read_rows(file, input, columns, |(), line, record| {
            let id = ids.add(record.get(0).unwrap_or_default(), line)?;
            rows.push(ManifestRow { id, labels: Labels::default() });
            Ok(())
        })?;
        Ok(Manifest { rows, groups: None })
    }

    /// The group of each row; `None` without a column of groups.
    pub fn groups_of_rows(&self) -> Option<&[String]> {
        self.groups.as_ref().map(|groups| groups.of_rows.as_slice())
    }
}

/// The ids of a list so far, each with its line.
#[derive(Default)]
pub(super) struct UniqueIds(HashMap<String, u64>);

impl UniqueIds {
    /// Checks an id and that it is new.
    pub(super) fn add(&mut self, id: &str, line: u64) -> Result<String, ManifestProblem> {
        let id = checked_id(id)?;
        if let Some(&first_line) = self.0.get(&id) {
            return Err(ManifestProblem::DuplicateId { id, first_line });
        }
        self.0.insert(id.clone(), line);
        Ok(id)
    }
}

fn checked_group(column: &str, text: &str) -> Result<String, ManifestProblem> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
        return Err(ManifestProblem::Group { column: column.to_owned(), text: shown(text) });
    }
    Ok(text.to_owned())
}

/// The first id that is in both lists. Such lists cannot be used together: an id must be unique within a job set.
pub fn shared_id<'a>(train: &'a Manifest, hpa: &Manifest) -> Option<&'a str> {
    let hpa_ids: HashSet<&str> = hpa.rows.iter().map(|row| row.id.as_str()).collect();
    train.rows.iter().map(|row| row.id.as_str()).find(|id| hpa_ids.contains(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::LabelSeparator;

    fn labelled(text: &str) -> Result<Manifest, String> {
        grouped(text, "")
    }

    fn grouped(text: &str, group_column: &str) -> Result<Manifest, String> {
        read(&JobSetSpec { group_column: group_column.to_owned(), ..JobSetSpec::default() }, text)
    }

    fn read(spec: &JobSetSpec, text: &str) -> Result<Manifest, String> {
        Manifest::read_labelled_csv("train.csv", spec, text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_read_in_order() {
        let manifest = labelled("Id,Target\na-1,16 0\nb_2,\np1/c.jpg,\n").unwrap();
        assert_eq!(manifest.rows[0].id, "a-1");
        assert_eq!(manifest.rows[0].labels.to_string(), "0 16");
        assert!(manifest.rows[1].labels.is_empty());
        assert_eq!(manifest.rows[2].id, "p1/c.jpg");
        assert_eq!(manifest.groups, None);
    }

    #[test]
    fn bad_lists_are_refused_with_line_and_reason() {
        for (text, wanted) in [
            ("", "header"),
            ("Id,Label\na,1\n", "line 1: the header should be Id,Target, not \"Id,Label\""),
            ("Id,Label\na,1\n", "not \"Id,Label\"; name the column of the labels with --label_column"),
            ("id,TARGET\na,1\n", "\"id\" differs in case: name it with --id_column id; \"TARGET\" differs in case"),
            ("Id,Target\n", "empty"),
            ("Id,Target\na,1\na,2\n", "line 3: the id \"a\" is already on line 2"),
            ("Id,Target\na,1\nb,28\n", "line 3: Target"),
            ("Id,Target\na,1,2\n", "line 2: 3 fields where the header has 2"),
            ("Id,Target\n../a,1\n", "line 2: the id \"../a\" cannot name"),
            ("Id,Target\n/a,1\n", "line 2: the id \"/a\" cannot name"),
            ("Id,Target\na/../../b,1\n", "line 2: the id \"a/../../b\" cannot name"),
            ("Id,Target\na,one\n", "line 2: Target"),
            ("Id,Target,patient\na,1,p\n", "line 1: the column \"patient\" is not expected"),
            ("Id,Target,Id\na,1,p\n", "line 1: the header has the column \"Id\" twice"),
            ("Id,Target,Group\na,1,p\nb,1,\n", "line 3: Group: \"\" is not the name of a group"),
        ] {
            let message = labelled(text).unwrap_err();
            assert!(message.contains(wanted), "{text:?}: {message}");
        }
    }

    #[test]
    fn the_column_of_groups_has_the_usual_name_or_that_of_the_spec() {
        let groups = |text, column| grouped(text, column).unwrap().groups.map(|groups| (groups.name, groups.of_rows));
        let expected = |name: &str| Some((name.to_owned(), vec!["p 1".to_owned(), "p2".to_owned()]));
        assert_eq!(groups("Id,Target,Group\na,1,p 1\nb,,p2\n", ""), expected("Group"));
        assert_eq!(groups("\u{feff}group,Id,Target\r\np 1,a,1\r\np2,b,0\r\n", ""), expected("group"));
        assert_eq!(groups("Id,patient,Target\na,p 1,1\nb,p2,\n", "patient"), expected("patient"));
        let message = grouped("Id,Target\na,1\n", "patient").unwrap_err();
        assert!(message.contains("should have the column \"patient\", which group_column names"), "{message}");
        // Another column is not taken for the one that is named.
        let message = grouped("Id,Target,Group,patient\na,1,g,p\n", "patient").unwrap_err();
        assert!(message.contains("the column \"Group\" is not expected"), "{message}");
    }

    fn birds(label_format: LabelFormat) -> JobSetSpec {
        JobSetSpec {
            classes: ["owl", "grey heron", "tit, blue"].map(str::to_owned).to_vec(),
            id_column: "image".to_owned(),
            label_format,
            label_separator: LabelSeparator::Bar,
            ..JobSetSpec::default()
        }
    }

    #[test]
    fn labels_are_numbers_names_or_columns() {
        let expected = ["0 2", "", "1"];
        let numbers = "image,Target\na,2|0\nb,\nc, 1 \n";
        let names = "Group,Target,image\np,\"tit, blue | owl\",a\np,,b\nq,grey heron,c\n";
        let one_hot = "\"tit, blue\",image,owl,grey heron\n1,a,1.0,0\n0,b,0,0.0\n0,c,0,1\n";
        for (format, text) in
            [(LabelFormat::Numbers, numbers), (LabelFormat::Names, names), (LabelFormat::OneHot, one_hot)]
        {
            let manifest = read(&birds(format), text).unwrap();
            let labels: Vec<String> = manifest.rows.iter().map(|row| row.labels.to_string()).collect();
            assert_eq!(labels, expected, "{format}");
            let ids: Vec<&str> = manifest.rows.iter().map(|row| row.id.as_str()).collect();
            assert_eq!(ids, ["a", "b", "c"], "{format}");
            assert_eq!(manifest.groups.is_some(), format == LabelFormat::Names);
        }
    }

    #[test]
    fn labels_that_are_none_are_refused_with_line_and_column() {
        for (format, text, wanted) in [
            (
                LabelFormat::Numbers,
                "image,Target\na,1\nb,3\n",
                "line 3: Target: label 3 is out of range: expected 0 to 2",
            ),
            (LabelFormat::Numbers, "image,Target\na,0 1\n", "line 2: Target: \"0 1\" is not a label: labels are whole"),
            (LabelFormat::Numbers, "Id,Target\na,0\n", "line 1: the header should be image,Target, not \"Id,Target\""),
            (
                LabelFormat::Numbers,
                "image,Target\na,0 1\n",
                "separated by spaces, these are labels: --label_separator space",
            ),
            (
                LabelFormat::Names,
                "image,Target\na,owl|Owl\n",
                "line 2: Target: \"Owl\" is not one of the 3 classes, such",
            ),
            (LabelFormat::Names, "image,Target\na,Owl\n", "; it differs from the class \"owl\" in case alone"),
            (
                LabelFormat::Names,
                "image,Target\na,owl; grey heron\n",
                "separated by semicolons, these are labels: --label_separator semicolon",
            ),
            (LabelFormat::Names, "image,Target\na,owl|owl\n", "line 2: Target: label \"owl\" is given twice"),
            (LabelFormat::Names, "image,Labels\na,owl\n", "line 1: the header should be image,Target"),
            (
                LabelFormat::OneHot,
                "image,owl,grey heron\na,0,1\n",
                "line 1: the header should have the column \"tit, blue\"",
            ),
            (
                LabelFormat::OneHot,
                "image,owl,\"tit, blue\",grey heron\na,0,1,\n",
                "line 2: grey heron: \"\" should be 0 or 1",
            ),
            (
                LabelFormat::OneHot,
                "image,owl,\"tit, blue\",grey heron\na,0,2,1\n",
                "line 2: tit, blue: \"2\" should be 0 or",
            ),
            (
                LabelFormat::OneHot,
                "image,owl,\"tit, blue\",grey heron,eagle\n",
                "line 1: the column \"eagle\" is not expected",
            ),
            (LabelFormat::OneHot, "Id,owl\n", "line 1: the header should be image and a column for each class"),
        ] {
            let message = read(&birds(format), text).unwrap_err();
            assert!(message.contains(wanted), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_multiclass_row_has_exactly_one_class() {
        let spec = JobSetSpec { task: Task::Multiclass, ..birds(LabelFormat::Numbers) };
        assert!(read(&spec, "image,Target\na,1\nb,0\n").is_ok());
        for (text, wanted) in [
            ("image,Target\na,1\nb,\n", "train.csv, line 3: the row has 0 classes, but with task = multiclass"),
            ("image,Target\na,1|2\n", "train.csv, line 2: the row has 2 classes, but with task = multiclass"),
        ] {
            let message = read(&spec, text).unwrap_err();
            assert!(message.starts_with(wanted), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_test_list_has_the_ids_or_the_columns_of_a_submission() {
        let ids = |spec: &JobSetSpec, text: &str| {
            let manifest =
                Manifest::read_test_csv("test.csv", spec, text.as_bytes()).map_err(|error| error.to_string())?;
            Ok::<_, String>(manifest.rows.into_iter().map(|row| row.id).collect::<Vec<_>>())
        };
        let hpa = JobSetSpec::default();
        for text in ["Id\na\n", "Id,Predicted\na,0 99\n"] {
            assert_eq!(ids(&hpa, text), Ok(vec!["a".to_owned()]));
        }
        let message = ids(&hpa, "Id,Target\na,0\n").unwrap_err();
        assert!(message.ends_with("should be Id alone or Id,Predicted, not \"Id,Target\""), "{message}");
        let message = ids(&hpa, "id\na\n").unwrap_err();
        assert!(message.ends_with("\"id\" differs in case: name it with --id_column id"), "{message}");
        let one_hot = birds(LabelFormat::OneHot);
        for text in ["image\na\n", "image,owl,grey heron,\"tit, blue\"\na,0,0,0.5\n"] {
            assert_eq!(ids(&one_hot, text), Ok(vec!["a".to_owned()]));
        }
        assert!(ids(&one_hot, "Id\na\n").is_err());
    }

    #[test]
    fn an_id_in_two_lists_is_found() {
        let (train, hpa) = (labelled("Id,Target\nt0,\nt1,\n").unwrap(), labelled("Id,Target\nh0,\n").unwrap());
        assert_eq!(shared_id(&train, &hpa), None);
        assert_eq!(shared_id(&train, &train), Some("t0"));
    }
}
