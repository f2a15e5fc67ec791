//! The conversion between wire types and the vocabulary. Everything from outside is checked: an unset enum, a missing message
//! or a number out of its limits is a [`WireError`] that names the field.

mod artifacts;
mod jobs;
mod leases;
mod spec;

pub use artifacts::*;
pub use jobs::*;
pub use leases::*;
pub use spec::*;

use fivefold_common::ids::Digest;

/// A message whose field cannot be what the call needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    /// The field, as a path from the request.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl WireError {
    /// The error of `field`.
    pub fn new(field: impl Into<String>, problem: impl ToString) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}

/// A message that has to be set.
///
/// # Errors
/// When it is not.
pub fn required<T>(field: &str, message: Option<T>) -> Result<T, WireError> {
    message.ok_or_else(|| WireError::new(field, "it is not set"))
}

/// The digest in `text`.
///
/// # Errors
/// When it is not one.
pub fn digest_from_wire(field: &str, text: &str) -> Result<Digest, WireError> {
    text.parse().map_err(|error| WireError::new(field, error))
}

/// The digest in `text`; an empty text is none.
///
/// # Errors
/// When it is neither.
pub fn optional_digest_from_wire(field: &str, text: &str) -> Result<Option<Digest>, WireError> {
    if text.is_empty() { Ok(None) } else { digest_from_wire(field, text).map(Some) }
}

/// Two enums with the same meaning, and the functions between them.
macro_rules! same_enum {
    ($to_wire:ident, $from_wire:ident, $domain:ty, $wire:ty, $field:literal, { $($variant:ident = $wire_variant:ident),+ $(,)? }) => {
        /// The wire form.
        pub fn $to_wire(value: $domain) -> $wire {
            match value { $(<$domain>::$variant => <$wire>::$wire_variant,)+ }
        }

        /// The domain form.
        ///
        /// # Errors
        /// When it is unspecified, or not known to this version.
        pub fn $from_wire(number: i32) -> Result<$domain, WireError> {
            match <$wire>::try_from(number) {
                $(Ok(<$wire>::$wire_variant) => Ok(<$domain>::$variant),)+
                _ => Err(WireError::new($field, format!("{number} is not a choice that this version knows"))),
            }
        }
    };
}
pub(crate) use same_enum;
