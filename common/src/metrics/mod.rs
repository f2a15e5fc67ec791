//! The metrics of scores and of the labels that follow from them, by scikit-learn's definitions.
//!
//! [`crate::macro_f1`] has the F1 of each class. A [`PredictionTally`] counts predicted labels, for macro F1, micro F1 and
//! accuracy. [`RankingMetrics`] needs no labels: it says how well the scores of each class rank the rows.

mod confusion;
mod prediction_tally;
mod ranking;

pub use confusion::{ConfusionCell, confusion_matrix, largest_confusions};
pub use prediction_tally::PredictionTally;
pub use ranking::{Ranking, RankingMetrics};

use serde::{Deserialize, Serialize};

/// All metrics of a table of scores, each in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The mean of the classes' F1.
    pub macro_f1: f64,
    /// F1 of all classes together.
    pub micro_f1: f64,
    /// The mean of the classes' area under the ROC curve; `None` if it is defined for no class.
    pub mean_auroc: Option<f64>,
    /// The mean of the classes' average precision; `None` if it is defined for no class.
    pub map: Option<f64>,
    /// The share of rows whose labels are all right.
    pub accuracy: f64,
    /// The number of classes without `mean_auroc` and `map`: all rows have them, or none has.
    pub unranked_classes: u64,
}

impl Metrics {
    /// The metrics of predicted labels and of the scores behind them.
    pub fn new(predictions: &PredictionTally, ranking: &RankingMetrics) -> Metrics {
        Metrics {
            macro_f1: predictions.classes.macro_f1(),
            micro_f1: predictions.micro_f1(),
            mean_auroc: ranking.mean_auroc(),
            map: ranking.map(),
            accuracy: predictions.accuracy(),
            unranked_classes: ranking.unranked() as u64,
        }
    }
}
