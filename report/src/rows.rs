//! The rows that a report is about, with the labels that its rule predicts.

use fivefold_common::labels::Labels;
use fivefold_common::report::{FitOn, Report};
use fivefold_common::scores::{ScoreRow, ScoreTable, Source};

/// The rows of the fit.
pub(crate) struct Rows<'a> {
    /// The names of the classes, in label order.
    pub(crate) names: Vec<&'a str>,
    pub(crate) rows: Vec<Row<'a>>,
}

/// A row of the out-of-fold table.
pub(crate) struct Row<'a> {
    pub(crate) scored: &'a ScoreRow,
    pub(crate) predicted: Labels,
}

impl<'a> Rows<'a> {
    pub(crate) fn of(report: &'a Report, table: &'a ScoreTable) -> Self {
        let rule = report.decision_rule();
        let is_of_fit = |row: &&ScoreRow| report.fit_on == FitOn::TrainAndHpa || row.source == Source::Train;
        let row = |scored: &'a ScoreRow| Row { scored, predicted: rule.labels(&scored.scores) };
        Self {
            names: report.per_class.iter().map(|class| class.name.as_str()).collect(),
            rows: table.rows.iter().filter(is_of_fit).map(row).collect(),
        }
    }

    /// The name of a label.
    pub(crate) fn name(&self, label: u16) -> &'a str {
        self.names.get(usize::from(label)).copied().unwrap_or("")
    }

    /// The names of labels, as a list.
    pub(crate) fn list(&self, labels: &Labels) -> String {
        let names: Vec<&str> = labels.iter().map(|label| self.name(label)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The `most` labels with most rows, in label order.
    pub(crate) fn most_frequent(&self, most: usize) -> Vec<u16> {
        let mut counts = vec![0_usize; self.names.len()];
        for label in self.rows.iter().flat_map(|row| row.scored.target.iter()) {
            counts[usize::from(label)] += 1;
        }
        let mut labels: Vec<u16> = (0_u16..).take(counts.len()).collect();
        labels.sort_by_key(|label| std::cmp::Reverse(counts[usize::from(*label)]));
        labels.truncate(most);
        labels.sort_unstable();
        labels
    }
}

/// A report of four rows of three classes, two of which are in the same row, for tests.
#[cfg(test)]
pub(crate) mod tests {
    use fivefold_common::report::build_report;
    use fivefold_common::threshold::EmptyRows;

    use super::*;

    pub(crate) fn table() -> ScoreTable {
        let csv = "Id,Source,Fold,Target,p0,p1,p2\na,train,0,0,0.9,0.2,0.1\nb,train,0,0 1,0.8,0.7,0.2\nc,train,1,1,0.7,0.6,0.1\n\
                   d,train,1,2,0.2,0.65,0.1\nh,hpa,1,2,0.1,0.1,0.9\n";
        ScoreTable::read_csv("oof.csv", csv.as_bytes()).unwrap()
    }

    pub(crate) fn report() -> Report {
        let names = ["Nucleus", "Golgi <apparatus>", "Cytosol"].map(str::to_owned);
        let mut report = build_report(&table(), &names, EmptyRows::Argmax).unwrap();
        report.threshold = Some(0.5);
        report
    }

    #[test]
    fn rows_are_those_of_the_fit_with_their_predictions() {
        let (report, table) = (report(), table());
        let rows = Rows::of(&report, &table);
        let predicted: Vec<String> = rows.rows.iter().map(|row| row.predicted.to_string()).collect();
        assert_eq!(predicted, ["0", "0 1", "0 1", "1"]);
        assert_eq!(rows.list(&rows.rows[1].predicted), "Nucleus, Golgi <apparatus>");
        assert_eq!(rows.list(&"".parse().unwrap()), "none");
        assert_eq!((rows.most_frequent(2), rows.most_frequent(9)), (vec![0, 1], vec![0, 1, 2]));
    }
}
