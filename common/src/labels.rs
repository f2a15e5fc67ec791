//! The labels of an image: a set of numbers from 0 to 27, as in the `Target` column of a list.

use std::fmt;
use std::str::FromStr;

/// The number of labels. They are numbered from 0.
pub const LABEL_COUNT: usize = 28;

/// The labels of one image, as a set. Its text form is that of the `Target` field: `"0 16"`, or empty without labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Labels(u32);

/// Invalid labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// A part of the text is not a whole number.
    #[error("{token:?} is not a label: labels are whole numbers from 0 to 27, separated by spaces")]
    NotANumber {
        /// The part of the text.
        token: String,
    },
    /// A number that is not a label's.
    #[error("label {label} is out of range: expected 0 to 27")]
    OutOfRange {
        /// The number as text.
        label: String,
    },
    /// A label that occurs twice.
    #[error("label {label} is given twice: name each label of a row once")]
    Duplicate {
        /// The label.
        label: u8,
    },
}

impl Labels {
    /// The set of the given labels, in any order.
    ///
    /// # Errors
    /// If a label is above 27 or occurs twice.
    pub fn from_indices(indices: impl IntoIterator<Item = u8>) -> Result<Labels, LabelsError> {
        let mut labels = Labels::default();
        for label in indices {
            labels.insert(label)?;
        }
        Ok(labels)
    }

    /// Whether `label` is in the set; `false` for numbers above 27.
    pub fn contains(self, label: u8) -> bool {
        usize::from(label) < LABEL_COUNT && self.0 & (1 << label) != 0
    }

    /// The labels in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let label = rest.trailing_zeros() as u8;
            rest &= rest - 1;
            Some(label)
        })
    }

    /// The number of labels in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as bits: bit `l` stands for label `l`; the four highest bits are 0.
    pub fn bits(self) -> u32 {
        self.0
    }

    fn insert(&mut self, label: u8) -> Result<(), LabelsError> {
        if usize::from(label) >= LABEL_COUNT {
            return Err(LabelsError::OutOfRange { label: label.to_string() });
        }
        if self.contains(label) {
            return Err(LabelsError::Duplicate { label });
        }
        self.0 |= 1 << label;
        Ok(())
    }
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

    /// Reads a `Target` field: labels in any order, separated by white space.
    fn from_str(text: &str) -> Result<Labels, LabelsError> {
        let mut labels = Labels::default();
        for token in text.split_ascii_whitespace() {
            // `u8::from_str` alone would accept "+3".
            if !token.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(LabelsError::NotANumber { token: token.to_owned() });
            }
            // Only digits are left, so parsing fails only on numbers that are too large.
            let label = token.parse::<u8>().map_err(|_| LabelsError::OutOfRange { label: token.to_owned() })?;
            labels.insert(label)?;
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Labels, LabelsError> {
        text.parse()
    }

    #[test]
    fn reads_a_target_in_any_order_and_shows_it_ascending() {
        let labels = parse("16 0").unwrap();
        assert_eq!(labels, Labels::from_indices([0, 16]).unwrap());
        assert_eq!(labels.to_string(), "0 16");
        assert_eq!(labels.bits(), 1 | 1 << 16);
        assert_eq!(labels.len(), 2);
        assert!(labels.contains(16) && !labels.contains(1) && !labels.contains(28) && !labels.contains(255));
        assert_eq!(parse(" 27  3 ").unwrap().iter().collect::<Vec<_>>(), [3, 27]);
    }

    #[test]
    fn an_empty_target_has_no_labels() {
        let labels = parse("").unwrap();
        assert!(labels.is_empty());
        assert_eq!(labels.iter().next(), None);
        assert_eq!(labels.to_string(), "");
    }

    #[test]
    fn every_label_fits() {
        let all = Labels::from_indices(0..28).unwrap();
        assert_eq!(all.len(), LABEL_COUNT);
        assert_eq!(all.to_string().parse(), Ok(all));
    }

    #[test]
    fn names_what_is_wrong() {
        for token in ["x", "+3", "-1", "1.0", "1,2", "0x1", "\u{0663}"] {
            assert_eq!(parse(&format!("5 {token}")), Err(LabelsError::NotANumber { token: token.to_owned() }));
        }
        for label in ["28", "256", "99999999999999999999"] {
            assert_eq!(parse(&format!("5 {label}")), Err(LabelsError::OutOfRange { label: label.to_owned() }));
        }
        assert_eq!(parse("5 1 5"), Err(LabelsError::Duplicate { label: 5 }));
        assert_eq!(Labels::from_indices([28]), Err(LabelsError::OutOfRange { label: "28".to_owned() }));
        assert_eq!(Labels::from_indices([3, 3]), Err(LabelsError::Duplicate { label: 3 }));
        assert!(parse("7 banana").unwrap_err().to_string().contains("\"banana\""));
    }
}
