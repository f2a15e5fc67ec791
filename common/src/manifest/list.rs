//! Lists of images.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::csv_rows::{MAX_NAME_BYTES, checked_id, find_column, read_rows, shown, wrong_header};
use super::{ManifestError, ManifestProblem};
use crate::labels::Labels;

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
    /// The image's id: the stem of a file name, never a path.
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
    target: usize,
    group: Option<(usize, String)>,
}

impl LabelledColumns {
    /// Finds the columns. `group_column` is the name in the spec, which the header has to have unless it is empty.
    fn find(header: &[&str], group_column: &str) -> Result<LabelledColumns, ManifestProblem> {
        let (Some(id), Some(target)) = (find_column(header, "Id")?, find_column(header, "Target")?) else {
            return Err(wrong_header("Id,Target", header));
        };
        let group = match group_column {
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
        let known = |place| place == id || place == target || group.as_ref().is_some_and(|(group, _)| *group == place);
        match header.iter().enumerate().find(|(place, _)| !known(*place)) {
            Some((_, column)) => Err(ManifestProblem::ExtraColumn { column: shown(column) }),
            None => Ok(LabelledColumns { id, target, group }),
        }
    }
}

impl Manifest {
    /// Reads and checks a list of images and labels: `Id`, `Target`, and perhaps a column of groups, in any order. The
    /// column of groups is `group_column`; if that is empty, it is `Group`, in upper or lower case, if there is one.
    /// `file` is the list's name in errors.
    ///
    /// # Errors
    /// The first invalid line.
    pub fn read_labelled_csv(file: &str, group_column: &str, input: impl Read) -> Result<Manifest, ManifestError> {
        let mut rows = Vec::new();
        let mut groups = Vec::new();
        let mut ids = UniqueIds::default();
        let columns = read_rows(
            file,
            input,
            |header| LabelledColumns::find(header, group_column),
            |columns, line, record| {
                let field = |place| record.get(place).unwrap_or_default();
                let id = ids.add(field(columns.id), line)?;
                let labels = field(columns.target).parse()?;
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

    /// Reads and checks a test list: `Id` or `Id,Predicted`. The second column is ignored. `file` is the list's name in
    /// errors.
    ///
    /// # Errors
    /// The first invalid line.
    pub fn read_test_csv(file: &str, input: impl Read) -> Result<Manifest, ManifestError> {
        let mut rows = Vec::new();
        let mut ids = UniqueIds::default();
        let columns = |header: &[&str]| match header {
            ["Id"] | ["Id", "Predicted"] => Ok(()),
            _ => Err(wrong_header("Id,Predicted", header)),
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

    fn labelled(text: &str) -> Result<Manifest, String> {
        grouped(text, "")
    }

    fn grouped(text: &str, group_column: &str) -> Result<Manifest, String> {
        Manifest::read_labelled_csv("train.csv", group_column, text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_read_in_order() {
        let manifest = labelled("Id,Target\na-1,16 0\nb_2,\n").unwrap();
        assert_eq!(manifest.rows[0].id, "a-1");
        assert_eq!(manifest.rows[0].labels.to_string(), "0 16");
        assert!(manifest.rows[1].labels.is_empty());
        assert_eq!(manifest.groups, None);
    }

    #[test]
    fn bad_lists_are_refused_with_line_and_reason() {
        for (text, wanted) in [
            ("", "header"),
            ("Id,Label\na,1\n", "line 1: the header should be Id,Target, not \"Id,Label\""),
            ("Id,Target\n", "empty"),
            ("Id,Target\na,1\na,2\n", "line 3: the id \"a\" is already on line 2"),
            ("Id,Target\na,1\nb,28\n", "line 3: Target"),
            ("Id,Target\na,1,2\n", "line 2: 3 fields where the header has 2"),
            ("Id,Target\n../a,1\n", "line 2: the id \"../a\" cannot name"),
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

    #[test]
    fn an_id_in_two_lists_is_found() {
        let (train, hpa) = (labelled("Id,Target\nt0,\nt1,\n").unwrap(), labelled("Id,Target\nh0,\n").unwrap());
        assert_eq!(shared_id(&train, &hpa), None);
        assert_eq!(shared_id(&train, &train), Some("t0"));
    }
}
