//! The output of a watch.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use fivefold_client::Notice;
use fivefold_proto::v1::WatchJobSetResponse;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::connection::notice_text;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::render::event::{event_line, is_failure};
use crate::render::job::{epoch_count, job_line, job_name, job_steps, running_progress};
use crate::render::job_set::headline;
use crate::render::json;

/// The shortest time between two lines on the progress of one job.
const PROGRESS_PERIOD: Duration = Duration::from_secs(30);

pub(super) enum Screen {
    /// A terminal: one bar per job.
    Bars { bars: MultiProgress, head: ProgressBar, by_job: HashMap<i64, ProgressBar> },
    /// A file or a pipe, for people: one line per event, and one per job every 30 s.
    Lines { printed: HashMap<i64, (Instant, String)> },
    /// For programs: one document per change.
    Json,
}

impl Screen {
    pub(super) fn new(format: OutputFormat) -> Screen {
        if format == OutputFormat::Json {
            return Screen::Json;
        }
        if !(std::io::stdout().is_terminal() && std::io::stderr().is_terminal()) {
            return Screen::Lines { printed: HashMap::new() };
        }
        let bars = MultiProgress::new();
        let head = bars.add(ProgressBar::no_length().with_style(style("{msg}")));
        Screen::Bars { bars, head, by_job: HashMap::new() }
    }

    /// Prints the notices of a connection to stderr, above the bars.
    pub(super) fn observer(&self) -> impl Fn(&Notice<'_>) + Send + Sync + 'static {
        let bars = match self {
            Screen::Bars { bars, .. } => Some(bars.clone()),
            Screen::Lines { .. } | Screen::Json => None,
        };
        move |notice| {
            let text = notice_text(notice);
            match &bars {
                // A failed write to the terminal ends no watch.
                Some(bars) => bars.println(format!("fivefold: {text}")).unwrap_or_default(),
                None => notify(&text),
            }
        }
    }

    pub(super) fn show(&mut self, change: &WatchJobSetResponse) -> anyhow::Result<()> {
        match self {
            Screen::Json => print_json(&json!({
                "events": change.events.iter().map(json::event).collect::<Vec<_>>(),
                "job_set": change.job_set.as_ref().map(json::job_set),
            })),
            Screen::Lines { printed } => print_lines(change, printed),
            Screen::Bars { bars, head, by_job } => draw_bars(change, bars, head, by_job),
        }
    }

    /// Leaves the bars on the terminal, with the cursor below them.
    pub(super) fn close(&self) {
        if let Screen::Bars { head, by_job, .. } = self {
            for bar in std::iter::once(head).chain(by_job.values()) {
                bar.abandon();
            }
        }
    }
}

fn print_lines(change: &WatchJobSetResponse, printed: &mut HashMap<i64, (Instant, String)>) -> anyhow::Result<()> {
    let jobs = change.job_set.as_ref().map_or(&[][..], |job_set| &job_set.jobs);
    for event in &change.events {
        print(&format!("{}\n", event_line(event, jobs)))?;
    }
    let epoch_count = change.job_set.as_ref().map_or(0, epoch_count);
    for job in jobs.iter().filter(|job| running_progress(job).is_some()) {
        let text = job_line(job, epoch_count);
        let is_due = printed.get(&job.id).is_none_or(|(at, last)| at.elapsed() >= PROGRESS_PERIOD && *last != text);
        if is_due {
            print(&format!("{}: {text}\n", job_name(job)))?;
            printed.insert(job.id, (Instant::now(), text));
        }
    }
    Ok(())
}

fn draw_bars(
    change: &WatchJobSetResponse,
    bars: &MultiProgress,
    head: &ProgressBar,
    by_job: &mut HashMap<i64, ProgressBar>,
) -> anyhow::Result<()> {
    let jobs = change.job_set.as_ref().map_or(&[][..], |job_set| &job_set.jobs);
    // The bars show the rest.
    for event in change.events.iter().filter(|event| event.job_id == 0 || is_failure(event)) {
        bars.println(event_line(event, jobs))?;
    }
    if let Some(job_set) = &change.job_set {
        head.set_message(headline(job_set));
    }
    let epoch_count = change.job_set.as_ref().map_or(0, epoch_count);
    for job in jobs {
        let bar = by_job.entry(job.id).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(1).with_style(style("{prefix:<15} [{bar:20}] {wide_msg}")));
            bar.set_prefix(job_name(job));
            bar
        });
        let (completed, total) = job_steps(job);
        bar.set_length(total);
        bar.set_position(completed);
        bar.set_message(job_line(job, epoch_count));
    }
    Ok(())
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
