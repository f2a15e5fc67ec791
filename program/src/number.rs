//! Numbers on command lines.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;

/// A parser of whole numbers in `range`, whose errors say what is expected.
pub fn whole_number<T>(
    range: impl RangeBounds<T> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a whole number{}", limits(&range)))
    }
}

/// The limits of a range, as the end of a sentence.
fn limits<T: Display>(range: &impl RangeBounds<T>) -> String {
    let from = match range.start_bound() {
        Bound::Included(least) => format!("{least}"),
        Bound::Excluded(below) => format!("above {below}"),
        Bound::Unbounded => return String::new(),
    };
    match range.end_bound() {
        Bound::Included(most) => format!(" from {from} to {most}"),
        Bound::Excluded(above) => format!(" from {from} to below {above}"),
        Bound::Unbounded => format!(" of {from} or more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_said() {
        let fold = whole_number::<u32>(0..=99);
        assert_eq!(fold("7"), Ok(7));
        for text in ["a", "", "-1", "1.5", "100", "99999999999"] {
            assert_eq!(fold(text), Err("expected a whole number from 0 to 99".to_owned()), "{text}");
        }
        assert_eq!(whole_number::<u64>(1..)("0"), Err("expected a whole number of 1 or more".to_owned()));
        assert_eq!(whole_number::<u64>(..)("x"), Err("expected a whole number".to_owned()));
        assert_eq!(whole_number::<u64>(..)("0"), Ok(0));
    }
}
