//! The labels of an image: a set of the numbers of its classes, as in the `Target` column of a list.

use std::fmt;
use std::str::FromStr;

use crate::classes::MOST_CLASSES;
use crate::spec::LabelSeparator;

/// The number of classes of the Human Protein Atlas, which is the default. Labels are numbered from 0.
pub const LABEL_COUNT: usize = 28;

/// The labels below this are held without an allocation.
const LOW_LABELS: u16 = 64;

/// The labels of one image, as a set. Its text form is that of the `Target` field: `"0 16"`, or empty without labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Set);

/// A set of labels has one form only, so that equal sets are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Set {
    /// Labels below 64: bit `l` stands for label `l`.
    Low(u64),
    /// All labels in ascending order, if the last one is 64 or above.
    High(Box<[u16]>),
}

impl Default for Set {
    fn default() -> Self {
        Set::Low(0)
    }
}

/// Invalid labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// A part of the text is not a whole number.
    #[error(
        "{token:?} is not a label: labels are whole numbers from 0 to {}, separated by {}; for names, set \
         label_format = names", class_count - 1, separator.plural()
    )]
    NotANumber {
        /// The part of the text.
        token: String,
        /// The number of classes.
        class_count: usize,
        /// What separates labels.
        separator: LabelSeparator,
    },
    /// A number that is not a label's.
    #[error("label {label} is out of range: expected 0 to {}", class_count - 1)]
    OutOfRange {
        /// The number as text.
        label: String,
        /// The number of classes.
        class_count: usize,
    },
    /// A name that is no class's.
    #[error(
        "{name:?} is not one of the {class_count} classes, such as {example:?}: correct it, or name all classes with \
         `classes`; names are separated by {}", separator.plural()
    )]
    UnknownName {
        /// The name.
        name: String,
        /// The number of classes.
        class_count: usize,
        /// One of the classes.
        example: String,
        /// What separates labels.
        separator: LabelSeparator,
    },
    /// A label that occurs twice.
    #[error("label {label} is given twice: name each label of a row once")]
    Duplicate {
        /// The label.
        label: String,
    },
}

impl Labels {
    /// The set of the given labels, in any order.
    ///
    /// # Errors
    /// If a label is not below 1,000 or occurs twice.
    pub fn from_indices(indices: impl IntoIterator<Item = u16>) -> Result<Labels, LabelsError> {
        let mut low = 0_u64;
        let mut high = Vec::new();
        for label in indices {
            let is_new = if label < LOW_LABELS {
                let bit = 1 << label;
                let is_new = low & bit == 0;
                low |= bit;
                is_new
            } else if usize::from(label) < MOST_CLASSES {
                high.push(label);
                true
            } else {
                return Err(LabelsError::OutOfRange { label: label.to_string(), class_count: MOST_CLASSES });
            };
            if !is_new {
                return Err(LabelsError::Duplicate { label: label.to_string() });
            }
        }
        if high.is_empty() {
            return Ok(Labels(Set::Low(low)));
        }
        high.sort_unstable();
        if let Some(pair) = high.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(LabelsError::Duplicate { label: pair[0].to_string() });
        }
        Ok(Labels(Set::High(bits(low).chain(high).collect())))
    }

    /// Reads numbers below `class_count` in any order, such as `0 16`. White space around each is ignored.
    ///
    /// # Errors
    /// If a part is not a number below `class_count`, or occurs twice.
    pub fn from_numbers(text: &str, separator: LabelSeparator, class_count: usize) -> Result<Labels, LabelsError> {
        let mut labels = Vec::new();
        for token in separator.split(text) {
            // `u16::from_str` alone would accept "+3".
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(LabelsError::NotANumber { token: token.to_owned(), class_count, separator });
            }
            // Only digits are left, so parsing fails only on numbers that are too large.
            let label = token.parse::<u16>().ok().filter(|label| usize::from(*label) < class_count);
            let label = label.ok_or_else(|| LabelsError::OutOfRange { label: token.to_owned(), class_count })?;
            labels.push(label);
        }
        Labels::from_indices(labels)
    }

    /// Whether `label` is in the set.
    pub fn contains(&self, label: u16) -> bool {
        match &self.0 {
            Set::Low(low) => label < LOW_LABELS && low & (1 << label) != 0,
            Set::High(labels) => labels.binary_search(&label).is_ok(),
        }
    }

    /// The labels in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        let (low, high) = match &self.0 {
            Set::Low(low) => (*low, &[][..]),
            Set::High(labels) => (0, &**labels),
        };
        bits(low).chain(high.iter().copied())
    }

    /// The number of labels in the set.
    pub fn len(&self) -> usize {
        match &self.0 {
            Set::Low(low) => low.count_ones() as usize,
            Set::High(labels) => labels.len(),
        }
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0 == Set::Low(0)
    }

    /// The set as bits, where bit `l` stands for label `l`; `None` with labels of 64 or above.
    pub fn bits(&self) -> Option<u64> {
        match self.0 {
            Set::Low(low) => Some(low),
            Set::High(_) => None,
        }
    }
}

/// The places of the ones, in ascending order.
fn bits(mut rest: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let place = rest.trailing_zeros() as u16;
        rest &= rest - 1;
        Some(place)
    })
}

impl fmt::Display for Labels {
    /// The labels in ascending order with a space between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, label) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{label}")?;
        }
        Ok(())
    }
}

impl FromStr for Labels {
    type Err = LabelsError;

    /// Reads labels below 1,000 in any order, separated by white space.
    fn from_str(text: &str) -> Result<Labels, LabelsError> {
        Labels::from_numbers(text, LabelSeparator::Space, MOST_CLASSES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Labels, LabelsError> {
        Labels::from_numbers(text, LabelSeparator::Space, LABEL_COUNT)
    }

    #[test]
    fn reads_a_target_in_any_order_and_shows_it_ascending() {
        let labels = parse("16 0").unwrap();
        assert_eq!(labels, Labels::from_indices([0, 16]).unwrap());
        assert_eq!(labels.to_string(), "0 16");
        assert_eq!(labels.bits(), Some(1 | 1 << 16));
        assert_eq!(labels.len(), 2);
        assert!(labels.contains(16) && !labels.contains(1) && !labels.contains(28) && !labels.contains(64));
        assert_eq!(parse(" 27  3 ").unwrap().iter().collect::<Vec<_>>(), [3, 27]);
    }

    #[test]
    fn an_empty_target_has_no_labels() {
        let labels = parse("").unwrap();
        assert!(labels.is_empty());
        assert_eq!(labels.iter().next(), None);
        assert_eq!(labels.to_string(), "");
        for separator in LabelSeparator::ALL {
            assert_eq!(Labels::from_numbers(" ", *separator, 2), Ok(Labels::default()), "{separator}");
        }
    }

    #[test]
    fn every_label_fits() {
        let all = Labels::from_indices(0..28).unwrap();
        assert_eq!(all.len(), LABEL_COUNT);
        assert_eq!(all.to_string().parse(), Ok(all));
    }

    #[test]
    fn sets_of_many_classes_are_like_those_of_few() {
        for count in [63, 64, 65, 1000] {
            let all = Labels::from_indices(0..count).unwrap();
            assert_eq!((all.len(), all.iter().last()), (usize::from(count), Some(count - 1)));
            assert_eq!(all.to_string().parse(), Ok(all.clone()));
            assert_eq!(Labels::from_indices((0..count).rev()), Ok(all.clone()));
            assert!((0..count).all(|label| all.contains(label)) && !all.contains(count) && !all.contains(u16::MAX));
            assert_eq!(all.bits().is_some(), count <= 64);
        }
        let mixed = Labels::from_numbers("999|3 | 64", LabelSeparator::Bar, 1000).unwrap();
        assert_eq!(mixed.to_string(), "3 64 999");
        assert!(!mixed.is_empty() && !mixed.contains(65) && mixed.contains(3));
        let message = Labels::from_indices([1000]).unwrap_err().to_string();
        assert_eq!(message, "label 1000 is out of range: expected 0 to 999");
        assert_eq!(Labels::from_indices([70, 3, 70]), Err(LabelsError::Duplicate { label: "70".to_owned() }));
        assert!(size_of::<Labels>() <= 24);
    }

    #[test]
    fn names_what_is_wrong() {
        for token in ["x", "+3", "-1", "1.0", "1,2", "0x1", "\u{0663}"] {
            let message = parse(&format!("5 {token}")).unwrap_err().to_string();
            let wanted =
                format!("{token:?} is not a label: labels are whole numbers from 0 to 27, separated by spaces");
            assert!(message.starts_with(&wanted), "{message}");
        }
        for label in ["28", "256", "99999999999999999999"] {
            let wanted = LabelsError::OutOfRange { label: label.to_owned(), class_count: 28 };
            assert_eq!(parse(&format!("5 {label}")), Err(wanted));
        }
        assert_eq!(parse("5 1 5"), Err(LabelsError::Duplicate { label: "5".to_owned() }));
        assert!(Labels::from_numbers("1||2", LabelSeparator::Bar, 28).is_err(), "a missing label");
    }
}
