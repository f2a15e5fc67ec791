//! Which of many problems are named.

/// The first of many problems, in their order, but one of each kind before a second one of any kind: 500 missing files do not hide
/// an empty one.
#[derive(Debug)]
pub struct FirstOfEach<K, P> {
    /// The first one of each kind.
    firsts: Vec<(K, P)>,
    /// The first of the others, at most as many as are ever named.
    others: Vec<P>,
    count: usize,
}

/// The most problems of kinds that are there already.
const MAX_OTHERS: usize = 10;

impl<K, P> Default for FirstOfEach<K, P> {
    fn default() -> Self {
        Self { firsts: Vec::new(), others: Vec::new(), count: 0 }
    }
}

impl<K: PartialEq, P> FirstOfEach<K, P> {
    /// Adds a problem.
    pub fn add(&mut self, kind: K, problem: P) {
        self.count += 1;
        self.keep(kind, problem);
    }

    /// Adds those that come later.
    pub fn extend(&mut self, later: Self) {
        self.count += later.count;
        for (kind, problem) in later.firsts {
            self.keep(kind, problem);
        }
        self.others.extend(later.others);
        self.others.truncate(MAX_OTHERS);
    }

    /// How many were added.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `count` problems, or one of each kind if there are more kinds.
    pub fn named(&self, count: usize) -> impl Iterator<Item = &P> {
        let more = count.saturating_sub(self.firsts.len());
        self.one_of_each().chain(self.others.iter().take(more))
    }

    /// The first problem of each kind.
    pub fn one_of_each(&self) -> impl Iterator<Item = &P> {
        self.firsts.iter().map(|(_, problem)| problem)
    }

    fn keep(&mut self, kind: K, problem: P) {
        if self.firsts.iter().all(|(known, _)| *known != kind) {
            self.firsts.push((kind, problem));
        } else if self.others.len() < MAX_OTHERS {
            self.others.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_kind_is_named_before_a_second_one_of_any() {
        let mut problems = FirstOfEach::default();
        for file in 0..500 {
            problems.add("missing", file);
        }
        let mut later = FirstOfEach::default();
        for (kind, file) in [("missing", 500), ("empty", 501), ("empty", 502)] {
            later.add(kind, file);
        }
        problems.extend(later);
        assert_eq!(problems.count(), 503);
        assert_eq!(problems.named(4).copied().collect::<Vec<_>>(), [0, 501, 1, 2]);
        assert_eq!(problems.named(1).copied().collect::<Vec<_>>(), [0, 501], "one of each kind");
    }

    #[test]
    fn the_order_is_kept_where_there_is_one_kind() {
        let mut problems = FirstOfEach::default();
        let mut later = FirstOfEach::default();
        (0..3).for_each(|file| problems.add((), file));
        (3..6).for_each(|file| later.add((), file));
        problems.extend(later);
        assert_eq!(problems.named(5).copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
