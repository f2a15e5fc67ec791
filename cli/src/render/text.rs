//! Words, times and text from other machines.

use fivefold_proto::Timestamp;
use fivefold_proto::convert::WireError;
use jiff::tz::TimeZone;

/// The word of an enum, or `unknown` for a value that only a newer version knows.
pub(crate) fn word(value: Result<impl Into<&'static str>, WireError>) -> &'static str {
    value.map_or("unknown", Into::into)
}

/// A time in the local time zone, without fractions of a second.
pub(crate) fn time(time: Timestamp) -> String {
    time_in(time, TimeZone::system())
}

fn time_in(time: Timestamp, zone: TimeZone) -> String {
    match jiff::Timestamp::from_second(time.seconds) {
        Ok(moment) => moment.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        // A year beyond those of the calendar.
        Err(_) => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use fivefold_common::job::JobState;
    use fivefold_proto::convert::job_state_from_wire;

    use super::*;

    #[test]
    fn times_are_local_and_have_no_fractions() {
        let milliseconds = Timestamp { seconds: 1_735_787_045, nanos: 678_000_000 };
        assert_eq!(time_in(milliseconds, TimeZone::UTC), "2025-01-02 03:04:05");
        let offset = jiff::tz::offset(1);
        assert_eq!(time_in(milliseconds, TimeZone::fixed(offset)), "2025-01-02 04:04:05");
        let beyond = Timestamp { seconds: i64::MAX, nanos: 0 };
        assert!(!time_in(beyond, TimeZone::UTC).is_empty());
    }

    #[test]
    fn values_of_newer_versions_are_unknown() {
        assert_eq!(word(Ok::<_, WireError>(JobState::Leased)), "leased");
        assert_eq!(word(job_state_from_wire(0)), "unknown");
        assert_eq!(word(job_state_from_wire(99)), "unknown");
    }
}
