//! `fivefold watch`. A watch survives restarts of the coordinator.

mod frame;
mod screen;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use fivefold_client::Connection;
use fivefold_common::ids::JobSetId;
use fivefold_common::job::JobState;
use fivefold_common::job_set::JobSetState;
use fivefold_common::one_line::one_line;
use fivefold_proto::convert::{job_set_state_from_wire, job_state_from_wire};
use fivefold_proto::v1::{JobSet, WatchJobSetRequest};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::screen::Screen;
use crate::commands::{JobSetArgs, get_job_set};
use crate::console::{OutputFormat, notify, print};
use crate::epoch_metrics;
use crate::exit_status::ExitStatus;
use crate::missing_workers::missing_workers;
use crate::render::epoch_history::EpochHistory;
use crate::render::job::job_name;
use crate::render::job_set::headline;
use crate::render::view::View;
use crate::tensorboard;

/// The pause before a stream is opened again that ended before the job set did.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// How soon after the start, and how often after that, workers are looked for.
const LOOK_FOR_WORKERS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    of: JobSetArgs,
    /// Folder for TensorBoard: each epoch is added as it is reported, to DIR/ID/fold-0 and so on
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
}

/// Follows the job set until it ends. Ctrl-C stops the watch, not the job set.
pub(crate) async fn run(
    args: &WatchArgs,
    coordinator: &Connection,
    format: OutputFormat,
) -> anyhow::Result<ExitStatus> {
    if let Some(folder) = &args.tensorboard {
        tensorboard::prepare(folder)?;
    }
    let id = &args.of.id.resolve(coordinator).await?;
    let mut screen = Screen::new(format);
    let job_set = tokio::select! {
        followed = follow(id, coordinator, args.tensorboard.as_deref(), &mut screen) => followed?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            screen.close();
            notify(&format!("detached; {id} continues, `fivefold watch {id}` follows it again"));
            return Ok(ExitStatus::Interrupted);
        }
    };
    screen.close();
    let status = exit_status(&job_set).unwrap_or(ExitStatus::Failed);
    if format == OutputFormat::Text {
        print_outcome(&job_set, status)?;
    }
    Ok(status)
}

/// Shows all changes until the job set has ended, and returns it.
async fn follow(
    id: &JobSetId,
    coordinator: &Connection,
    tensorboard: Option<&Path>,
    screen: &mut Screen,
) -> anyhow::Result<JobSet> {
    let coordinator = &coordinator.with_observer(screen.observer());
    let mut retries = coordinator.retries();
    let mut after_cursor = 0;
    let mut history = EpochHistory::default();
    let mut ticks = interval_at(Instant::now() + LOOK_FOR_WORKERS.0, LOOK_FOR_WORKERS.1);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missing = None;
    loop {
        let request = WatchJobSetRequest { job_set_id: id.to_string(), after_cursor };
        let mut changes = match retries.attempt(coordinator.job_sets().watch_job_set(request)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                retries.wait(status).await?;
                continue;
            }
        };
        let mut last = None;
        let broken = loop {
            // No timeout: hours may pass between two changes. HTTP/2 pings detect a lost connection.
            let change = tokio::select! {
                change = changes.message() => change,
                _ = ticks.tick() => {
                    if let Some(job_set) = &last {
                        let before = std::mem::replace(&mut missing, missing_workers(coordinator, job_set).await);
                        screen.warn(missing.as_deref().filter(|_| missing != before))?;
                    }
                    continue;
                }
            };
            match change {
                Ok(Some(change)) => {
                    retries.succeeded();
                    after_cursor = change.events.iter().map(|event| event.cursor).fold(after_cursor, i64::max);
                    if let Some(job_set) = &change.job_set {
                        epoch_metrics::update(&mut history, coordinator, job_set).await?;
                        write_epochs(tensorboard, last.as_ref(), job_set, &history)?;
                    }
                    let view = change.job_set.as_ref().map(|job_set| View::new(job_set, &history));
                    screen.show(&change.events, view.as_ref())?;
                    last = change.job_set.or(last);
                }
                Ok(None) => break None,
                Err(status) => break Some(status),
            }
        };
        if let Some(status) = broken {
            // Events after the cursor arrive with the next stream.
            retries.wait(status).await?;
            continue;
        }
        let job_set = match last {
            Some(job_set) => job_set,
            None => get_job_set(coordinator, id).await?,
        };
        if exit_status(&job_set).is_some() {
            return Ok(job_set);
        }
        // The coordinator ended the stream early, for instance because it is shutting down.
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

/// Adds the epochs to the folder for TensorBoard, if there is one, and they are others than in the job set `before`.
fn write_epochs(
    folder: Option<&Path>,
    before: Option<&JobSet>,
    job_set: &JobSet,
    history: &EpochHistory,
) -> anyhow::Result<()> {
    let newest = |job_set: &JobSet| job_set.jobs.iter().map(|job| job.last_epoch).collect::<Vec<_>>();
    if let Some(folder) = folder
        && before.map(newest) != Some(newest(job_set))
    {
        tensorboard::update(folder, job_set, history)?;
    }
    Ok(())
}

/// The exit status for a job set that has ended.
fn exit_status(job_set: &JobSet) -> Option<ExitStatus> {
    match job_set_state_from_wire(job_set.state) {
        Ok(JobSetState::Succeeded) => Some(ExitStatus::Succeeded),
        Ok(JobSetState::Failed) => Some(ExitStatus::Failed),
        Ok(JobSetState::Cancelled) => Some(ExitStatus::Cancelled),
        Ok(JobSetState::Training | JobSetState::Predicting) | Err(_) => None,
    }
}

/// Prints the job set, its failed jobs, and the next command.
fn print_outcome(job_set: &JobSet, status: ExitStatus) -> anyhow::Result<()> {
    let mut text = format!("{}\n", headline(job_set));
    for job in job_set.jobs.iter().filter(|job| job_state_from_wire(job.state) == Ok(JobState::Failed)) {
        text += &format!("  {}: {}\n", job_name(job), one_line(&job.state_reason));
    }
    print(&text)?;
    let id = &job_set.id;
    if status == ExitStatus::Succeeded {
        notify(&format!("`fivefold results {id} --out DIR` downloads the results"));
    } else {
        notify(&format!("`fivefold retry {id}` queues the failed and cancelled jobs again"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::job_set;

    use super::*;

    #[test]
    fn the_exit_status_is_that_of_the_job_set() {
        let set = |state: job_set::State| JobSet { state: state.into(), ..JobSet::default() };
        assert_eq!(exit_status(&set(job_set::State::Cancelled)), Some(ExitStatus::Cancelled));
        assert_eq!(exit_status(&set(job_set::State::Failed)), Some(ExitStatus::Failed));
        assert_eq!(exit_status(&set(job_set::State::Predicting)), None);
        assert_eq!(exit_status(&set(job_set::State::Unspecified)), None);
    }
}
