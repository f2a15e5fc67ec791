//! Where the threshold of the scores comes from.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::table::Syntax;
use super::value::KeyValue;

/// Where the threshold of multilabel scores comes from. In files `"global"`, `"per_class"` or a number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum ThresholdRule {
    /// The best one for all classes together, by macro F1.
    #[default]
    Global,
    /// The best one for each class, by the F1 of that class.
    PerClass,
    /// The same for all classes, and not fitted; in 0..=1.
    Fixed(f64),
}

/// What a value can be, in errors.
const EXPECTED: &str = "global, per_class or a number such as 0.15";

impl ThresholdRule {
    fn from_word(word: &str) -> Option<ThresholdRule> {
        match word {
            "global" => Some(ThresholdRule::Global),
            "per_class" => Some(ThresholdRule::PerClass),
            _ => None,
        }
    }
}

impl fmt::Display for ThresholdRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ThresholdRule::Global => f.write_str("global"),
            ThresholdRule::PerClass => f.write_str("per_class"),
            ThresholdRule::Fixed(threshold) => write!(f, "{threshold}"),
        }
    }
}

impl std::str::FromStr for ThresholdRule {
    type Err = String;

    /// Reads a word or a number. The error says what was expected.
    fn from_str(text: &str) -> Result<ThresholdRule, String> {
        let number = || text.parse().ok().map(ThresholdRule::Fixed);
        ThresholdRule::from_word(text).or_else(number).ok_or_else(|| format!("expected {EXPECTED}"))
    }
}

impl KeyValue for ThresholdRule {
    /// The range of a fixed threshold.
    type Limits = RangeInclusive<f64>;
    const SYNTAX: Syntax = Syntax::Plain;

    fn check(&self, limits: Self::Limits) -> Result<(), String> {
        match self {
            ThresholdRule::Fixed(threshold) if !limits.contains(threshold) => {
                Err(format!("{threshold} is out of range: expected {} to {}", limits.start(), limits.end()))
            }
            ThresholdRule::Global | ThresholdRule::PerClass | ThresholdRule::Fixed(_) => Ok(()),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Serialize for ThresholdRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ThresholdRule::Global | ThresholdRule::PerClass => serializer.serialize_str(&self.to_string()),
            ThresholdRule::Fixed(threshold) => serializer.serialize_f64(*threshold),
        }
    }
}

impl<'de> Deserialize<'de> for ThresholdRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rule;

        impl Visitor<'_> for Rule {
            type Value = ThresholdRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ThresholdRule, E> {
                ThresholdRule::from_word(text)
                    .ok_or_else(|| E::custom(format!("unknown {text:?}: expected {EXPECTED}")))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<ThresholdRule, E> {
                Ok(ThresholdRule::Fixed(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ThresholdRule, E> {
                Ok(ThresholdRule::Fixed(number as f64))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ThresholdRule, E> {
                Ok(ThresholdRule::Fixed(number as f64))
            }
        }

        deserializer.deserialize_any(Rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::JobSetSpec;

    #[test]
    fn a_rule_is_a_word_or_a_number() {
        let read = |text: &str| JobSetSpec::from_toml(&format!("threshold = {text}")).map(|spec| spec.threshold);
        for (text, rule) in [
            ("\"global\"", ThresholdRule::Global),
            ("\"per_class\"", ThresholdRule::PerClass),
            ("0.15", ThresholdRule::Fixed(0.15)),
            ("1", ThresholdRule::Fixed(1.0)),
        ] {
            assert_eq!(read(text), Ok(rule), "{text}");
            assert_eq!(rule.to_string().parse(), Ok(rule), "{text}");
            let spec = JobSetSpec { threshold: rule, ..JobSetSpec::default() };
            assert_eq!(JobSetSpec::from_stored_json(&spec.to_stored_json()).unwrap().threshold, rule, "{text}");
        }
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(message("1.5"), "threshold: 1.5 is out of range: expected 0 to 1");
        assert_eq!(message("nan"), "threshold: NaN is out of range: expected 0 to 1");
        assert!(message("\"0.15\"").contains("unknown \"0.15\": expected global, per_class or a number such as 0.15"));
        assert_eq!(
            "best".parse::<ThresholdRule>(),
            Err("expected global, per_class or a number such as 0.15".to_owned())
        );
    }
}
