//! Lines of logs.

use fivefold_common::log_line::{LogLevel, LogLine};
use prost_types::Timestamp;

use super::{WireError, required};
use crate::v1;

/// The wire form of a line.
pub fn log_line_to_wire(line: &LogLine) -> v1::LogLine {
    let time = Timestamp {
        seconds: line.time_ms.div_euclid(1000),
        // Less than a second.
        nanos: (line.time_ms.rem_euclid(1000) * 1_000_000) as i32,
    };
    let level = match line.level {
        LogLevel::Error => v1::LogLevel::Error,
        LogLevel::Warn => v1::LogLevel::Warn,
        LogLevel::Info => v1::LogLevel::Info,
    };
    v1::LogLine { number: line.number, time: Some(time), level: level.into(), message: line.message.clone() }
}

/// A line from its wire form.
///
/// # Errors
/// If the time or the level is not set.
pub fn log_line_from_wire(wire: v1::LogLine) -> Result<LogLine, WireError> {
    let time = required("lines.time", wire.time)?;
    let level = match v1::LogLevel::try_from(wire.level) {
        Ok(v1::LogLevel::Error) => LogLevel::Error,
        Ok(v1::LogLevel::Warn) => LogLevel::Warn,
        Ok(v1::LogLevel::Info) => LogLevel::Info,
        Ok(v1::LogLevel::Unspecified) | Err(_) => {
            return Err(WireError::new("lines.level", format!("{} is no level", wire.level)));
        }
    };
    let time_ms = time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000));
    Ok(LogLine { number: wire.number, time_ms, level, message: wire.message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip() {
        for (&level, time_ms) in LogLevel::ALL.iter().zip([1_735_787_045_678, 0, -1]) {
            let line = LogLine { number: 3, time_ms, level, message: "epoch 1/3".to_owned() };
            assert_eq!(log_line_from_wire(log_line_to_wire(&line)), Ok(line));
        }
        let wire = v1::LogLine { time: Some(Timestamp::default()), ..v1::LogLine::default() };
        assert_eq!(log_line_from_wire(wire).unwrap_err().field, "lines.level");
        assert_eq!(log_line_from_wire(v1::LogLine::default()).unwrap_err().field, "lines.time");
    }
}
