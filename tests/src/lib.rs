//! End-to-end tests of the three programs, and the rules that span crates. This library builds, starts and kills the programs,
//! and queries a coordinator.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use fivefold_proto::v1;
use fivefold_proto::v1::job_set_service_client::JobSetServiceClient;

pub mod proxy;
pub mod sources;

/// How long a test waits for a condition.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The folder of the programs. The first call in a process builds them.
///
/// # Errors
/// If the build fails.
pub fn programs() -> anyhow::Result<&'static Path> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = FOLDER.get_or_init(|| build_programs().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|message| anyhow::anyhow!("{message}"))
}

fn build_programs() -> anyhow::Result<PathBuf> {
    // The path of this test is target/PROFILE/deps/NAME.
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("the test is not in a target folder")?;
    let mut build = Command::new(env!("CARGO"));
    // As `make programs`, which says why a test is among them.
    build.args(["build", "--workspace", "--bins", "--test", "dependencies", "--quiet"]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.env("CARGO_TARGET_DIR", folder.parent().context("no target folder")?);
    // Cargo sets these for the test. Build scripts that read them, such as ring's, would run again, and all that depends on them
    // would be compiled again.
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    if folder.ends_with("release") {
        build.arg("--release");
    }
    ensure!(build.status()?.success(), "the programs cannot be built");
    Ok(folder.to_owned())
}

/// Runs `fivefold` and returns its stdout.
///
/// # Errors
/// If it fails; the error has its output.
pub fn fivefold(arguments: &[&str]) -> anyhow::Result<String> {
    stdout_of("fivefold", arguments)
}

/// Runs a subcommand of `fivefold-coordinator` and returns its stdout.
///
/// # Errors
/// If it fails; the error has its output.
pub fn coordinator(arguments: &[&str]) -> anyhow::Result<String> {
    stdout_of("fivefold-coordinator", arguments)
}

fn stdout_of(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(programs()?.join(program)).args(arguments).stdin(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "{program} {} ended with {}\n{}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A process, killed on drop.
#[derive(Debug)]
pub struct Program {
    child: Child,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Kill,
    Terminate,
    Stop,
    Continue,
}

impl Program {
    /// # Errors
    /// If the process does not exist.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let name = match signal {
            Signal::Kill => "-KILL",
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "kill {name} failed");
        Ok(())
    }

    /// Waits for the exit code; `None` if a signal ended the process.
    ///
    /// # Errors
    /// If the process does not end in time.
    pub fn wait(&mut self) -> anyhow::Result<Option<i32>> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the process did not end")
    }

    /// Kills the process and waits for its end.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A coordinator's folder and address, which survive restarts, and the data of its workers.
#[derive(Debug)]
pub struct Site {
    /// Has state, logs and scratch folders.
    pub folder: PathBuf,
    /// Has images and lists.
    pub data: PathBuf,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// The address given to workers: `url`, or that of a proxy.
    pub worker_url: String,
    lease_seconds: u32,
}

impl Site {
    /// Starts a coordinator on a free port, with its state in `folder`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(folder: &Path, data: &Path, lease_seconds: u32) -> anyhow::Result<(Site, Program)> {
        std::fs::create_dir_all(folder)?;
        let mut site = Site {
            folder: folder.to_owned(),
            data: data.to_owned(),
            url: String::new(),
            worker_url: String::new(),
            lease_seconds,
        };
        let (program, url) = site.spawn_coordinator("127.0.0.1:0")?;
        site.worker_url = url.clone();
        site.url = url;
        Ok((site, program))
    }

    /// Starts the coordinator again at the same address.
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart_coordinator(&self) -> anyhow::Result<Program> {
        let address = self.url.trim_start_matches("http://");
        Ok(self.spawn_coordinator(address)?.0)
    }

    fn spawn_coordinator(&self, listen: &str) -> anyhow::Result<(Program, String)> {
        let log = self.folder.join("coordinator.log");
        let mut command = Command::new(programs()?.join("fivefold-coordinator"));
        command.args(["--listen", listen, "--state"]).arg(self.folder.join("state"));
        command.args(["--lease-seconds", &self.lease_seconds.to_string()]);
        // A file, because a pipe without a reader would block or end the coordinator.
        let first_byte = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let output = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut program = Program { child: command.spawn()? };
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let text = std::fs::read(&log)?;
            let text = String::from_utf8_lossy(&text[first_byte as usize..]).into_owned();
            if let Some((_, rest)) = text.split_once("listening on http://") {
                let address: String = rest.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
                return Ok((program, format!("http://{address}")));
            }
            if let Some(status) = program.child.try_wait()? {
                bail!("the coordinator ended with {status}: {text}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the coordinator did not start; see {}", log.display())
    }

    /// Starts a CPU worker of that name.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_worker(&self, name: &str) -> anyhow::Result<Program> {
        self.start_worker_with(name, &[])
    }

    /// Starts a CPU worker of that name, with more arguments.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_worker_with(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Program> {
        let mut command = self.worker_command(name)?;
        command.arg("--data").arg(&self.data).args(arguments);
        Ok(Program { child: command.spawn()? })
    }

    /// Starts a CPU worker of that name that has no folder of images. What it fetches goes to `cache/` in the site's folder, as
    /// that of all such workers.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_worker_without_images(&self, name: &str) -> anyhow::Result<Program> {
        let mut command = self.worker_command(name)?;
        command.env_remove("FIVEFOLD_DATA");
        Ok(Program { child: command.spawn()? })
    }

    fn worker_command(&self, name: &str) -> anyhow::Result<Command> {
        let output = File::options().create(true).append(true).open(self.folder.join(format!("{name}.log")))?;
        let mut command = Command::new(programs()?.join("fivefold-worker"));
        command.args(["--coordinator", &self.worker_url, "--device", "cpu", "--name", name]);
        command.arg("--scratch").arg(self.folder.join(format!("scratch-{name}")));
        command.env("XDG_CACHE_HOME", self.folder.join("cache"));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(command)
    }

    /// Submits the folder's lists with the settings `spec` (TOML); returns the id of the job set.
    ///
    /// # Errors
    /// If the submission is refused.
    pub fn submit(&self, spec: &str) -> anyhow::Result<String> {
        let file = self.folder.join("spec.toml");
        std::fs::write(&file, spec)?;
        let list = |name: &str| self.data.join(name).display().to_string();
        let printed = fivefold(&[
            "--coordinator",
            &self.url,
            "submit",
            "--spec",
            &file.display().to_string(),
            "--train-csv",
            &list("train.csv"),
            "--hpa-csv",
            &list("HPAv18RGBY_wodpl.csv"),
            "--test-csv",
            &list("sample_submission.csv"),
        ])?;
        Ok(printed.trim().to_owned())
    }

    /// The job set; `None` while the coordinator is unavailable.
    pub async fn job_set(&self, id: &str) -> Option<v1::JobSet> {
        let mut client = JobSetServiceClient::connect(self.url.clone()).await.ok()?;
        let request = v1::GetJobSetRequest { job_set_id: id.to_owned() };
        client.get_job_set(request).await.ok()?.into_inner().job_set
    }

    /// The metrics of a fold's epochs, without durations.
    ///
    /// # Errors
    /// If the call fails.
    pub async fn metrics(&self, id: &str, fold: u32) -> anyhow::Result<Vec<v1::EpochMetrics>> {
        let mut client = JobSetServiceClient::connect(self.url.clone()).await?;
        let request = v1::ListEpochMetricsRequest { job_set_id: id.to_owned(), fold };
        let epochs = client.list_epoch_metrics(request).await?.into_inner().epochs;
        Ok(epochs.into_iter().map(|epoch| v1::EpochMetrics { duration_seconds: 0.0, ..epoch }).collect())
    }

    /// Waits until `holds` is true for the job set.
    ///
    /// # Errors
    /// After [`PATIENCE`], or if the job set fails.
    pub async fn wait_until(
        &self,
        id: &str,
        what: &str,
        holds: impl Fn(&v1::JobSet) -> bool,
    ) -> anyhow::Result<v1::JobSet> {
        let start = Instant::now();
        let mut last = None;
        while start.elapsed() < PATIENCE {
            if let Some(job_set) = self.job_set(id).await {
                if holds(&job_set) {
                    return Ok(job_set);
                }
                if job_set.state() == v1::job_set::State::Failed {
                    bail!("the job set failed while waiting until {what}: {job_set:#?}\n{}", self.log_tails());
                }
                last = Some(job_set);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("timed out waiting until {what}: {last:#?}\n{}", self.log_tails())
    }

    /// The last lines of every log, for error messages.
    fn log_tails(&self) -> String {
        let mut tails = String::new();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log")
                && let Ok(file) = File::open(&path)
            {
                let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
                let tail = &lines[lines.len().saturating_sub(30)..];
                tails += &format!("--- {}\n{}\n", path.display(), tail.join("\n"));
            }
        }
        tails
    }

    /// Fetches the results, with arrays and models, into `folder`.
    ///
    /// # Errors
    /// If there are none.
    pub fn results(&self, id: &str, folder: &Path) -> anyhow::Result<()> {
        let folder = folder.display().to_string();
        fivefold(&["--coordinator", &self.url, "results", id, "--npy", "--checkpoints", "--out", &folder])?;
        Ok(())
    }
}

/// Draws a tiny synthetic data set in `folder`.
///
/// # Errors
/// If `fivefold synth` fails.
pub fn tiny_data(folder: &Path) -> anyhow::Result<()> {
    let folder = folder.display().to_string();
    fivefold(&[
        "synth", "--out", &folder, "--train", "60", "--hpa", "30", "--test", "10", "--size", "32", "--seed", "7",
    ])?;
    Ok(())
}

/// The report in `folder` without the parts that differ between runs: name, versions and devices.
///
/// # Errors
/// If the report or one of these parts is missing.
pub fn report_numbers(folder: &Path) -> anyhow::Result<serde_json::Value> {
    let mut report: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("report.json"))?)?;
    let fields = report.as_object_mut().context("the report is not a JSON object")?;
    for key in ["job_set", "made_by"] {
        fields.remove(key).with_context(|| format!("the report has no {key}"))?;
    }
    Ok(report)
}
