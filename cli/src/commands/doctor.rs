//! `fivefold doctor`: checks of a machine, each with its remedy.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use fivefold_client::{Address, CallError, Connection, Failure, RetryPolicy};
use fivefold_common::one_line::one_line;
use fivefold_proto::status::Reason;
use fivefold_proto::v1::{ListWorkersRequest, ListWorkersResponse};
use serde_json::json;

use crate::console::{OutputFormat, print, print_json};
use crate::exit_status::ExitStatus;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Image folder, for a machine that trains
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Scratch folder of the worker [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Worker program [default: beside this program, or on the PATH]
    #[arg(long, value_name = "FILE")]
    worker: Option<PathBuf>,
}

/// The longest wait for an answer of the coordinator.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker's need of scratch space: a few checkpoints of a ResNet50 with Adam's moments, 300 MB each.
const SCRATCH_MB: u64 = 3000;
/// Clocks further apart than this make displayed times misleading. Leases depend on the coordinator's clock alone.
const MAX_CLOCK_SKEW_SECONDS: i64 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rating {
    Good,
    Doubtful,
    Bad,
}

impl Rating {
    fn word(self) -> &'static str {
        match self {
            Rating::Good => "good",
            Rating::Doubtful => "doubtful",
            Rating::Bad => "bad",
        }
    }
}

#[derive(Debug)]
struct Finding {
    rating: Rating,
    message: String,
}

fn good(message: impl Into<String>) -> Finding {
    Finding { rating: Rating::Good, message: message.into() }
}

fn doubtful(message: impl Into<String>) -> Finding {
    Finding { rating: Rating::Doubtful, message: message.into() }
}

fn bad(message: impl Into<String>) -> Finding {
    Finding { rating: Rating::Bad, message: message.into() }
}

/// Checks the machine and prints the findings. The status is `Failed` if one of them is bad.
pub(crate) async fn run(
    args: &DoctorArgs,
    coordinator: anyhow::Result<Connection>,
    format: OutputFormat,
) -> anyhow::Result<ExitStatus> {
    let mut findings = match coordinator {
        Ok(coordinator) => check_coordinator(&coordinator).await,
        Err(error) => vec![bad(one_line(&format!("{error:#}")))],
    };
    findings.extend(check_worker(args.worker.as_deref()));
    if let Some(data) = &args.data {
        findings.extend(check_images(data));
    }
    findings.push(check_disk(args.scratch.as_deref().unwrap_or(&std::env::temp_dir())));
    match format {
        OutputFormat::Json => {
            let list: Vec<_> = findings
                .iter()
                .map(|finding| json!({ "verdict": finding.rating.word(), "what": finding.message }))
                .collect();
            print_json(&json!({ "findings": list }))?;
        }
        OutputFormat::Text => {
            let lines: Vec<String> =
                findings.iter().map(|finding| format!("{:<9} {}\n", finding.rating.word(), finding.message)).collect();
            print(&lines.concat())?;
        }
    }
    let is_bad = findings.iter().any(|finding| finding.rating == Rating::Bad);
    Ok(if is_bad { ExitStatus::Failed } else { ExitStatus::Succeeded })
}

/// Checks address, certificates, token and clock.
async fn check_coordinator(coordinator: &Connection) -> Vec<Finding> {
    let address = coordinator.address();
    let once = coordinator.with_retry_policy(RetryPolicy::interactive(Some(Duration::ZERO)));
    let call = once.call(ListWorkersRequest {}, async |c, r| c.workers().list_workers(r).await);
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Err(_) => {
            vec![bad(format!("{address} does not answer; check --coordinator and that the coordinator is running"))]
        }
        Ok(Err(error)) => vec![refusal(address, &error)],
        Ok(Ok(answer)) => vec![good(format!("the coordinator at {address} answers")), clock(&answer)],
    }
}

fn refusal(address: &Address, error: &CallError) -> Finding {
    match error {
        CallError::Refused(refusal) if refusal.reason() == Some(Reason::RoleNotEnough) => {
            good(format!("the coordinator at {address} answers; the token has the role worker"))
        }
        CallError::Unreachable(unreachable) => match &unreachable.failure {
            Failure::Away(problem) if problem.is_lasting() => {
                bad(format!("{address}: {}", one_line(&problem.to_string())))
            }
            failure => bad(format!(
                "{address} cannot be reached ({}); check --coordinator and that the coordinator is running",
                one_line(&failure.to_string())
            )),
        },
        CallError::Refused(_) | CallError::LeaseLost(_) | CallError::Cancelled => {
            bad(format!("{address}: {}", one_line(&error.to_string())))
        }
    }
}

fn clock(answer: &ListWorkersResponse) -> Finding {
    let Some(theirs) = answer.server_time else { return doubtful("the coordinator does not send its time") };
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    match ours - theirs.seconds {
        skew if skew.abs() <= MAX_CLOCK_SKEW_SECONDS => good("the clocks agree"),
        skew => doubtful(format!(
            "this machine's clock is {} s {} the coordinator's: displayed times are wrong, leases are not affected; \
             synchronise it with NTP",
            skew.abs(),
            if skew > 0 { "ahead of" } else { "behind" }
        )),
    }
}

/// The output of a program, or why there is none.
fn output_of(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Checks that the worker program runs and sees every CUDA card.
fn check_worker(named: Option<&Path>) -> Vec<Finding> {
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name("fivefold-worker"));
    let program = match (named, beside) {
        (Some(named), _) => named.to_owned(),
        (None, Some(beside)) if beside.exists() => beside,
        _ => PathBuf::from("fivefold-worker"),
    };
    match output_of(&program, &["devices"]) {
        Ok(devices) => worker_devices(&devices),
        Err(problem) if named.is_none() && !program.is_absolute() => vec![doubtful(format!(
            "fivefold-worker is not installed here ({}); machines that train need it",
            one_line(&problem)
        ))],
        Err(problem) => vec![bad(format!(
            "{} does not run ({}); set up libtorch with `deploy/libtorch.sh`, then build the worker again",
            program.display(),
            one_line(&problem)
        ))],
    }
}

/// The findings on the output of `fivefold-worker devices`: a line about libtorch, then one per device.
fn worker_devices(output: &str) -> Vec<Finding> {
    let cards = output_of(Path::new("nvidia-smi"), &["--query-gpu=name", "--format=csv,noheader"]);
    let card_count = cards.map_or(0, |cards| cards.lines().count());
    let mut lines = output.lines();
    let mut findings = vec![good(format!("the worker runs, with {}", lines.next().unwrap_or("libtorch")))];
    let seen: Vec<&str> = lines.collect();
    findings.extend(seen.iter().map(|device| good(one_line(device).into_owned())));
    if seen.len() < card_count {
        findings.push(bad(format!(
            "libtorch sees {} of {card_count} CUDA cards; run `deploy/libtorch.sh --cuda`, or set \
             LD_LIBRARY_PATH=.../site-packages/torch/lib of an installed PyTorch 2.11.0",
            seen.len()
        )));
    } else if seen.is_empty() {
        findings.push(doubtful("there is no CUDA card; training on the CPU is slow"));
    }
    findings
}

/// Counts the images of each colour. Only a machine without training images cannot train.
fn check_images(data: &Path) -> Vec<Finding> {
    if !data.is_dir() {
        return vec![bad(format!("{} is not a folder; it should contain train/, hpa/ and test/", data.display()))];
    }
    [("train", Rating::Bad), ("hpa", Rating::Doubtful), ("test", Rating::Doubtful)]
        .map(|(list, if_missing)| check_image_folder(&data.join(list), if_missing))
        .into()
}

fn check_image_folder(folder: &Path, if_missing: Rating) -> Finding {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Finding { rating: if_missing, message: format!("{} does not exist", folder.display()) };
    };
    let mut counts = [0; 3];
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        for (count, colour) in counts.iter_mut().zip(["_red", "_green", "_blue"]) {
            *count += usize::from(stem.ends_with(colour));
        }
    }
    let [red, green, blue] = counts;
    let message = format!("{}: {red} red, {green} green and {blue} blue images", folder.display());
    if red == green && green == blue && red > 0 { good(message) } else { bad(format!("{message}; some are missing")) }
}

fn check_disk(scratch: &Path) -> Finding {
    let folder = scratch.display();
    match rustix::fs::statvfs(scratch).map(|disk| disk.f_bavail * disk.f_frsize / (1 << 20)) {
        Err(error) => doubtful(format!("cannot read the free space of {folder}: {error}")),
        Ok(free_mb) if free_mb < SCRATCH_MB => bad(format!(
            "{folder} has {free_mb} MB free, and a worker needs {SCRATCH_MB} MB; name another folder with --scratch"
        )),
        Ok(free_mb) => good(format!("{folder} has {free_mb} MB free")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_images_are_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check_images(&folder.path().join("nowhere"))[0].rating, Rating::Bad);
        let train = folder.path().join("train");
        std::fs::create_dir(&train).unwrap();
        for name in ["a_red.png", "a_green.png", "a_blue.png", "a_yellow.png", "b_red.jpg"] {
            std::fs::write(train.join(name), "").unwrap();
        }
        let found = check_images(folder.path());
        assert!(found[0].rating == Rating::Bad && found[0].message.contains("2 red, 1 green and 1 blue"), "{found:?}");
        assert_eq!((found[1].rating, found[2].rating), (Rating::Doubtful, Rating::Doubtful));
        std::fs::remove_file(train.join("b_red.jpg")).unwrap();
        assert_eq!(check_images(folder.path())[0].rating, Rating::Good);
    }

    #[test]
    fn a_worker_that_does_not_run_is_found() {
        let found = check_worker(Some(Path::new("/nowhere/fivefold-worker")));
        assert!(found[0].rating == Rating::Bad && found[0].message.contains("does not run"), "{found:?}");
    }

    #[test]
    fn the_free_space_of_a_folder_is_read() {
        assert!(check_disk(&std::env::temp_dir()).message.contains(" MB free"));
        assert_eq!(check_disk(Path::new("/nowhere")).rating, Rating::Doubtful);
    }
}
