//! `dataset.toml`: a file that describes a data set, its lists and its images, and perhaps how to train on it.
//!
//! ```toml
//! preset = "generic"
//! classes = ["Mass", "Nodule", "Effusion"]
//!
//! [lists]
//! train = "train.csv"
//! extra = { file = "public.csv", use = "training" }
//! test = "test.csv"
//!
//! [labels]
//! id_column = "image"
//! label_column = "findings"
//! label_format = "names"
//! label_separator = "bar"
//!
//! [images]
//! image_files = "images/{id}"
//! image_size = 320
//! ```
//!
//! Every key of the spec may be there under its name, in any of the tables but `[lists]` or above them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::spec::{KEYS, SpecFileError, SpecOverrides};
use crate::words::words;

/// The tables that group keys of the spec.
const TABLES: [&str; 3] = ["labels", "images", "training"];
/// The keys of `[lists]`.
const LISTS: [&str; 4] = ["train", "extra", "test", "folds"];
/// The keys of the extra list.
const EXTRA: [&str; 2] = ["file", "use"];

words! {
    /// What the extra list is for.
    pub enum ExtraUse, "use" {
        /// Its rows are trained on.
        Training,
        /// Its rows are validated on, and scored out of fold.
        Validation,
        /// Both, as those of the training list.
        Both,
    }
}

/// What a `dataset.toml` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DatasetFile {
    /// Its settings, the use of the extra list among them.
    pub overrides: SpecOverrides,
    /// Its lists.
    pub lists: DatasetLists,
}

/// The lists of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatasetLists {
    /// The training list.
    pub train: Option<PathBuf>,
    /// A list of further images, such as public ones; the HPA list of the Human Protein Atlas.
    pub extra: Option<PathBuf>,
    /// The test list.
    pub test: Option<PathBuf>,
    /// Folds that were made elsewhere.
    pub folds: Option<PathBuf>,
}

impl DatasetFile {
    /// Reads the text of a file. Paths stay as they are.
    ///
    /// # Errors
    /// If the text is no TOML, has an unknown key or the same key twice, or a value of the wrong type. Limits of settings are
    /// not checked.
    pub fn parse(text: &str) -> Result<Self, SpecFileError> {
        let document = DeTable::parse(text).map_err(|error| SpecFileError::of_toml(text, &error))?;
        let span = document.span();
        let mut reader = Reader { text, keys: DeTable::new(), lists: DatasetLists::default(), extra_use: None };
        for (name, value) in document.into_inner() {
            let place = value.span();
            match (name.get_ref().as_ref(), value.into_inner()) {
                ("lists", DeValue::Table(table)) => reader.read_lists(table)?,
                (table_name, DeValue::Table(table)) if TABLES.contains(&table_name) => {
                    for (key, value) in table {
                        reader.add_key(key, value)?;
                    }
                }
                (table_name, _) if table_name == "lists" || TABLES.contains(&table_name) => {
                    return Err(reader.error(name.span(), &format!("expected a table, [{table_name}]")));
                }
                (_, value) => reader.add_key(name, Spanned::new(place, value))?,
            }
        }
        reader.finish(span)
    }

    /// The same with all paths relative to `folder`, that of the file.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        let DatasetLists { train, extra, test, folds } = &mut self.lists;
        for path in [train, extra, test, folds].into_iter().flatten() {
            *path = folder.join(&path);
        }
        self
    }
}

type Key<'a> = Spanned<toml::de::DeString<'a>>;
type Value<'a> = Spanned<DeValue<'a>>;

/// What was read of a file so far.
struct Reader<'a> {
    text: &'a str,
    /// The keys of the spec.
    keys: DeTable<'a>,
    lists: DatasetLists,
    extra_use: Option<ExtraUse>,
}

impl<'a> Reader<'a> {
    fn error(&self, span: Range<usize>, problem: &str) -> SpecFileError {
        SpecFileError::at(self.text, span.start, problem)
    }

    fn unknown<'n>(&self, key: &Key<'_>, known: impl IntoIterator<Item = &'n str>) -> SpecFileError {
        let name = key.get_ref().as_ref();
        let hint = similar(name, known).map_or(String::new(), |known| format!("; did you mean `{known}`?"));
        self.error(key.span(), &format!("unknown key `{name}`{hint}"))
    }

    fn add_key(&mut self, key: Key<'a>, value: Value<'a>) -> Result<(), SpecFileError> {
        let name = key.get_ref().as_ref();
        let known = KEYS.iter().map(|key| key.name).chain(["preset"]);
        // The number of folds is a setting too.
        if LISTS.contains(&name) && (name != "folds" || value.get_ref().is_str()) {
            let problem = format!("`{name}` is a list: name it in the table [lists]");
            return Err(self.error(key.span(), &problem));
        }
        if !known.clone().any(|known| known == name) {
            return Err(self.unknown(&key, known.chain(["lists"]).chain(TABLES)));
        }
        if self.keys.keys().any(|other| other.get_ref() == name) {
            return Err(self.error(key.span(), &format!("the key `{name}` is there twice, in two tables")));
        }
        self.keys.insert(key, value);
        Ok(())
    }

    fn read_lists(&mut self, table: DeTable<'a>) -> Result<(), SpecFileError> {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "train" => self.lists.train = Some(self.path(&value)?),
                "test" => self.lists.test = Some(self.path(&value)?),
                "folds" => self.lists.folds = Some(self.path(&value)?),
                "extra" => self.read_extra(value)?,
                _ => return Err(self.unknown(&key, LISTS)),
            }
        }
        Ok(())
    }

    fn read_extra(&mut self, value: Value<'a>) -> Result<(), SpecFileError> {
        self.extra_use = Some(ExtraUse::Both);
        let span = value.span();
        let table = match value.into_inner() {
            DeValue::Table(table) => table,
            value => {
                self.lists.extra = Some(self.path(&Spanned::new(span, value))?);
                return Ok(());
            }
        };
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref().as_str()) {
                ("file", _) => self.lists.extra = Some(self.path(&value)?),
                ("use", Some(word)) => {
                    let word = word
                        .parse()
                        .map_err(|error: crate::UnknownWord| self.error(value.span(), &error.to_string()))?;
                    self.extra_use = Some(word);
                }
                ("use", None) => return Err(self.error(value.span(), "expected a word, such as \"training\"")),
                _ => return Err(self.unknown(&key, EXTRA)),
            }
        }
        if self.lists.extra.is_none() {
            return Err(self.error(span, "the extra list lacks its `file`"));
        }
        Ok(())
    }

    fn path(&self, value: &Value<'_>) -> Result<PathBuf, SpecFileError> {
        match value.get_ref().as_str() {
            Some(text) if !text.is_empty() => Ok(text.into()),
            _ => Err(self.error(value.span(), "expected the path of a file")),
        }
    }

    fn finish(self, span: Range<usize>) -> Result<DatasetFile, SpecFileError> {
        let Self { text, keys, lists, extra_use } = self;
        let keys = toml::de::Deserializer::from(Spanned::new(span, keys));
        let mut overrides = SpecOverrides::deserialize(keys).map_err(|error| SpecFileError::of_toml(text, &error))?;
        if let Some(extra_use) = extra_use {
            let asked = (extra_use != ExtraUse::Validation, extra_use != ExtraUse::Training);
            overrides.train_with_hpa.get_or_insert(asked.0);
            overrides.valid_with_hpa.get_or_insert(asked.1);
        }
        Ok(DatasetFile { overrides, lists })
    }
}

/// The known name that is most similar to another one, if it is similar at all.
fn similar<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let distances = known.into_iter().map(|known| (edits(name, known), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + known.len() / 4).then_some(known)
}

/// How many letters are to be added, removed or replaced to get one name from the other (Levenshtein 1966).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (place, byte) in from.bytes().enumerate() {
        let mut before = row[0];
        row[0] = place + 1;
        for (other, other_byte) in to.bytes().enumerate() {
            let replaced = before + usize::from(byte != other_byte);
            before = row[other + 1];
            row[other + 1] = replaced.min(before + 1).min(row[other] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{JobSetSpec, LabelFormat, LabelSeparator, Preset, Resize};

    const XRAYS: &str = r#"
preset = "generic"
classes = ["Mass", "Nodule", "No finding"]
[lists]
train = "train.csv"
extra = { file = "public/more.csv", use = "training" }
test = "/lists/test.csv"
[labels]
id_column = "image"
label_format = "names"
label_separator = "bar"
[images]
image_files = "images/{id}"
resize = "area"
[training]
epochs = 4
"#;

    #[test]
    fn a_data_set_is_described_by_tables_of_settings() {
        let DatasetFile { overrides, lists } = DatasetFile::parse(XRAYS).unwrap().within(Path::new("/sets/xrays"));
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(lists.train, path("/sets/xrays/train.csv"));
        assert_eq!((lists.extra, lists.test), (path("/sets/xrays/public/more.csv"), path("/lists/test.csv")));
        assert_eq!((overrides.train_with_hpa, overrides.valid_with_hpa), (Some(true), Some(false)));
        assert_eq!(overrides.preset, Some(Preset::Generic));
        let mut spec = JobSetSpec::default();
        overrides.apply_to(&mut spec);
        assert_eq!(spec.check(), Ok(()));
        assert_eq!((spec.label_format, spec.label_separator), (LabelFormat::Names, LabelSeparator::Bar));
        assert_eq!((spec.resize, spec.epochs, spec.image_size, spec.class_count()), (Resize::Area, 4, 224, 3));
    }

    #[test]
    fn an_extra_list_is_for_both_unless_it_says_otherwise() {
        for (toml, expected) in [
            ("", (None, None)),
            ("[lists]\nextra = \"a.csv\"", (Some(true), Some(true))),
            ("[lists]\nextra = { file = \"a.csv\", use = \"validation\" }", (Some(false), Some(true))),
            ("valid_with_hpa = false\n[lists]\nextra = \"a.csv\"", (Some(true), Some(false))),
        ] {
            let overrides = DatasetFile::parse(toml).unwrap().overrides;
            assert_eq!((overrides.train_with_hpa, overrides.valid_with_hpa), expected, "{toml}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_a_hint() {
        for (toml, wanted) in [
            (
                "epochs = 3\nclases = [\"a\"]",
                "line 2 (clases = [\"a\"]): unknown key `clases`; did you mean `classes`?",
            ),
            ("[lists]\ntrian = \"a.csv\"", "line 2 (trian = \"a.csv\"): unknown key `trian`; did you mean `train`?"),
            ("[image]\nresize = \"area\"", "unknown key `image`; did you mean `images`?"),
            ("qwertyuiop = 1", "unknown key `qwertyuiop`"),
            ("[images]\nresize = \"cubic\"", "line 2 (resize = \"cubic\"): unknown resize \"cubic\": expected one of"),
            (
                "[images]\nimage_size = \"32\"",
                "line 2 (image_size = \"32\"): expected a whole number below 2^32, found the text \"32\"",
            ),
            (
                "epochs = 3\ntest = \"x.csv\"",
                "line 2 (test = \"x.csv\"): `test` is a list: name it in the table [lists]",
            ),
            ("[labels]\ntrain = \"x.csv\"", "line 2 (train = \"x.csv\"): `train` is a list: name it in"),
            ("folds = \"folds.csv\"", "line 1 (folds = \"folds.csv\"): `folds` is a list: name it in"),
            (
                "image_size = 64\n[images]\nimage_size = 32",
                "line 3 (image_size = 32): the key `image_size` is there twice",
            ),
            ("[lists]\ntrain = 3", "line 2 (train = 3): expected the path of a file"),
            ("[lists]\nextra = { use = \"training\" }", "the extra list lacks its `file`"),
            (
                "[lists]\nextra = { file = \"a\", use = \"all\" }",
                "unknown use \"all\": expected one of training, validation",
            ),
            ("[lists]\nextra = { fiel = \"a\" }", "unknown key `fiel`; did you mean `file`?"),
            ("lists = 3", "line 1 (lists = 3): expected a table, [lists]"),
            ("preset = \"generic\"\nepochs =", "line 2 (epochs =)"),
        ] {
            let message = DatasetFile::parse(toml).unwrap_err().to_string();
            assert!(message.contains(wanted), "{toml}: {message}");
        }
    }

    #[test]
    fn names_are_compared_letter_by_letter() {
        assert_eq!((edits("", "abc"), edits("kitten", "sitting"), edits("same", "same")), (3, 3, 0));
    }
}
