//! Sets of folds.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::Fold;

/// A set of folds. As text and JSON, the folds in ascending order: `0, 2` and `[0,2]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FoldSet(u128);

impl FoldSet {
    /// Whether `fold` is in the set.
    pub fn contains(self, fold: Fold) -> bool {
        fold.0 < Fold::COUNT_LIMIT && self.0 & (1 << fold.0) != 0
    }

    /// The folds in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Fold> {
        (0..Fold::COUNT_LIMIT).map(Fold).filter(move |fold| self.contains(*fold))
    }

    /// The number of folds in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The folds of either set.
    #[must_use]
    pub fn union(self, other: FoldSet) -> FoldSet {
        FoldSet(self.0 | other.0)
    }

    /// The folds of this set that are not in `other`.
    #[must_use]
    pub fn without(self, other: FoldSet) -> FoldSet {
        FoldSet(self.0 & !other.0)
    }
}

impl FromIterator<Fold> for FoldSet {
    /// Folds above the limit are left out.
    fn from_iter<T: IntoIterator<Item = Fold>>(folds: T) -> FoldSet {
        let bits = folds.into_iter().filter(|fold| fold.0 < Fold::COUNT_LIMIT).fold(0, |bits, fold| bits | 1 << fold.0);
        FoldSet(bits)
    }
}

impl fmt::Display for FoldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fold) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{fold}")?;
        }
        Ok(())
    }
}

impl Serialize for FoldSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for FoldSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FoldSet, D::Error> {
        let folds = Vec::<u32>::deserialize(deserializer)?;
        let fold = |&number: &u32| {
            Fold::new(number).ok_or_else(|| serde::de::Error::custom(format!("there is no fold {number}")))
        };
        folds.iter().map(fold).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_in_ascending_order() {
        let folds: FoldSet = [Fold(99), Fold(0), Fold(2), Fold(0)].into_iter().collect();
        assert_eq!((folds.to_string().as_str(), folds.len()), ("0, 2, 99", 3));
        assert_eq!(serde_json::to_string(&folds).unwrap(), "[0,2,99]");
        assert_eq!(serde_json::from_str::<FoldSet>("[2,99,0]").unwrap(), folds);
        assert!(serde_json::from_str::<FoldSet>("[100]").is_err());
        let others = folds.without([Fold(2)].into_iter().collect());
        assert!(others.contains(Fold(0)) && !others.contains(Fold(2)) && !others.contains(Fold(200)));
        assert_eq!(others.union([Fold(2)].into_iter().collect()), folds);
        assert!(FoldSet::default().is_empty() && !others.is_empty());
    }
}
