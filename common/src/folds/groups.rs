//! The groups of rows, such as the patients that images show: what must not be torn apart by a split.

use std::collections::HashMap;

/// The group of each row, as a number in the order of the groups' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Row -> group, `0..count`.
    of_row: Vec<u32>,
    /// How many distinct groups there are.
    count: usize,
}

impl Groups {
    /// Numbers the groups of rows that have these names.
    ///
    /// The order is that of `numpy.unique` on the column as pandas reads it: by value if every name is a whole number,
    /// otherwise by code points. It decides ties between groups of equal size. Names with leading zeros or a plus sign
    /// are text, so that 7 and 007 stay two groups.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Groups {
        let mut places: HashMap<&str, u32> = HashMap::new();
        let mut distinct: Vec<&str> = Vec::new();
        let by_appearance: Vec<u32> = names
            .into_iter()
            .map(|name| {
                *places.entry(name).or_insert_with(|| {
                    distinct.push(name);
                    distinct.len() as u32 - 1
                })
            })
            .collect();
        let mut sorted: Vec<u32> = (0..distinct.len() as u32).collect();
        let numbers: Option<Vec<i64>> = distinct.iter().map(|name| whole_number(name)).collect();
        match numbers {
            Some(numbers) => sorted.sort_unstable_by_key(|&group| numbers[group as usize]),
            None => sorted.sort_unstable_by_key(|&group| distinct[group as usize]),
        }
        let mut rank = vec![0; distinct.len()];
        for (place, &group) in (0..).zip(&sorted) {
            rank[group as usize] = place;
        }
        let of_row = by_appearance.into_iter().map(|group| rank[group as usize]).collect();
        Groups { of_row, count: distinct.len() }
    }

    /// The group of each row, `0..count`.
    pub fn of_rows(&self) -> &[u32] {
        &self.of_row
    }

    /// How many distinct groups there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The number of rows of each group.
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes = vec![0; self.count];
        for &group in &self.of_row {
            sizes[group as usize] += 1;
        }
        sizes
    }

    /// The fold of each row, from the fold of each group.
    pub(super) fn folds_of_rows(&self, fold_of_group: &[u8]) -> Vec<u8> {
        self.of_row.iter().map(|&group| fold_of_group[group as usize]).collect()
    }
}

/// The number that `text` is the usual way to write.
fn whole_number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(names: &[&str]) -> Vec<u32> {
        Groups::of_names(names.iter().copied()).of_rows().to_vec()
    }

    #[test]
    fn numbers_by_value_and_text_by_code_points() {
        assert_eq!(order(&["10", "9", "10", "-3"]), [2, 1, 2, 0]);
        assert_eq!(order(&["10", "9", "x"]), [0, 1, 2]);
        assert_eq!(order(&["7", "007", "7"]), [1, 0, 1]);
        assert_eq!(order(&["é", "z", "Z"]), [2, 1, 0]);
        let groups = Groups::of_names(["b", "a", "b"]);
        assert_eq!((groups.count(), groups.sizes()), (2, vec![1, 2]));
    }
}
