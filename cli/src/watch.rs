//! `fivefold watch`: follows a job set until it ends, over any number of restarts of the coordinator.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use fivefold_proto::v1::{Event, Job, JobSet, WatchJobSetRequest, WatchJobSetResponse, job, job_set};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::connection::{Coordinator, in_time, say_on_stderr};
use crate::failure::{Ending, one_line};
use crate::job_sets::{JobSetArgs, checked_id, f1, get, headline, loss, to_seconds};
use crate::json::{event_json, job_kind, job_set_json, job_state, phase};
use crate::output::{OutputFormat, print, print_json};

/// In plain lines, how often one job's progress is told.
const PROGRESS_PERIOD: Duration = Duration::from_secs(30);
/// Before a stream that ended too early is asked for again.
const STREAM_PAUSE: Duration = Duration::from_millis(500);

/// Follows the job set; Ctrl-C ends that, and nothing else.
pub(crate) async fn run(args: &JobSetArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<Ending> {
    let id = checked_id(&args.id)?;
    let mut screen = Screen::new(format);
    let job_set = tokio::select! {
        followed = follow(&id, coordinator, &mut screen) => followed?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            screen.close();
            say_on_stderr(&format!("detached; {id} goes on, `fivefold watch {id}` shows it again"));
            return Ok(Ending::Interrupted);
        }
    };
    screen.close();
    finish(&job_set, format)
}

/// Shows all that happens until the job set has ended; returns it as it is then.
async fn follow(id: &str, coordinator: &Coordinator, screen: &mut Screen) -> anyhow::Result<JobSet> {
    let mut outage = coordinator.outage();
    let mut after_cursor = 0;
    loop {
        let request = WatchJobSetRequest { job_set_id: id.to_owned(), after_cursor };
        let mut changes = match in_time(coordinator.job_sets().watch_job_set(request)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                outage.wait_or_refuse(status, |text| screen.say(text)).await?;
                continue;
            }
        };
        let mut last = None;
        let broken = loop {
            // Nothing may happen for hours: a coordinator that is gone is noticed by its connection.
            match changes.message().await {
                Ok(Some(change)) => {
                    outage.end(|text| screen.say(text));
                    after_cursor = change.events.iter().map(|event| event.cursor).fold(after_cursor, i64::max);
                    screen.show(&change)?;
                    last = change.job_set.or(last);
                }
                Ok(None) => break None,
                Err(status) => break Some(status),
            }
        };
        match (broken, last) {
            // Events may be missing: they come with the next stream.
            (Some(status), _) => outage.wait_or_refuse(status, |text| screen.say(text)).await?,
            (None, Some(job_set)) if ending(&job_set).is_some() => return Ok(job_set),
            // Ended before the job set did, as when the coordinator stops in good order.
            (None, Some(_)) => tokio::time::sleep(STREAM_PAUSE).await,
            (None, None) => {
                let job_set = get(coordinator, id).await?;
                if ending(&job_set).is_some() {
                    return Ok(job_set);
                }
                tokio::time::sleep(STREAM_PAUSE).await;
            }
        }
    }
}

/// How the job set ended, if it did.
fn ending(job_set: &JobSet) -> Option<Ending> {
    match job_set.state() {
        job_set::State::Succeeded => Some(Ending::Succeeded),
        job_set::State::Failed => Some(Ending::Failed),
        job_set::State::Cancelled => Some(Ending::Cancelled),
        job_set::State::Training | job_set::State::Predicting | job_set::State::Unspecified => None,
    }
}

fn finish(job_set: &JobSet, format: OutputFormat) -> anyhow::Result<Ending> {
    let ending = ending(job_set).unwrap_or(Ending::Failed);
    if format == OutputFormat::Text {
        print(&format!("{}\n", headline(job_set)))?;
        for job in job_set.jobs.iter().filter(|job| job.state() == job::State::Failed) {
            print(&format!("  {}: {}\n", job_name(job), one_line(&job.state_reason)))?;
        }
        let id = &job_set.id;
        match ending {
            Ending::Succeeded => say_on_stderr(&format!("`fivefold results {id} --out DIR` fetches the files")),
            Ending::Failed | Ending::Cancelled => say_on_stderr(&format!("`fivefold retry {id}` tries again")),
            Ending::Usage | Ending::Unreachable | Ending::Interrupted => {}
        }
    }
    Ok(ending)
}

fn job_name(job: &Job) -> String {
    format!("{} fold {}", job_kind(job.kind()), job.fold)
}

/// Where a watch is shown.
enum Screen {
    /// A terminal: one bar per job that moves.
    Bars { bars: MultiProgress, head: ProgressBar, by_job: HashMap<i64, ProgressBar> },
    /// A file or a pipe for people: one line per event, and now and then one per job.
    Lines { told: HashMap<i64, (Instant, String)> },
    /// A program: one JSON document per change.
    Json,
}

impl Screen {
    fn new(format: OutputFormat) -> Screen {
        if format == OutputFormat::Json {
            return Screen::Json;
        }
        if !(std::io::stdout().is_terminal() && std::io::stderr().is_terminal()) {
            return Screen::Lines { told: HashMap::new() };
        }
        let bars = MultiProgress::new();
        let head = bars.add(ProgressBar::no_length().with_style(style("{msg}")));
        Screen::Bars { bars, head, by_job: HashMap::new() }
    }

    fn say(&self, text: &str) {
        match self {
            // A terminal that cannot be written to shows nothing more.
            Screen::Bars { bars, .. } => bars.println(format!("fivefold: {text}")).unwrap_or_default(),
            Screen::Lines { .. } | Screen::Json => say_on_stderr(text),
        }
    }

    fn show(&mut self, change: &WatchJobSetResponse) -> anyhow::Result<()> {
        let jobs = change.job_set.as_ref().map_or(&[][..], |job_set| &job_set.jobs);
        match self {
            Screen::Json => {
                return print_json(&json!({
                    "events": change.events.iter().map(event_json).collect::<Vec<_>>(),
                    "job_set": change.job_set.as_ref().map(job_set_json),
                }));
            }
            Screen::Lines { told } => {
                for event in &change.events {
                    print(&format!("{}\n", event_line(event, jobs)))?;
                }
                for job in jobs.iter().filter(|job| job.state() == job::State::Leased && job.progress.is_some()) {
                    let text = job_text(job);
                    let due =
                        told.get(&job.id).is_none_or(|(at, last)| at.elapsed() >= PROGRESS_PERIOD && *last != text);
                    if due {
                        print(&format!("{}: {text}\n", job_name(job)))?;
                        told.insert(job.id, (Instant::now(), text));
                    }
                }
            }
            Screen::Bars { bars, head, by_job } => {
                // The bars say the rest: only what went wrong, and the job set's own turns, scroll by.
                for event in change.events.iter().filter(|event| event.job_id == 0 || is_trouble(&event.name)) {
                    bars.println(event_line(event, jobs))?;
                }
                if let Some(job_set) = &change.job_set {
                    head.set_message(headline(job_set));
                }
                for job in jobs {
                    let bar = by_job.entry(job.id).or_insert_with(|| {
                        let bar = bars.add(ProgressBar::new(1).with_style(style("{prefix:<15} [{bar:20}] {wide_msg}")));
                        bar.set_prefix(job_name(job));
                        bar
                    });
                    let (position, length) = bar_of(job);
                    bar.set_length(length);
                    bar.set_position(position);
                    bar.set_message(job_text(job));
                }
            }
        }
        Ok(())
    }

    /// Leaves the bars as they are, and the cursor below them.
    fn close(&self) {
        if let Screen::Bars { head, by_job, .. } = self {
            for bar in std::iter::once(head).chain(by_job.values()) {
                bar.abandon();
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// Whether an event of this name should catch the eye.
fn is_trouble(name: &str) -> bool {
    ["fail", "lost", "expire", "retr", "cancel", "release"].iter().any(|word| name.contains(word))
}

/// Done and total steps of what the job is doing.
fn bar_of(job: &Job) -> (u64, u64) {
    match (job.state(), job.progress) {
        (job::State::Succeeded, _) => (1, 1),
        (job::State::Leased, Some(progress)) => (u64::from(progress.step), u64::from(progress.step_count.max(1))),
        _ => (0, 1),
    }
}

/// What a job is doing, with its loss and F1.
fn job_text(job: &Job) -> String {
    let mut text = match (job.state(), job.progress) {
        (job::State::Leased, Some(progress)) => {
            let mut text = phase(progress.phase()).to_owned();
            if progress.step_count > 0 {
                text += &format!(" {}/{}", progress.step, progress.step_count);
            }
            format!("epoch {}, {text}", progress.epoch + 1)
        }
        (job::State::Leased, None) => "starting".to_owned(),
        (state, _) => job_state(state).to_owned(),
    };
    if let Some(loss) = loss(job) {
        text += &format!(", loss {loss:.4}");
    }
    if let Some(f1) = f1(job) {
        text += &format!(", F1 {f1:.4}");
    }
    if let (job::State::Leased, Some(progress)) = (job.state(), job.progress) {
        if progress.images_per_second > 0.0 {
            text += &format!(", {:.0} images/s", progress.images_per_second);
        }
        text += &format!(", {}", one_line(&job.worker_name));
    }
    if !job.state_reason.is_empty() && job.state() != job::State::Leased {
        text += &format!(", {}", one_line(&job.state_reason));
    }
    text
}

fn event_line(event: &Event, jobs: &[Job]) -> String {
    let time = event.time.map_or(String::new(), |time| to_seconds(&time.to_string()) + " ");
    // A message may name its fold itself.
    let message = one_line(&event.message);
    let job = jobs.iter().find(|job| job.id == event.job_id && !message.contains(&format!("fold {}", job.fold)));
    let job = job.map_or(String::new(), |job| job_name(job) + ": ");
    format!("{time}{job}{message}")
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{EpochMetrics, JobKind, Phase, Progress};

    use super::*;

    fn job() -> Job {
        let progress = Progress {
            phase: Phase::Training.into(),
            epoch: 2,
            step: 120,
            step_count: 800,
            loss: Some(0.12345),
            images_per_second: 151.7,
            ..Progress::default()
        };
        Job {
            id: 7,
            kind: JobKind::Train.into(),
            fold: 3,
            state: job::State::Leased.into(),
            worker_name: "gpu1".into(),
            progress: Some(progress),
            last_epoch: Some(EpochMetrics { valid_macro_f1: 0.456, ..EpochMetrics::default() }),
            ..Job::default()
        }
    }

    #[test]
    fn a_job_is_told_in_a_line() {
        assert_eq!(job_text(&job()), "epoch 3, training 120/800, loss 0.1235, F1 0.4560, 152 images/s, gpu1");
        assert_eq!(bar_of(&job()), (120, 800));
        let waiting = Job { state: job::State::Queued.into(), state_reason: "lost".into(), ..Job::default() };
        assert_eq!(job_text(&waiting), "queued, lost");
        assert_eq!(bar_of(&waiting), (0, 1));
    }

    #[test]
    fn events_name_their_job_once() {
        let event = |message: &str| Event { job_id: 7, message: message.into(), ..Event::default() };
        assert_eq!(event_line(&event("epoch 3 ended"), &[job()]), "train fold 3: epoch 3 ended");
        assert_eq!(event_line(&event("fold 3 was leased"), &[job()]), "fold 3 was leased");
    }

    #[test]
    fn the_exit_code_says_how_it_ended() {
        let set = |state: job_set::State| JobSet { state: state.into(), ..JobSet::default() };
        assert_eq!(ending(&set(job_set::State::Cancelled)), Some(Ending::Cancelled));
        assert_eq!(ending(&set(job_set::State::Failed)), Some(Ending::Failed));
        assert_eq!(ending(&set(job_set::State::Predicting)), None);
    }
}
