//! Conversions between the messages and the types of `fivefold-common`.
//!
//! Input from outside is checked: an enum that is not set, a message that is missing and a number out of its limits are
//! each a [`WireError`] with the field's name.

mod artifacts;
mod jobs;
mod leases;
mod logs;
mod spec;

pub use artifacts::*;
pub use jobs::*;
pub use leases::*;
pub use logs::*;
pub use spec::*;

use fivefold_common::ids::Digest;

/// A field of a message whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    /// The field, as a path from the request, such as `spec.tta`.
    pub field: String,
    /// What is wrong with the value, and what is expected.
    pub problem: String,
}

impl WireError {
    /// The error of `field`.
    pub fn new(field: impl Into<String>, problem: impl ToString) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}

/// A message that must be set.
///
/// # Errors
/// If it is not set.
pub fn required<T>(field: &str, message: Option<T>) -> Result<T, WireError> {
    message.ok_or_else(|| WireError::new(field, "it is not set"))
}

/// The digest in `text`.
///
/// # Errors
/// If `text` is not a digest.
pub fn digest_from_wire(field: &str, text: &str) -> Result<Digest, WireError> {
    text.parse().map_err(|error| WireError::new(field, error))
}

/// The digest in `text`; `None` if `text` is empty.
///
/// # Errors
/// If `text` is neither empty nor a digest.
pub fn optional_digest_from_wire(field: &str, text: &str) -> Result<Option<Digest>, WireError> {
    if text.is_empty() { Ok(None) } else { digest_from_wire(field, text).map(Some) }
}

/// Two functions between an enum of `fivefold-common` and the enum of the same variants on the wire. A variant that one of
/// them lacks, or that is missing in the list, does not compile.
macro_rules! same_enum {
    ($to_wire:ident, $from_wire:ident, $domain:ty, $wire:ty, $field:literal, [$($variant:ident),+ $(,)?]) => {
        #[doc = concat!("The wire form of `", $field, "`.")]
        pub fn $to_wire(value: $domain) -> $wire {
            match value { $(<$domain>::$variant => <$wire>::$variant,)+ }
        }

        #[doc = concat!("The domain form of `", $field, "`.")]
        ///
        /// # Errors
        /// If `number` is 0, which is unset, or a variant that this version does not know.
        pub fn $from_wire(number: i32) -> Result<$domain, WireError> {
            match <$wire>::try_from(number) {
                $(Ok(<$wire>::$variant) => Ok(<$domain>::$variant),)+
                Ok(<$wire>::Unspecified) => Err(WireError::new($field, "it is not set")),
                Err(_) => Err(WireError::new($field, format!("this version does not know the value {number}"))),
            }
        }
    };
}
pub(crate) use same_enum;
