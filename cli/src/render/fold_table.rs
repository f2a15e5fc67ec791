//! The folds of a job set as tables that fit a terminal.

use fivefold_common::eta::Eta;
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::one_line::one_line;
use fivefold_common::spec::Objective;
use fivefold_proto::convert::{job_kind_from_wire, job_state_from_wire};
use fivefold_proto::v1::Job;

use super::job::{
    best_objective, epoch_cell, epoch_count, epoch_objective, job_name, objective, running_progress, train_loss,
};
use super::page::{Page, Tone, cut};
use super::sparkline::sparkline;
use super::table::{Cell, Column, NOTHING, drawn_once, fitted_table, number};
use super::text::{time, word};
use super::view::View;

/// Bars in the curve of a fold.
const CURVE_WIDTH: usize = 8;

/// A table of the folds in training and, if there are any, a table of the folds in prediction.
pub(crate) fn fold_tables(view: &View<'_>, page: &Page) -> String {
    let all = |kind| view.jobs(kind).collect::<Vec<_>>();
    let mut text = train_table(view, &all(JobKind::Train), page, Redrawn::No);
    let predictions = all(JobKind::Predict);
    if !predictions.is_empty() {
        text += &format!("\n{}", predict_table(&predictions, page, Redrawn::No));
    }
    text
}

/// Whether a table is drawn again with each change. Then its columns keep their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redrawn {
    No,
    Yes,
}

impl Redrawn {
    fn columns<const COLUMNS: usize>(self, columns: [Column; COLUMNS], page: &Page) -> [Column; COLUMNS] {
        // Where there is no room for them, columns are as wide as what is in them.
        if self == Self::Yes && page.width >= STEADY_WIDTH { columns } else { drawn_once(columns) }
    }
}

/// The narrowest page on which columns keep their places.
const STEADY_WIDTH: usize = 76;

/// The table of the jobs of `kind` in at most `height` lines. If there are more jobs, those that run come first, and the last
/// line counts the others. Columns keep their places from one drawing to the next.
pub(crate) fn short_table(view: &View<'_>, kind: JobKind, page: &Page, height: usize) -> String {
    let jobs: Vec<_> = view.jobs(kind).collect();
    let table = |jobs: &[(&Job, Option<Eta>)]| match kind {
        JobKind::Train => train_table(view, jobs, page, Redrawn::Yes),
        JobKind::Predict => predict_table(jobs, page, Redrawn::Yes),
    };
    // One line is the header.
    if jobs.len() < height {
        return table(&jobs);
    }
    let mut by_weight = jobs.clone();
    by_weight.sort_by_key(|(job, _)| weight(job));
    let hidden = by_weight.split_off(height.saturating_sub(2).min(by_weight.len()));
    by_weight.sort_by_key(|(job, _)| job.fold);
    format!("{}{}\n", table(&by_weight), cut(&hidden_words(&hidden), page.width))
}

/// What runs is shown first, then what has failed, waits, is done.
fn weight(job: &Job) -> u8 {
    match job_state_from_wire(job.state) {
        Ok(JobState::Leased) => 0,
        Ok(JobState::Failed) => 1,
        Ok(JobState::Queued) => 2,
        Ok(JobState::Succeeded | JobState::Cancelled) | Err(_) => 3,
    }
}

/// How many jobs of each state are not shown: `… and 12 queued, 8 succeeded`.
fn hidden_words(jobs: &[(&Job, Option<Eta>)]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for (job, _) in jobs {
        let state = word(job_state_from_wire(job.state));
        match counts.iter_mut().find(|(word, _)| *word == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((state, 1)),
        }
    }
    let counts: Vec<String> = counts.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!("… and {}", counts.join(", "))
}

/// The headers of the best value of an objective and of its curve.
fn objective_headers(objective: Objective) -> [&'static str; 2] {
    match objective {
        Objective::MacroF1 | Objective::MicroF1 => ["BEST F1", "F1 CURVE"],
        Objective::MeanAuroc => ["BEST AUROC", "AUROC CURVE"],
        Objective::Map => ["BEST MAP", "MAP CURVE"],
        Objective::Accuracy => ["BEST ACCURACY", "ACCURACY CURVE"],
        Objective::Loss => ["LEAST LOSS", "LOSS CURVE"],
    }
}

fn train_table(view: &View<'_>, jobs: &[(&Job, Option<Eta>)], page: &Page, redrawn: Redrawn) -> String {
    let objective = objective(view.set);
    let [best, curve] = objective_headers(objective);
    let columns = [
        Column::new("FOLD"),
        Column::new("STATE").steady_width(10),
        Column::new("EPOCH").steady_width(10),
        Column::new("DONE").rank(2).steady_width(4),
        Column::new(best).steady_width(7),
        Column::new(curve).rank(1).steady_width(CURVE_WIDTH),
        Column::new("LEFT").steady_width(12),
        Column::new("WORKER").rank(3).least_width(7).steady_width(7),
        Column::new("LOSS").rank(5).steady_width(6),
        Column::new("IMAGES/S").rank(6).steady_width(8),
        Column::new("TRY").rank(7),
    ];
    let epoch_count = epoch_count(view.set);
    let scale = objective_scale(view, jobs, objective);
    let row = |&(job, eta): &(&Job, Option<Eta>)| {
        let values: Vec<f64> = view.epochs(job).iter().filter_map(|epoch| epoch_objective(epoch, objective)).collect();
        [
            job.fold.to_string().into(),
            state_cell(job),
            or_nothing(epoch_cell(job, epoch_count, view.has_stopped_early(job))),
            done_cell(job, epoch_count),
            number(best_objective(job, objective), 4).into(),
            sparkline(&values, scale, CURVE_WIDTH).into(),
            or_nothing(eta.map(Eta::short)),
            worker_cell(job),
            number(train_loss(job), 4).into(),
            speed_cell(job),
            job.attempt.to_string().into(),
        ]
    };
    fitted_table(redrawn.columns(columns, page), &jobs.iter().map(row).collect::<Vec<_>>(), page)
}

/// From the lowest to the highest value of all folds, so that their curves can be compared.
fn objective_scale(view: &View<'_>, jobs: &[(&Job, Option<Eta>)], objective: Objective) -> (f64, f64) {
    let epochs = jobs.iter().flat_map(|(job, _)| view.epochs(job));
    let values = epochs.filter_map(|epoch| epoch_objective(epoch, objective));
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn predict_table(jobs: &[(&Job, Option<Eta>)], page: &Page, redrawn: Redrawn) -> String {
    let columns = [
        Column::new("FOLD"),
        Column::new("PREDICTION"),
        Column::new("DONE"),
        Column::new("LEFT").steady_width(12),
        Column::new("WORKER").rank(1).least_width(7).steady_width(7),
        Column::new("IMAGES/S").rank(2).steady_width(8),
        Column::new("TRY").rank(3),
    ];
    let row = |&(job, eta): &(&Job, Option<Eta>)| {
        [
            job.fold.to_string().into(),
            state_cell(job),
            // A prediction has no epochs.
            done_cell(job, 0),
            or_nothing(eta.map(Eta::short)),
            worker_cell(job),
            speed_cell(job),
            job.attempt.to_string().into(),
        ]
    };
    fitted_table(redrawn.columns(columns, page), &jobs.iter().map(row).collect::<Vec<_>>(), page)
}

fn or_nothing(text: Option<String>) -> Cell {
    text.unwrap_or_else(|| NOTHING.to_owned()).into()
}

/// The state of a job or, while a worker has it, its phase.
fn state_cell(job: &Job) -> Cell {
    match job_state_from_wire(job.state) {
        Ok(JobState::Leased) if job.stalled_since_time.is_some() => Cell::toned("stalled", Tone::Odd),
        Ok(JobState::Leased) => {
            let phase = running_progress(job).map_or("starting", |progress| progress.phase.word());
            Cell::toned(phase, Tone::Busy)
        }
        Ok(JobState::Queued) => Cell::toned(JobState::Queued.word(), Tone::Faint),
        Ok(JobState::Succeeded) => Cell::toned(JobState::Succeeded.word(), Tone::Good),
        Ok(JobState::Failed) => Cell::toned(JobState::Failed.word(), Tone::Bad),
        Ok(JobState::Cancelled) => Cell::toned(JobState::Cancelled.word(), Tone::Odd),
        Err(_) => word(job_state_from_wire(job.state)).into(),
    }
}

/// How much of the whole fold is done.
fn done_cell(job: &Job, epoch_count: u32) -> Cell {
    let finished_epochs = job.last_epoch.map_or(0, |last| last.epoch.saturating_add(1));
    let share = job_kind_from_wire(job.kind).ok().zip(running_progress(job));
    let share = share.map(|(kind, progress)| progress.share_of_job(kind, finished_epochs, epoch_count));
    or_nothing(share.map(|share| format!("{:.0}%", (share * 100.0).floor())))
}

fn worker_cell(job: &Job) -> Cell {
    or_nothing((!job.worker_name.is_empty()).then(|| one_line(&job.worker_name).into_owned()))
}

fn speed_cell(job: &Job) -> Cell {
    let speed = running_progress(job).map(|progress| progress.images_per_second).filter(|speed| *speed > 0.0);
    number(speed, 0).into()
}

/// A line for each job with something to say: why it failed, what it waits for, how long it has made no progress. The reasons
/// of failed jobs are never cut.
pub(crate) fn notes(view: &View<'_>, page: &Page) -> String {
    let mut text = String::new();
    for job in &view.set.jobs {
        let state = job_state_from_wire(job.state);
        let is_failed = state == Ok(JobState::Failed);
        let reason = match (state, job.stalled_since_time) {
            (Ok(JobState::Leased), Some(since)) => format!("no progress since {}", time(since)),
            (Ok(JobState::Leased | JobState::Succeeded), _) => continue,
            (Ok(JobState::Queued | JobState::Failed | JobState::Cancelled) | Err(_), _) => {
                one_line(&job.state_reason).into_owned()
            }
        };
        if reason.is_empty() {
            continue;
        }
        let line = format!("{}: {reason}", job_name(job));
        let line = if is_failed { line } else { cut(&line, page.width) };
        text += &format!("{}\n", page.paint.apply(is_failed.then_some(Tone::Bad), &line));
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use fivefold_proto::v1::{EpochMetrics, JobKind as WireKind, JobSet, Phase as WirePhase, Progress, job};

    use fivefold_common::spec::JobSetSpec;

    use super::*;
    use crate::render::epoch_history::EpochHistory;
    use crate::render::page::tests::terminal;

    /// A spec of 25 epochs.
    pub(crate) fn spec() -> fivefold_proto::v1::JobSetSpec {
        fivefold_proto::convert::spec_to_wire(&JobSetSpec {
            epochs: 25,
            early_stop_patience: 25,
            ..JobSetSpec::default()
        })
    }

    /// A fold in training whose newest epoch took ten minutes.
    pub(crate) fn training(fold: u32, epoch: u32) -> Job {
        let progress = Progress {
            phase: WirePhase::Training.into(),
            epoch,
            step: 400,
            step_count: 800,
            loss: Some(0.12345),
            images_per_second: 151.7,
            ..Progress::default()
        };
        let newest = EpochMetrics {
            epoch: epoch - 1,
            train_loss: 0.25,
            valid_macro_f1: 0.4512,
            duration_seconds: 600.0,
            ..EpochMetrics::default()
        };
        Job {
            id: i64::from(fold) + 1,
            kind: WireKind::Train.into(),
            fold,
            state: job::State::Leased.into(),
            attempt: 2,
            worker_name: "gpu1-cuda0".into(),
            progress: Some(progress),
            last_epoch: Some(newest),
            best_macro_f1: Some(0.4512),
            best_epoch: Some(epoch - 1),
            ..Job::default()
        }
    }

    pub(crate) fn with_state(fold: u32, state: job::State) -> Job {
        Job { id: i64::from(fold) + 1, kind: WireKind::Train.into(), fold, state: state.into(), ..Job::default() }
    }

    /// The history in which `job` has rising scores up to its newest epoch.
    pub(crate) fn history(jobs: &[Job]) -> EpochHistory {
        let mut history = EpochHistory::default();
        for job in jobs {
            let Some(newest) = job.last_epoch else { continue };
            let score = |epoch: u32| newest.valid_macro_f1 * f64::from(epoch + 1) / f64::from(newest.epoch + 1);
            let epochs = (0..=newest.epoch).map(|epoch| EpochMetrics { epoch, valid_macro_f1: score(epoch), ..newest });
            history.insert(job.id, epochs.collect());
        }
        history
    }

    fn set(jobs: Vec<Job>) -> JobSet {
        JobSet { id: "js-abcdefgh".into(), jobs, spec: Some(spec()), ..JobSet::default() }
    }

    #[test]
    fn eighty_columns_have_what_matters() {
        let mut done = with_state(0, job::State::Succeeded);
        done.last_epoch = Some(EpochMetrics { epoch: 8, valid_macro_f1: 0.5, ..EpochMetrics::default() });
        done.best_macro_f1 = Some(0.5);
        let mut failed = with_state(3, job::State::Failed);
        failed.state_reason = "the loss is not finite ".repeat(9);
        let jobs = vec![done, training(1, 11), with_state(2, job::State::Queued), failed];
        let history = history(&jobs);
        let set = set(jobs);
        let view = View::new(&set, &history);
        let expected = "\
FOLD  STATE      EPOCH  DONE  BEST F1  F1 CURVE  LEFT         WORKER      LOSS
0     succeeded  9/25   -     0.5000   ▁▂▃▄▅▅▆█  -            -           0.0000
1     training   12/25  43%   0.4512   ▁▂▃▄▄▅▆▇  ~2 h 20 min  gpu1-cuda0  0.1235
2     queued     -      -     -                  -            -           -
3     failed     -      -     -                  -            -           -
";
        assert_eq!(fold_tables(&view, &terminal(80, 24)), expected);
        for width in 40..=120 {
            let text = fold_tables(&view, &terminal(width, 24));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert!(text.contains("12/25") && text.contains("0.4512"), "{text}");
        }
        let wide = fold_tables(&view, &terminal(usize::MAX, 24));
        assert!(wide.contains("gpu1-cuda0  0.1235  152       2\n"), "{wide}");
        let notes = notes(&view, &terminal(80, 24));
        assert_eq!(notes.trim_end(), format!("train fold 3: {}", "the loss is not finite ".repeat(9)).trim_end());
    }

    #[test]
    fn columns_keep_their_places_while_folds_are_trained() {
        let later = {
            let mut failing = training(1, 20);
            failing.worker_name = "a-machine-with-a-long-name-cuda0".into();
            vec![training(0, 11), failing, with_state(2, job::State::Succeeded)]
        };
        let begun = vec![training(0, 1), with_state(1, job::State::Queued), with_state(2, job::State::Queued)];
        let waiting: Vec<Job> = (0..3).map(|fold| with_state(fold, job::State::Queued)).collect();
        for width in [80, 100, 120] {
            let headers = [&waiting, &begun, &later].map(|jobs| {
                let (history, set) = (history(jobs), set(jobs.clone()));
                let text = short_table(&View::new(&set, &history), JobKind::Train, &terminal(width, 24), 20);
                let header = text.lines().next().unwrap().to_owned();
                let shown = header.split("  ").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
                let shown: Vec<String> = shown.collect();
                (shown, header.find("LEFT"))
            });
            assert!(headers.windows(2).all(|pair| pair[0] == pair[1]), "{width}: {headers:?}");
        }
    }

    #[test]
    fn of_forty_folds_the_running_ones_are_shown() {
        let mut jobs: Vec<Job> = (0..40).map(|fold| with_state(fold, job::State::Queued)).collect();
        for fold in 0..20 {
            jobs[fold as usize] = with_state(fold, job::State::Succeeded);
        }
        jobs[19] = training(19, 3);
        jobs[33] = training(33, 3);
        jobs[4] = with_state(4, job::State::Failed);
        let history = history(&jobs);
        let set = set(jobs);
        let text = short_table(&View::new(&set, &history), JobKind::Train, &terminal(80, 24), 21);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 21);
        let folds: Vec<&str> = lines[1..20].iter().filter_map(|line| line.split(' ').next()).collect();
        let expected: Vec<String> =
            [4].into_iter().chain(19..=35).chain([36]).map(|fold: u32| fold.to_string()).collect();
        assert_eq!(folds, expected);
        assert_eq!(lines[20], "… and 3 queued, 18 succeeded");
        assert_eq!(short_table(&View::new(&set, &history), JobKind::Train, &terminal(80, 60), 57).lines().count(), 41);
    }

    #[test]
    fn predictions_have_a_table_of_their_own() {
        let progress = Progress {
            phase: WirePhase::Scoring.into(),
            step: 30,
            step_count: 40,
            images_per_second: 16.0,
            ..Progress::default()
        };
        let predicting =
            Job { kind: WireKind::Predict.into(), progress: Some(progress), last_epoch: None, ..training(0, 1) };
        let jobs = vec![with_state(0, job::State::Succeeded), Job { id: 9, ..predicting }];
        let history = EpochHistory::default();
        let set = set(jobs);
        let text = fold_tables(&View::new(&set, &history), &terminal(80, 24));
        assert!(
            text.contains(
                "\n\nFOLD  PREDICTION  DONE  LEFT    WORKER      IMAGES/S  TRY\n0     scoring     75%   ~1 min  "
            ),
            "{text}"
        );
    }

    #[test]
    fn stalled_jobs_say_since_when() {
        let since = Some(fivefold_proto::Timestamp { seconds: 1_735_787_045, nanos: 0 });
        let stalled = Job { stalled_since_time: since, state_reason: "lost".into(), ..training(0, 2) };
        let history = EpochHistory::default();
        let set = set(vec![stalled]);
        let view = View::new(&set, &history);
        assert!(notes(&view, &terminal(80, 24)).starts_with("train fold 0: no progress since 2025-01-0"));
        assert!(fold_tables(&view, &terminal(80, 24)).contains("stalled"));
    }
}
