//! Words, times and text from other machines.

use fivefold_proto::Timestamp;
use fivefold_proto::convert::WireError;

/// The word of an enum, or `unknown` for a value that only a newer version knows.
pub(crate) fn word(value: Result<impl Into<&'static str>, WireError>) -> &'static str {
    value.map_or("unknown", Into::into)
}

/// A time as RFC 3339, without fractions of a second.
pub(crate) fn time(time: Timestamp) -> String {
    Timestamp { nanos: 0, ..time }.to_string()
}

#[cfg(test)]
mod tests {
    use fivefold_common::job::JobState;
    use fivefold_proto::convert::job_state_from_wire;

    use super::*;

    #[test]
    fn times_have_no_fractions() {
        let milliseconds = Timestamp { seconds: 1_735_787_045, nanos: 678_000_000 };
        assert_eq!(time(milliseconds), "2025-01-02T03:04:05Z");
        assert_eq!(time(Timestamp { nanos: 0, ..milliseconds }), "2025-01-02T03:04:05Z");
    }

    #[test]
    fn values_of_newer_versions_are_unknown() {
        assert_eq!(word(Ok::<_, WireError>(JobState::Leased)), "leased");
        assert_eq!(word(job_state_from_wire(0)), "unknown");
        assert_eq!(word(job_state_from_wire(99)), "unknown");
    }
}
