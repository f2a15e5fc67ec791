//! Enums that are stored, logged and parsed as one word each.

use strum::VariantArray;

/// A text that is none of the words of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: expected one of {}", expected.join(", "))]
pub struct UnknownWord {
    what: &'static str,
    expected: Vec<&'static str>,
    text: String,
}

impl UnknownWord {
    /// The error of `text`, of which at most 80 characters are kept, where a word of `T` was expected.
    pub(crate) fn new<T: VariantArray + Copy + Into<&'static str>>(what: &'static str, text: &str) -> Self {
        let expected = T::VARIANTS.iter().map(|&word| word.into()).collect();
        Self { what, expected, text: text.chars().take(80).collect() }
    }
}

/// Declares an enum whose variants are written as their names in snake case. `FromStr` parses a word, `Display` and `word`
/// give it, and `ALL` lists every variant.
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
        }
        assert_eq!((Role::ReadOnly.word(), Phase::Training.word()), ("read-only", "training"));
        let error = "writer".parse::<Role>().unwrap_err().to_string();
        assert_eq!(error, "\"writer\" is not a role: expected one of user, worker, read-only");
    }
}
