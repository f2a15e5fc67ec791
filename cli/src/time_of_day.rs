//! A time of day where the user is.

use std::str::FromStr;

use anyhow::Context as _;
use fivefold_proto::Timestamp;
use jiff::ZonedDateTime;
use jiff::civil::{Date, Time};

/// Hours and minutes, such as `07:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeOfDay(Time);

impl FromStr for TimeOfDay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let is_number = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<i8>().ok().filter(|_| is_number)
        };
        let parts = text.split_once(':').and_then(|(hours, minutes)| number(hours).zip(number(minutes)));
        let time = parts.and_then(|(hours, minutes)| Time::new(hours, minutes, 0, 0).ok());
        time.map(Self).ok_or("expected hours and minutes from 00:00 to 23:59, such as 07:00")
    }
}

impl TimeOfDay {
    /// When it is that time next, by this machine's clock and time zone.
    pub(crate) fn upcoming(self) -> anyhow::Result<Timestamp> {
        let next = self.next_after(&ZonedDateTime::now()).context("the time cannot be computed")?;
        Ok(Timestamp { seconds: next.timestamp().as_second(), nanos: 0 })
    }

    fn next_after(self, now: &ZonedDateTime) -> Result<ZonedDateTime, jiff::Error> {
        let on = |day: Date| day.to_datetime(self.0).to_zoned_datetime(now.time_zone().clone());
        let today = on(now.date())?;
        if today > *now {
            return Ok(today);
        }
        on(now.date().tomorrow()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_of_day_is_today_or_tomorrow_in_local_time() {
        let next = |time: &str, now: &str| {
            let (time, now): (TimeOfDay, ZonedDateTime) = (time.parse().unwrap(), now.parse().unwrap());
            time.next_after(&now).unwrap().to_string()
        };
        let evening = "2026-03-28T23:30:00+01:00[+01:00]";
        assert_eq!(next("07:00", evening), "2026-03-29T07:00:00+01:00[+01:00]");
        assert_eq!(next("23:45", evening), "2026-03-28T23:45:00+01:00[+01:00]");
        assert_eq!(next("23:30", evening), "2026-03-29T23:30:00+01:00[+01:00]");
        assert_eq!(next("7:05", "2026-12-31T08:00:00-05:00[-05:00]"), "2027-01-01T07:05:00-05:00[-05:00]");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "7", "24:00", "07:60", "07:00:00", "-1:00", "+7:00", "soon", "007:00"] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
    }
}
