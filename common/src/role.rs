//! The roles of tokens.

use crate::words::words;

words! {
    /// The permissions of a token.
    pub enum Role, "role" {
        /// Everything that concerns job sets: submit, change, fetch results.
        User,
        /// Lease jobs and report on them.
        Worker,
        /// Read everything, change nothing.
        #[strum(serialize = "read-only")]
        ReadOnly,
    }
}
