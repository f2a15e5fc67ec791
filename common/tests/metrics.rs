//! The metrics against scikit-learn, by the fixture that tests/golden/metrics.py makes.

use fivefold_common::decision_rule::DecisionRule;
use fivefold_common::labels::Labels;
use fivefold_common::metrics::{ConfusionCell, Metrics, RankingMetrics, confusion_matrix};
use fivefold_common::spec::Task;
use fivefold_common::threshold::EmptyRows;
use serde::Deserialize;

const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Case {
    name: String,
    task: Task,
    grid: u32,
    threshold: Option<f64>,
    targets: Vec<String>,
    numbers: Vec<Vec<u32>>,
    judged: Judged,
}

/// What scikit-learn says.
#[derive(Deserialize)]
struct Judged {
    macro_f1: f64,
    micro_f1: f64,
    accuracy: f64,
    /// The classes that some rows have and others do not.
    ranked: Vec<usize>,
    auroc: Vec<f64>,
    average_precision: Vec<f64>,
    mean_auroc: Option<f64>,
    map: Option<f64>,
    #[serde(default)]
    confusion: Vec<Vec<u64>>,
}

fn fixture() -> Vec<Case> {
    serde_json::from_str(include_str!("fixtures/metrics.json")).expect("the fixture is as its script makes it")
}

fn is_close(ours: f64, reference: f64) -> bool {
    (ours - reference).abs() <= TOLERANCE
}

fn are_close(ours: Option<f64>, reference: Option<f64>) -> bool {
    match (ours, reference) {
        (Some(ours), Some(reference)) => is_close(ours, reference),
        (ours, reference) => ours == reference,
    }
}

/// The cells of a whole matrix that have rows.
fn cells(matrix: &[Vec<u64>]) -> Vec<ConfusionCell> {
    let mut cells = Vec::new();
    for (target, row) in (0..).zip(matrix) {
        for (predicted, &rows) in (0..).zip(row).filter(|(_, rows)| **rows > 0) {
            cells.push(ConfusionCell { target, predicted, rows });
        }
    }
    cells
}

#[test]
fn metrics_are_scikit_learn_s() {
    let cases = fixture();
    assert!(cases.len() > 10);
    for case in cases {
        let name = &case.name;
        let class_count = case.numbers[0].len();
        let scores: Vec<f32> = case.numbers.iter().flatten().map(|number| *number as f32 / case.grid as f32).collect();
        let targets: Vec<Labels> =
            case.targets.iter().map(|labels| labels.parse().expect("targets are labels")).collect();
        let rule = match (case.task, case.threshold) {
            (Task::Multilabel, Some(threshold)) => DecisionRule::Threshold { threshold, empty_rows: EmptyRows::Leave },
            _ => DecisionRule::Argmax,
        };
        let tally = rule.tally(&scores, class_count, &targets).expect("the fixture has scores");
        let ranking = RankingMetrics::of(&scores, class_count, &targets);
        let (found, judged) = (Metrics::new(&tally, &ranking), &case.judged);
        assert!(is_close(found.macro_f1, judged.macro_f1), "{name}: {found:?}");
        assert!(is_close(found.micro_f1, judged.micro_f1), "{name}: {found:?}");
        assert!(is_close(found.accuracy, judged.accuracy), "{name}: {found:?}");
        assert!(are_close(found.mean_auroc, judged.mean_auroc), "{name}: {found:?}");
        assert!(are_close(found.map, judged.map), "{name}: {found:?}");
        assert_eq!(found.unranked_classes as usize, class_count - judged.ranked.len(), "{name}");
        let ranked: Vec<_> = (0..class_count).zip(&ranking.per_class).filter(|(_, found)| found.is_some()).collect();
        assert_eq!(ranked.iter().map(|(class, _)| *class).collect::<Vec<_>>(), judged.ranked, "{name}");
        for ((_, found), (auroc, precision)) in
            ranked.into_iter().zip(judged.auroc.iter().zip(&judged.average_precision))
        {
            let found = found.expect("only these are left");
            assert!(is_close(found.auroc, *auroc), "{name}: {found:?} is not {auroc}");
            assert!(is_close(found.average_precision, *precision), "{name}: {found:?} is not {precision}");
        }
        if case.task == Task::Multiclass {
            let predicted = scores.chunks(class_count).map(|row| rule.labels(row));
            assert_eq!(confusion_matrix(targets.iter().zip(predicted)), cells(&judged.confusion), "{name}");
        }
    }
}
