//! Enums that are stored, logged and parsed as one word each.

use std::str::FromStr;

use strum::VariantArray;

/// Text that is none of the words of an enum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {text:?}: expected one of {}", expected.join(", "))]
pub struct UnknownWord {
    what: &'static str,
    expected: Vec<&'static str>,
    text: String,
}

impl UnknownWord {
    /// Keeps at most 80 characters of `text`.
    pub(crate) fn new<T: Word>(what: &'static str, text: &str) -> Self {
        Self { what, expected: all_words::<T>(), text: text.chars().take(80).collect() }
    }
}

/// An enum declared by [`words!`].
pub(crate) trait Word: VariantArray + Copy + Into<&'static str> + FromStr<Err = UnknownWord> {}

/// Every word of an enum, in the order of declaration.
pub(crate) fn all_words<T: Word>() -> Vec<&'static str> {
    T::VARIANTS.iter().map(|&variant| variant.into()).collect()
}

/// Declares an enum whose variants are written as their names in snake case. `FromStr` parses a word, `Display` and `word`
/// give it, serde writes and reads it as a string, and `ALL` lists every variant.
macro_rules! words {
    ($(#[$attribute:meta])* pub enum $name:ident, $what:literal { $($body:tt)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
        #[strum(serialize_all = "snake_case", parse_err_ty = $crate::words::UnknownWord, parse_err_fn = Self::unknown)]
        pub enum $name { $($body)* }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

            /// The word that is stored and logged.
            pub fn word(self) -> &'static str {
                self.into()
            }

            fn unknown(text: &str) -> $crate::words::UnknownWord {
                $crate::words::UnknownWord::new::<Self>($what, text)
            }
        }

        impl $crate::words::Word for $name {}

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::artifact::ArtifactKind;
    use crate::progress::Phase;
    use crate::role::Role;

    #[test]
    fn words_round_trip() {
        for &kind in ArtifactKind::ALL {
            assert_eq!(kind.word().parse(), Ok(kind));
            assert_eq!(serde_json::from_value::<ArtifactKind>(serde_json::json!(kind)).unwrap(), kind);
        }
        assert_eq!((Role::ReadOnly.word(), Phase::Training.word()), ("read-only", "training"));
        let error = "writer".parse::<Role>().unwrap_err().to_string();
        assert_eq!(error, "unknown role \"writer\": expected one of user, worker, read-only");
    }
}
