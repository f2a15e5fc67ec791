//! The coordinator's clock, the only one that decides.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// So many seconds later.
    pub fn plus_seconds(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(i64::from(seconds) * 1000))
    }

    /// The same on the wire.
    pub fn to_wire(self) -> fivefold_proto::Timestamp {
        let nanos = i32::try_from(self.0.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
        fivefold_proto::Timestamp { seconds: self.0.div_euclid(1000), nanos }
    }
}
