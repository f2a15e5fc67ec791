//! The roles of tokens.

use crate::words::words;

words! {
    /// What the bearer of a token may do.
    pub enum Role, "role" {
        /// Submits, changes and fetches job sets.
        User,
        /// Takes leases and works on them.
        Worker,
        /// Reads only.
        #[strum(serialize = "read-only")]
        ReadOnly,
    }
}
