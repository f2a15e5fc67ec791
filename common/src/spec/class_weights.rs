//! The weights of the classes in the loss.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::table::Syntax;
use super::value::KeyValue;

/// The weights of the classes in the loss. In files `"none"`, `"balanced"` or a list of numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ClassWeights {
    /// All classes weigh the same.
    #[default]
    None,
    /// Rare classes weigh more, by their counts in the training rows of the fold.
    Balanced,
    /// A weight for each class, in their order.
    Given(Vec<f64>),
}

/// What a value can be, in errors.
const EXPECTED: &str = "none, balanced, or a number for each class";

impl ClassWeights {
    fn from_word(word: &str) -> Option<ClassWeights> {
        match word {
            "none" => Some(ClassWeights::None),
            "balanced" => Some(ClassWeights::Balanced),
            _ => None,
        }
    }
}

impl KeyValue for ClassWeights {
    /// The range of a weight.
    type Limits = RangeInclusive<f64>;
    const SYNTAX: Syntax = Syntax::Plain;

    fn check(&self, limits: Self::Limits) -> Result<(), String> {
        let ClassWeights::Given(weights) = self else { return Ok(()) };
        if let Some(weight) = weights.iter().find(|weight| !limits.contains(weight)) {
            return Err(format!("{weight} is out of range: expected {} to {}", limits.start(), limits.end()));
        }
        if weights.iter().all(|weight| *weight == 0.0) {
            return Err("expected at least one weight above 0".to_owned());
        }
        Ok(())
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(weights) = ClassWeights::from_word(text) {
            return Ok(weights);
        }
        let weights: Result<Vec<f64>, _> = text.split(',').map(|weight| weight.trim().parse()).collect();
        weights.map(ClassWeights::Given).map_err(|_| format!("expected {EXPECTED}, such as 1,2.5"))
    }

    fn show(&self) -> String {
        match self {
            ClassWeights::None => "none".to_owned(),
            ClassWeights::Balanced => "balanced".to_owned(),
            ClassWeights::Given(weights) => weights.iter().map(f64::to_string).collect::<Vec<_>>().join(","),
        }
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ClassWeights::None | ClassWeights::Balanced => serializer.serialize_str(&self.show()),
            ClassWeights::Given(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Weights;

        impl<'de> Visitor<'de> for Weights {
            type Value = ClassWeights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ClassWeights, E> {
                ClassWeights::from_word(text).ok_or_else(|| E::custom(format!("unknown {text:?}: expected {EXPECTED}")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<ClassWeights, A::Error> {
                let mut weights = Vec::new();
                while let Some(weight) = numbers.next_element()? {
                    weights.push(weight);
                }
                Ok(ClassWeights::Given(weights))
            }
        }

        deserializer.deserialize_any(Weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::JobSetSpec;

    #[test]
    fn weights_are_words_or_numbers() {
        let read = |text: &str| JobSetSpec::from_toml(text).map(|spec| spec.class_weights);
        assert_eq!(read("class_weights = \"balanced\""), Ok(ClassWeights::Balanced));
        let given = ClassWeights::Given(vec![1.0, 2.5]);
        assert_eq!(read("classes = [\"a\", \"b\"]\nclass_weights = [1, 2.5]"), Ok(given.clone()));
        assert_eq!((ClassWeights::parse("1, 2.5"), given.show()), (Ok(given.clone()), "1,2.5".to_owned()));
        assert_eq!(ClassWeights::parse("balanced").unwrap().show(), "balanced");
        assert!(ClassWeights::parse("1,").is_err() && ClassWeights::parse("even").is_err());
        let spec = JobSetSpec { class_weights: given.clone(), ..JobSetSpec::default() };
        assert_eq!(JobSetSpec::from_stored_json(&spec.to_stored_json()).unwrap().class_weights, given);
        for (text, wanted) in [
            ("class_weights = \"even\"", "unknown \"even\": expected none, balanced, or a number for each class"),
            ("class_weights = [1, 2]", "class_weights: 2 weights for 28 classes"),
            ("classes = [\"a\", \"b\"]\nclass_weights = [1, -2]", "class_weights: -2 is out of range: expected 0 to"),
            ("classes = [\"a\", \"b\"]\nclass_weights = [0, 0]", "class_weights: expected at least one weight above 0"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(wanted), "{text}: {message}");
        }
    }
}
