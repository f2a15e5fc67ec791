//! The output of a watch.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use fivefold_client::Notice;
use fivefold_proto::v1::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::frame::frame;
use crate::connection::notice_text;
use crate::console::{OutputFormat, Verbosity, notify, page, print, print_json, verbosity};
use crate::render::event::{event_line, is_failure};
use crate::render::job::{epoch_count, job_line, job_name, objective, running_progress};
use crate::render::json;
use crate::render::view::View;

/// The shortest time between two lines on the progress of one job.
const PROGRESS_PERIOD: Duration = Duration::from_secs(30);

pub(super) enum Screen {
    /// A terminal: the job set as it is, drawn again with each change.
    Terminal { lines: MultiProgress, frame: ProgressBar },
    /// A file or a pipe, for people: one line per event, and one per job every 30 s.
    Lines { printed: HashMap<i64, (Instant, String)> },
    /// For programs: one document per change.
    Json,
    /// Nothing before the end.
    Silent,
}

impl Screen {
    pub(super) fn new(format: OutputFormat) -> Screen {
        if format == OutputFormat::Json {
            return Screen::Json;
        }
        if verbosity() == Verbosity::Quiet {
            return Screen::Silent;
        }
        if !(std::io::stdout().is_terminal() && std::io::stderr().is_terminal()) {
            return Screen::Lines { printed: HashMap::new() };
        }
        let lines = MultiProgress::new();
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let frame = lines.add(ProgressBar::no_length().with_style(style));
        Screen::Terminal { lines, frame }
    }

    /// Prints the notices of a connection to stderr, above the frame.
    pub(super) fn observer(&self) -> impl Fn(&Notice<'_>) + Send + Sync + 'static {
        let lines = match self {
            Screen::Terminal { lines, .. } => Some(lines.clone()),
            Screen::Lines { .. } | Screen::Json | Screen::Silent => None,
        };
        move |notice| {
            let text = notice_text(notice);
            match &lines {
                // A failed write to the terminal ends no watch.
                Some(lines) => lines.println(format!("fivefold: {text}")).unwrap_or_default(),
                None => notify(&text),
            }
        }
    }

    /// Shows new events, and the job set as it is now.
    pub(super) fn show(&mut self, events: &[Event], view: Option<&View<'_>>) -> anyhow::Result<()> {
        match self {
            Screen::Json => print_json(&json!({
                "events": events.iter().map(json::event).collect::<Vec<_>>(),
                "job_set": view.map(json::job_set_view),
            })),
            Screen::Silent => Ok(()),
            Screen::Lines { printed } => print_lines(events, view, printed),
            Screen::Terminal { lines, frame: drawn } => {
                let jobs = view.map_or(&[][..], |view| &view.set.jobs);
                // The frame shows the rest.
                for event in events.iter().filter(|event| event.job_id == 0 || is_failure(event)) {
                    lines.println(event_line(event, jobs))?;
                }
                if let Some(view) = view {
                    drawn.set_message(frame(view, &page()));
                }
                Ok(())
            }
        }
    }

    /// Prints a warning to stderr, above the frame.
    pub(super) fn warn(&self, text: Option<&str>) -> anyhow::Result<()> {
        match (self, text) {
            (_, None) => {}
            (Screen::Terminal { lines, .. }, Some(text)) => lines.println(format!("fivefold: {text}"))?,
            (Screen::Lines { .. } | Screen::Json | Screen::Silent, Some(text)) => notify(text),
        }
        Ok(())
    }

    /// Leaves the frame on the terminal, with the cursor below it.
    pub(super) fn close(&self) {
        if let Screen::Terminal { frame, .. } = self {
            frame.abandon();
        }
    }
}

fn print_lines(
    events: &[Event],
    view: Option<&View<'_>>,
    printed: &mut HashMap<i64, (Instant, String)>,
) -> anyhow::Result<()> {
    let jobs = view.map_or(&[][..], |view| &view.set.jobs);
    for event in events {
        print(&format!("{}\n", event_line(event, jobs)))?;
    }
    let Some(view) = view else { return Ok(()) };
    for job in jobs.iter().filter(|job| running_progress(job).is_some()) {
        let text = job_line(job, epoch_count(view.set), objective(view.set), view.eta_of(job));
        let is_due = printed.get(&job.id).is_none_or(|(at, last)| at.elapsed() >= PROGRESS_PERIOD && *last != text);
        if is_due {
            print(&format!("{}: {text}\n", job_name(job)))?;
            printed.insert(job.id, (Instant::now(), text));
        }
    }
    Ok(())
}
