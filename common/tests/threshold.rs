//! Macro F1 and the threshold against scikit-learn, by the fixture that tests/golden/threshold.py makes; and the fit
//! against brute force, and its speed.

use std::time::Instant;

use fivefold_common::labels::{LABEL_COUNT, Labels};
use fivefold_common::threshold::{EmptyRows, fit_threshold, macro_f1_at, macro_f1_curve};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-12;
const BOTH_WAYS: [EmptyRows; 2] = [EmptyRows::Argmax, EmptyRows::Leave];

#[derive(Deserialize)]
struct Case {
    name: String,
    grid: u32,
    targets: Vec<String>,
    numbers: Vec<Vec<u32>>,
    argmax: Judged,
    leave: Judged,
}

/// What scikit-learn says: macro F1 at every threshold, and its parts at the best.
#[derive(Deserialize)]
struct Judged {
    curve: Vec<f64>,
    best: usize,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<u64>,
}

struct Scored {
    scores: Vec<f32>,
    targets: Vec<Labels>,
}

impl Case {
    fn scored(&self) -> Scored {
        Scored {
            scores: self.numbers.iter().flatten().map(|number| *number as f32 / self.grid as f32).collect(),
            targets: self.targets.iter().map(|labels| labels.parse().expect("targets are labels")).collect(),
        }
    }

    fn judged(&self, empty_rows: EmptyRows) -> &Judged {
        match empty_rows {
            EmptyRows::Argmax => &self.argmax,
            EmptyRows::Leave => &self.leave,
        }
    }
}

/// 0, 1 and every distinct score, ascending: any other threshold predicts what one of these does.
fn thresholds(scores: &[f32]) -> Vec<f64> {
    let mut all: Vec<f64> = scores.iter().map(|score| f64::from(*score)).chain([0.0, 1.0]).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

fn fixture() -> Vec<Case> {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("fixtures/threshold.json")).expect("the fixture is as its script makes it");
    assert!(!cases.is_empty());
    cases
}

#[track_caller]
fn assert_close(ours: f64, reference: f64, what: &str) {
    assert!((ours - reference).abs() <= TOLERANCE, "{what}: {ours} is not {reference}");
}

#[test]
fn macro_f1_is_scikit_learn_s_at_every_threshold() {
    for case in fixture() {
        let Scored { scores, targets } = case.scored();
        let thresholds = thresholds(&scores);
        for empty_rows in BOTH_WAYS {
            let judged = case.judged(empty_rows);
            assert_eq!(thresholds.len(), judged.curve.len(), "{}", case.name);
            let curve = macro_f1_curve(&scores, LABEL_COUNT, &targets, &thresholds, empty_rows).unwrap();
            for ((threshold, reference), in_curve) in thresholds.iter().zip(&judged.curve).zip(curve) {
                let what = format!("{}, {empty_rows}, threshold {threshold}", case.name);
                let ours = macro_f1_at(&scores, LABEL_COUNT, &targets, *threshold, empty_rows).unwrap().macro_f1;
                assert_close(ours, *reference, &what);
                assert_eq!(ours, in_curve, "{what}");
            }
            let best = macro_f1_at(&scores, LABEL_COUNT, &targets, thresholds[judged.best], empty_rows).unwrap();
            for (label, class) in best.per_class.iter().enumerate() {
                let what = format!("{}, {empty_rows}, label {label}", case.name);
                assert_close(class.precision, judged.precision[label], &what);
                assert_close(class.recall, judged.recall[label], &what);
                assert_close(class.f1, judged.f1[label], &what);
                assert_eq!(class.support, judged.support[label], "{what}");
            }
        }
    }
}

#[test]
fn no_threshold_does_better_by_scikit_learn_s_count() {
    for case in fixture() {
        let Scored { scores, targets } = case.scored();
        for empty_rows in BOTH_WAYS {
            let judged = case.judged(empty_rows);
            let fit = fit_threshold(&scores, LABEL_COUNT, &targets, empty_rows).unwrap();
            let what = format!("{}, {empty_rows}", case.name);
            assert_close(fit.macro_f1, judged.curve[judged.best], &what);
            assert_eq!(
                fit.macro_f1,
                macro_f1_at(&scores, LABEL_COUNT, &targets, fit.threshold, empty_rows).unwrap().macro_f1,
                "{what}"
            );
            assert!(fit.lower <= fit.threshold && fit.threshold <= fit.upper, "{what}: {fit:?}");
            // The whole interval is as good.
            for (threshold, reference) in thresholds(&scores).iter().zip(&judged.curve) {
                if fit.lower <= *threshold && *threshold < fit.upper {
                    assert_close(*reference, fit.macro_f1, &what);
                }
            }
        }
    }
}

/// `[rows, 28]` scores, rounded to `grid` steps, and targets that they know a little about.
fn drawn(rows: usize, grid: f32, seed: u64) -> Scored {
    let mut state = seed;
    let mut uniform = || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    };
    let mut scored = Scored { scores: Vec::with_capacity(rows * LABEL_COUNT), targets: Vec::with_capacity(rows) };
    for _ in 0..rows {
        let target =
            Labels::from_indices((0..LABEL_COUNT as u16).filter(|_| uniform() < 0.06)).expect("labels below 28");
        for label in 0..LABEL_COUNT as u16 {
            let score = 0.5 * uniform() + if target.contains(label) { 0.5 * uniform() } else { 0.0 };
            scored.scores.push((score * grid).round() / grid);
        }
        scored.targets.push(target);
    }
    scored
}

#[test]
fn brute_force_finds_no_better_threshold() {
    for seed in 0..60 {
        let grid = [2.0, 10.0, 37.0, 1e6][seed as usize % 4];
        let Scored { scores, targets } = drawn(1 + seed as usize % 12, grid, seed);
        for empty_rows in BOTH_WAYS {
            let fit = fit_threshold(&scores, LABEL_COUNT, &targets, empty_rows).unwrap();
            let at = |threshold| macro_f1_at(&scores, LABEL_COUNT, &targets, threshold, empty_rows).unwrap().macro_f1;
            let best = thresholds(&scores).into_iter().map(at).fold(0.0, f64::max);
            assert_eq!(fit.macro_f1, best, "seed {seed}, {empty_rows}");
            assert_eq!(at(fit.threshold), best, "seed {seed}, {empty_rows}");
            assert_eq!(at(fit.lower), best, "seed {seed}, {empty_rows}");
        }
    }
}

#[test]
fn a_slightly_better_threshold_is_better() {
    // With many rows the steps of macro F1 are tiny: the curve, held against scikit-learn above, shows them all.
    let Scored { scores, targets } = drawn(3_000, 1e6, 1);
    for empty_rows in BOTH_WAYS {
        let fit = fit_threshold(&scores, LABEL_COUNT, &targets, empty_rows).unwrap();
        let curve = macro_f1_curve(&scores, LABEL_COUNT, &targets, &thresholds(&scores), empty_rows).unwrap();
        assert_eq!(fit.macro_f1, curve.into_iter().fold(0.0, f64::max), "{empty_rows}");
    }
}

#[test]
fn a_hundred_thousand_rows_are_fitted_quickly() {
    let Scored { scores, targets } = drawn(100_000, 16_777_216.0, 1);
    for empty_rows in BOTH_WAYS {
        let start = Instant::now();
        let fit = fit_threshold(&scores, LABEL_COUNT, &targets, empty_rows).unwrap();
        let took = start.elapsed();
        println!("100,000 rows, {empty_rows}: {took:?}, {fit:?}");
        // The promise of one second is for an optimised build on an idle machine; this catches another complexity.
        assert!(took.as_secs() < 20, "{took:?}");
    }
}
