//! The objective: the figure of an epoch's validation that decides on the best checkpoint, the plateau and the early stop.
//!
//! Comparisons use its score, of which higher is better: the value itself, or the negated loss. An undefined value, such as the
//! mean AUROC of rows that all have the same labels, has the lowest score.

use crate::decision_rule::DecisionRule;
use crate::labels::Labels;
use crate::metrics::{Metrics, RankingMetrics};
use crate::progress::EpochMetrics;
use crate::spec::{JobSetSpec, Objective, Task};
use crate::threshold::{ThresholdError, fit_threshold};

impl Objective {
    /// The objective in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Objective::MacroF1 => "macro F1",
            Objective::MicroF1 => "micro F1",
            Objective::MeanAuroc => "mean AUROC",
            Objective::Map => "mAP",
            Objective::Accuracy => "accuracy",
            Objective::Loss => "loss",
        }
    }

    /// The objective as the heading of a narrow column.
    pub fn short_title(self) -> &'static str {
        match self {
            Objective::MacroF1 | Objective::MicroF1 => "F1",
            Objective::MeanAuroc => "AUROC",
            Objective::Map => "mAP",
            Objective::Accuracy => "accuracy",
            Objective::Loss => "loss",
        }
    }

    /// The value after an epoch; `None` if it is undefined.
    pub fn value(self, epoch: &EpochMetrics) -> Option<f64> {
        match self {
            Objective::MacroF1 => Some(epoch.macro_f1),
            Objective::Loss => Some(epoch.valid_loss),
            Objective::MicroF1 | Objective::MeanAuroc | Objective::Map | Objective::Accuracy => epoch.objective,
        }
    }

    /// The score of an epoch: higher is better.
    pub fn score(self, epoch: &EpochMetrics) -> f64 {
        match (self, self.value(epoch)) {
            (_, None) => f64::NEG_INFINITY,
            (Objective::Loss, Some(value)) => -value,
            (_, Some(value)) => value,
        }
    }

    /// The value of a score; `None` if it is undefined.
    pub fn value_of_score(self, score: f64) -> Option<f64> {
        let value = if self == Objective::Loss { -score } else { score };
        value.is_finite().then_some(value)
    }

    /// The figure of a report that goes by the objective's name; `None` if it is undefined or the loss, which no report has.
    pub fn of_report(self, metrics: &Metrics) -> Option<f64> {
        match self {
            Objective::MacroF1 => Some(metrics.macro_f1),
            Objective::MicroF1 => Some(metrics.micro_f1),
            Objective::MeanAuroc => metrics.mean_auroc,
            Objective::Map => metrics.map,
            Objective::Accuracy => Some(metrics.accuracy),
            Objective::Loss => None,
        }
    }
}

/// What the scores of an epoch's validation say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidationScores {
    /// Macro F1: multilabel at its best threshold, whatever the spec's threshold for the results; multiclass of the highest
    /// scores.
    pub macro_f1: f64,
    /// The best threshold; multiclass has none.
    pub threshold: Option<f64>,
    /// The value of the objective, if it is neither macro F1 nor the loss and not undefined. Micro F1 and accuracy are at the
    /// threshold of macro F1.
    pub objective: Option<f64>,
}

impl ValidationScores {
    /// The figures of `scores` (row-major `[rows, classes]`, each in 0..=1) for `targets` (`[rows]`).
    ///
    /// # Errors
    /// If the shapes do not match, there are no rows, or a score is NaN or outside 0..=1.
    pub fn of(spec: &JobSetSpec, scores: &[f32], targets: &[Labels]) -> Result<ValidationScores, ThresholdError> {
        let class_count = spec.class_count();
        let (macro_f1, rule) = match spec.task {
            Task::Multilabel => {
                let fit = fit_threshold(scores, class_count, targets, spec.empty_rows)?;
                (fit.macro_f1, DecisionRule::Threshold { threshold: fit.threshold, empty_rows: spec.empty_rows })
            }
            Task::Multiclass => {
                let rule = DecisionRule::Argmax;
                (rule.tally(scores, class_count, targets)?.classes.macro_f1(), rule)
            }
        };
        let objective = match spec.objective {
            Objective::MacroF1 | Objective::Loss => None,
            Objective::MicroF1 => Some(rule.tally(scores, class_count, targets)?.micro_f1()),
            Objective::Accuracy => Some(rule.tally(scores, class_count, targets)?.accuracy()),
            Objective::MeanAuroc => RankingMetrics::of(scores, class_count, targets).mean_auroc(),
            Objective::Map => RankingMetrics::of(scores, class_count, targets).map(),
        };
        Ok(ValidationScores { macro_f1, threshold: rule.threshold(), objective })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(objective: Option<f64>) -> EpochMetrics {
        EpochMetrics {
            epoch: 0,
            train_loss: 0.5,
            valid_loss: 0.25,
            macro_f1: 0.75,
            threshold: Some(0.5),
            learning_rate: 0.1,
            objective,
        }
    }

    #[test]
    fn of_scores_higher_is_better_and_values_come_back() {
        assert_eq!(Objective::MacroF1.score(&epoch(None)), 0.75);
        assert_eq!(Objective::Loss.score(&epoch(None)), -0.25);
        assert_eq!(Objective::Map.score(&epoch(Some(0.125))), 0.125);
        assert_eq!(Objective::MeanAuroc.score(&epoch(None)), f64::NEG_INFINITY);
        for &objective in Objective::ALL {
            for epoch in [epoch(Some(0.125)), epoch(None)] {
                let score = objective.score(&epoch);
                assert_eq!(objective.value_of_score(score), objective.value(&epoch), "{objective}");
            }
        }
    }

    #[test]
    fn validations_have_the_figures_of_their_task() {
        let targets: Vec<Labels> = ["0", "1", "1"].into_iter().map(|text| text.parse().unwrap()).collect();
        let scores = [0.75, 0.25, 0.5, 0.5, 0.25, 0.75];
        let spec = |task, objective| JobSetSpec {
            classes: ["a", "b"].map(str::to_owned).to_vec(),
            task,
            objective,
            ..JobSetSpec::default()
        };
        let of = |task, objective| ValidationScores::of(&spec(task, objective), &scores, &targets).unwrap();
        let found = of(Task::Multiclass, Objective::Accuracy);
        assert_eq!((found.threshold, found.objective), (None, Some(2.0 / 3.0)));
        assert!((found.macro_f1 - 2.0 / 3.0).abs() < 1e-12, "{found:?}");
        assert_eq!(of(Task::Multiclass, Objective::MeanAuroc).objective, Some(1.0));
        assert_eq!(of(Task::Multiclass, Objective::Loss).objective, None);
        let fit = fit_threshold(&scores, 2, &targets, crate::threshold::EmptyRows::Argmax).unwrap();
        for &objective in Objective::ALL {
            let found = of(Task::Multilabel, objective);
            assert_eq!((found.macro_f1, found.threshold), (fit.macro_f1, Some(fit.threshold)), "{objective}");
            assert_eq!(found.objective.is_none(), matches!(objective, Objective::MacroF1 | Objective::Loss));
        }
    }
}
