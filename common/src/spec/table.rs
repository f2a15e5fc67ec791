//! What each key of the spec consists of, and the macro that makes types and functions of the table.

use super::keys::SpecOverrides;

/// A key of the spec, for programs that list the keys or read them one by one.
#[derive(Debug)]
pub struct Key {
    /// The name in files and of the flag.
    pub name: &'static str,
    /// What the key sets, as one sentence.
    pub help: &'static str,
    /// The group of keys to which it belongs.
    pub group: Group,
    /// What stands for the value in the help, such as `N`.
    pub value_name: &'static str,
    /// How a value is written.
    pub syntax: Syntax,
    /// Whether a checkpoint that was trained with another value can be resumed.
    pub resume: Resume,
    pub(super) help_default: fn() -> String,
    pub(super) set: fn(&mut SpecOverrides, &str) -> Result<(), String>,
}

impl Key {
    /// The default, as the help shows it.
    pub fn help_default(&self) -> String {
        (self.help_default)()
    }

    /// Sets the key to the value in `text`, or adds the value if the key is a list.
    ///
    /// # Errors
    /// What was expected instead, if `text` is no value of the key's type. Limits are not checked.
    pub fn set(&self, overrides: &mut SpecOverrides, text: &str) -> Result<(), String> {
        (self.set)(overrides, text)
    }
}

/// How the value of a key is written.
#[derive(Debug, Clone, Copy)]
pub enum Syntax {
    /// A text or a number.
    Plain,
    /// True or false.
    Truth,
    /// One of the words that the function returns.
    Word(fn() -> Vec<&'static str>),
    /// Any number of whole numbers or names, with commas between them.
    List,
}

/// Whether a checkpoint that was trained with another value of a key can be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// It cannot: the key shapes training.
    MustMatch,
    /// It can: the key does not shape training.
    MayDiffer,
}

/// Keys that belong together, in the order of the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`heading` describes them")]
pub enum Group {
    General,
    Classes,
    Folds,
    Rows,
    Model,
    Training,
    Schedule,
    Machine,
    Scoring,
}

impl Group {
    /// The heading of the group in the help; `None` for general keys.
    pub fn heading(self) -> Option<&'static str> {
        match self {
            Self::General => None,
            Self::Classes => Some("Classes and labels"),
            Self::Folds => Some("Folds"),
            Self::Rows => Some("Which rows are used"),
            Self::Model => Some("Model and images"),
            Self::Training => Some("Training"),
            Self::Schedule => Some("Learning rate and early stop"),
            Self::Machine => Some("Machine"),
            Self::Scoring => Some("Scoring"),
        }
    }
}

/// A key that two specs disagree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDifference {
    /// The key.
    pub key: &'static str,
    /// Its value in this spec, as JSON.
    pub ours: String,
    /// Its value in the other spec, as JSON.
    pub theirs: String,
}

/// Makes `JobSetSpec`, its defaults, limits and comparison, `SpecOverrides` and `KEYS` of the table of keys.
macro_rules! keys {
    ($(
        $(#[doc = $doc:literal])+
        $key:ident: $type:ty {
            default: $default:expr,
            $(limits: $limits:expr,)?
            resume: $resume:ident,
            group: $group:ident,
            value: $value_name:literal
            $(, help_default: $help_default:literal)?
            $(, absent: $absent:expr)?
        }
    )+) => {
        /// The settings of a job set: how its folds are trained and scored.
        ///
        /// Serde reads and writes the stored form, see [`JobSetSpec::from_stored_json`]. Files of users are read by
        /// [`SpecOverrides::from_toml`] and [`SpecOverrides::from_json`].
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default = "JobSetSpec::of_absent_keys")]
        pub struct JobSetSpec {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default: `", stringify!($default), "`", $("; limits: `", stringify!($limits), "`",)? ".")]
                pub $key: $type,
            )+
        }

        impl Default for JobSetSpec {
            /// The recipe of the Human Protein Atlas solution.
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl JobSetSpec {
            /// The value of each key in a stored spec or a request that lacks the key, because its writer did not know the
            /// key: the key's first default.
            pub fn of_absent_keys() -> Self {
                Self { $($($key: $absent,)?)+ ..Self::default() }
            }

            /// Refuses values outside their limits and values that contradict each other.
            ///
            /// # Errors
            /// The first such key.
            pub fn check(&self) -> Result<(), SpecError> {
                $(
                    self.$key
                        .check($crate::spec::table::limits!($($limits)?))
                        .map_err(|problem| SpecError { key: stringify!($key), problem })?;
                )+
                self.check_across_keys()
            }

            /// The first key that differs in `theirs`, among those that must match when training is resumed.
            pub fn resume_conflict(&self, theirs: &Self) -> Option<KeyDifference> {
                $(
                    if matches!(Resume::$resume, Resume::MustMatch) && self.$key != theirs.$key {
                        let [ours, theirs] = [&self.$key, &theirs.$key].map(|value| serde_json::json!(value).to_string());
                        return Some(KeyDifference { key: stringify!($key), ours, theirs });
                    }
                )+
                self.length_conflict(theirs)
            }
        }

        /// Values for some keys of a spec: what a user's file or flags say.
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct SpecOverrides {
            /// Settings that count less than the keys.
            pub preset: Option<$crate::spec::Preset>,
            $(
                $(#[doc = $doc])+
                pub $key: Option<$type>,
            )+
        }

        impl SpecOverrides {
            /// Sets the keys of `spec` that have a value here or in the preset. The result is not checked. A task without a
            /// loss brings its default loss, if the spec's is for another task.
            pub fn apply_to(self, spec: &mut JobSetSpec) {
                if let Some(preset) = self.preset {
                    preset.overrides().apply_to(spec);
                }
                if let (Some(task), None) = (self.task, self.loss)
                    && spec.loss.task() != task
                {
                    spec.loss = task.default_loss();
                }
                $(if let Some(value) = self.$key { spec.$key = value; })+
            }
        }

        /// Every key, in the order of stored specs.
        pub const KEYS: &[Key] = &[$(
            Key {
                name: stringify!($key),
                help: concat!($($doc),+).trim_ascii(),
                group: Group::$group,
                value_name: $value_name,
                syntax: <$type as KeyValue>::SYNTAX,
                resume: Resume::$resume,
                help_default: || $crate::spec::table::help_default!($default, $type $(, $help_default)?),
                set: |overrides, text| KeyValue::set(&mut overrides.$key, text),
            },
        )+];
    };
}
pub(super) use keys;

/// The limits of a key; `()` for types without limits.
macro_rules! limits {
    () => {
        ()
    };
    ($limits:expr) => {
        $limits
    };
}
pub(super) use limits;

/// The default of a key as the help shows it.
macro_rules! help_default {
    ($default:expr, $type:ty) => {{
        let default: $type = $default;
        default.show()
    }};
    ($default:expr, $type:ty, $shown:literal) => {
        String::from($shown)
    };
}
pub(super) use help_default;
