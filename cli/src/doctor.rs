//! `fivefold doctor`: what is wrong with a machine, and how to mend it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1::{ListWorkersRequest, ListWorkersResponse};
use serde_json::json;
use tonic::Status;

use crate::connection::Coordinator;
use crate::failure::{Ending, one_line, problem_of};
use crate::output::{OutputFormat, print, print_json};

/// Arguments of `fivefold doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The images' folder, on a machine that is to train
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the worker keeps its checkpoints meanwhile [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// The worker's program [default: beside this one, or on the PATH]
    #[arg(long, value_name = "FILE")]
    worker: Option<PathBuf>,
}

/// How long the coordinator may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a worker needs of its scratch folder: a few checkpoints of ResNet50 with Adam's moments, 300 MB each.
const SCRATCH_MB: u64 = 3000;
/// Clocks that differ by more make times on the screen misleading. Leases go by the coordinator's alone.
const MOST_SKEW_SECONDS: i64 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Doubtful,
    Bad,
}

#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    what: String,
}

fn good(what: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Good, what: what.into() }
}

fn doubtful(what: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Doubtful, what: what.into() }
}

fn bad(what: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Bad, what: what.into() }
}

/// Looks at this machine and prints what it finds. Fails when something keeps it from working.
pub(crate) async fn run(args: &DoctorArgs, coordinator: &Coordinator, format: OutputFormat) -> anyhow::Result<Ending> {
    let mut findings = coordinator_and_clock(coordinator).await;
    findings.extend(worker_and_devices(args.worker.as_deref()));
    if let Some(data) = &args.data {
        findings.extend(images(data));
    }
    findings.push(room(args.scratch.as_deref().unwrap_or(&std::env::temp_dir())));
    let word = |verdict| match verdict {
        Verdict::Good => "good",
        Verdict::Doubtful => "doubtful",
        Verdict::Bad => "bad",
    };
    match format {
        OutputFormat::Json => {
            let list: Vec<_> =
                findings.iter().map(|found| json!({ "verdict": word(found.verdict), "what": found.what })).collect();
            print_json(&json!({ "findings": list }))?;
        }
        OutputFormat::Text => {
            let lines: Vec<String> =
                findings.iter().map(|found| format!("{:<9} {}\n", word(found.verdict), found.what)).collect();
            print(&lines.concat())?;
        }
    }
    let is_ill = findings.iter().any(|found| found.verdict == Verdict::Bad);
    Ok(if is_ill { Ending::Failed } else { Ending::Succeeded })
}

async fn coordinator_and_clock(coordinator: &Coordinator) -> Vec<Finding> {
    let (url, mut workers) = (coordinator.url(), coordinator.workers());
    let answer = tokio::time::timeout(PATIENCE, workers.list_workers(ListWorkersRequest {})).await;
    match answer.map(|answer| answer.map(tonic::Response::into_inner)) {
        Err(_) => vec![bad(format!("{url} does not answer: is the coordinator running, and is the address right?"))],
        Ok(Err(status)) => vec![refusal(url, &status)],
        Ok(Ok(answer)) => vec![good(format!("the coordinator at {url} answers")), clock(&answer)],
    }
}

fn refusal(url: &str, status: &Status) -> Finding {
    let problem = one_line(&problem_of(status));
    if has_reason(status, Reason::RoleNotEnough) {
        return good(format!("the coordinator at {url} answers; the token is a worker's"));
    }
    if has_reason(status, Reason::TokenNeeded) {
        return bad(format!("{url}: {problem}"));
    }
    bad(format!(
        "{url} cannot be reached ({problem}): is the coordinator running, and are address and --ca-cert right?"
    ))
}

fn clock(answer: &ListWorkersResponse) -> Finding {
    let Some(theirs) = answer.server_time else { return doubtful("the coordinator does not say what time it is") };
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    match ours - theirs.seconds {
        skew if skew.abs() <= MOST_SKEW_SECONDS => good("the clocks agree"),
        skew => doubtful(format!(
            "this machine's clock is {} s {} the coordinator's: times look wrong, leases are not harmed; set it by NTP",
            skew.abs(),
            if skew > 0 { "ahead of" } else { "behind" }
        )),
    }
}

/// What a program prints, or why it prints nothing.
fn output_of(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn worker_and_devices(named: Option<&Path>) -> Vec<Finding> {
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name("fivefold-worker"));
    let program = match (named, beside) {
        (Some(named), _) => named.to_owned(),
        (None, Some(beside)) if beside.exists() => beside,
        _ => PathBuf::from("fivefold-worker"),
    };
    let cards = output_of(Path::new("nvidia-smi"), &["--query-gpu=name", "--format=csv,noheader"]);
    let card_count = cards.as_ref().map_or(0, |cards| cards.lines().count());
    match output_of(&program, &["devices"]) {
        Err(problem) if named.is_none() && !program.is_absolute() => {
            vec![doubtful(format!(
                "there is no fivefold-worker here ({}): one is needed where folds are trained",
                one_line(&problem)
            ))]
        }
        Err(problem) => vec![bad(format!(
            "{} does not run ({}): `deploy/libtorch.sh` sets libtorch up, then build it again",
            program.display(),
            one_line(&problem)
        ))],
        Ok(devices) => {
            let mut lines = devices.lines();
            let mut findings = vec![good(format!("the worker runs, with {}", lines.next().unwrap_or("libtorch")))];
            let seen: Vec<&str> = lines.collect();
            findings.extend(seen.iter().map(|device| good(one_line(device))));
            if seen.len() < card_count {
                findings.push(bad(format!(
                    "this machine has {card_count} CUDA cards and libtorch sees {}: `deploy/libtorch.sh --cuda`, or \
                     LD_LIBRARY_PATH=…/site-packages/torch/lib of a PyTorch 2.11.0",
                    seen.len()
                )));
            } else if seen.is_empty() {
                findings.push(doubtful("there is no CUDA card: folds are trained on the CPU, which is slow"));
            }
            findings
        }
    }
}

fn images(data: &Path) -> Vec<Finding> {
    if !data.is_dir() {
        return vec![bad(format!("{} is no folder: it should hold train/, hpa/ and test/", data.display()))];
    }
    let of_list = |list: &str| {
        let folder = data.join(list);
        let Ok(entries) = std::fs::read_dir(&folder) else {
            let missing = format!("{} is not there", folder.display());
            return if list == "train" { bad(missing) } else { doubtful(missing) };
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
        let sentence = format!("{}: {red} red, {green} green and {blue} blue images", folder.display());
        if red == green && green == blue && red > 0 {
            good(sentence)
        } else {
            bad(format!("{sentence}: some are missing"))
        }
    };
    ["train", "hpa", "test"].map(of_list).into()
}

fn room(scratch: &Path) -> Finding {
    let folder = scratch.display();
    let listed = output_of(Path::new("df"), &["-Pk", &folder.to_string()]);
    let free_kb = listed.ok().and_then(|table| {
        let row = table.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>();
        row.ok()
    });
    match free_kb.map(|kb| kb / 1024) {
        None => doubtful(format!("it cannot be told how much room {folder} has")),
        Some(mb) if mb < SCRATCH_MB => {
            bad(format!("{folder} has {mb} MB left: a worker needs {SCRATCH_MB} MB; name another --scratch"))
        }
        Some(mb) => good(format!("{folder} has {mb} MB left")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_are_missing_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(images(&folder.path().join("nowhere"))[0].verdict, Verdict::Bad);
        let train = folder.path().join("train");
        std::fs::create_dir(&train).unwrap();
        for name in ["a_red.png", "a_green.png", "a_blue.png", "a_yellow.png", "b_red.jpg"] {
            std::fs::write(train.join(name), "").unwrap();
        }
        let found = images(folder.path());
        assert!(found[0].verdict == Verdict::Bad && found[0].what.contains("2 red, 1 green and 1 blue"), "{found:?}");
        assert_eq!((found[1].verdict, found[2].verdict), (Verdict::Doubtful, Verdict::Doubtful));
        std::fs::remove_file(train.join("b_red.jpg")).unwrap();
        assert_eq!(images(folder.path())[0].verdict, Verdict::Good);
    }

    #[test]
    fn a_worker_that_does_not_run_is_found() {
        let found = worker_and_devices(Some(Path::new("/nowhere/fivefold-worker")));
        assert!(found[0].verdict == Verdict::Bad && found[0].what.contains("does not run"), "{found:?}");
    }
}
