//! The worker's program: arguments, logs, signals.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use fivefold_common::spec::Precision;
use fivefold_proto::client::Credentials;
use fivefold_train::data::image_folder::ImageFolder;
use fivefold_train::engine::{bench_step, device_check};
use fivefold_train::torch::device::{
    CudaLibrary, Device, DeviceChoice, LIBTORCH_VERSION, cuda_device_count, describe, load_cuda,
};
use fivefold_worker::coordinator_client::CoordinatorClient;
use fivefold_worker::daemon;
use fivefold_worker::lease::Workplace;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Fivefold's worker: leases fold jobs from a coordinator and trains them on this machine's device.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    daemon: Option<DaemonArguments>,
}

#[derive(Debug, Args)]
struct DaemonArguments {
    /// The coordinator's address
    #[arg(long, env = "FIVEFOLD_COORDINATOR", value_name = "URL")]
    coordinator: String,
    /// The folder of the images: train/, hpa/, test/
    #[arg(long, env = "FIVEFOLD_DATA", value_name = "DIR")]
    data: PathBuf,
    /// auto, cpu or cuda:N; auto takes every card of the machine, or the CPU where there is none
    #[arg(long, env = "FIVEFOLD_DEVICE", value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// This worker's name, unique among the coordinator's workers [default: host and device]
    #[arg(long, env = "FIVEFOLD_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Where downloads and checkpoints are kept meanwhile [default: a folder below the system's temporary one]
    #[arg(long, env = "FIVEFOLD_SCRATCH", value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// A file with the token to show; FIVEFOLD_TOKEN may hold the token itself (a flag would show it to all users of this machine)
    #[arg(long, env = "FIVEFOLD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority that signed the coordinator's certificate, PEM [default: those that the system trusts]
    #[arg(long, env = "FIVEFOLD_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// This worker's certificate, PEM, for a coordinator that asks for one
    #[arg(long, env = "FIVEFOLD_CLIENT_CERT", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "FIVEFOLD_CLIENT_KEY", value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// Threads that decode images [default: one per core]
    #[arg(long, env = "FIVEFOLD_DECODE_THREADS", value_name = "N")]
    decode_threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows libtorch and the devices that it sees
    Devices,
    /// Trains a tiny fold on a device and on the CPU, and holds the losses against each other
    CheckDevice {
        /// cpu or cuda:N
        #[arg(long, value_name = "DEVICE")]
        device: DeviceChoice,
    },
    /// Measures training images per second of the full ResNet50
    BenchStep {
        /// cpu or cuda:N
        #[arg(long, value_name = "DEVICE")]
        device: DeviceChoice,
        /// Side of an image in pixels
        #[arg(long, default_value_t = 512)]
        size: u32,
        /// Images per batch
        #[arg(long, default_value_t = 32)]
        batch: u32,
        /// Steps per timed stretch
        #[arg(long, default_value_t = 30)]
        steps: u32,
        /// fp32, bf16 or fp16
        #[arg(long, default_value = "fp32")]
        precision: Precision,
    },
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    // Before the first call into libtorch: loading it is what makes the CUDA devices known.
    match load_cuda() {
        CudaLibrary::Loaded(path) => tracing::info!("CUDA is loaded from {}", path.display()),
        CudaLibrary::Absent => tracing::debug!("this libtorch has no CUDA"),
        CudaLibrary::Failed(reason) => tracing::warn!("CUDA cannot be used: {reason}"),
    }
    match arguments.command {
        Some(Command::Devices) => {
            println!("libtorch {LIBTORCH_VERSION}");
            for index in 0..cuda_device_count() {
                println!("{}", describe(Device::Cuda(index)));
            }
            Ok(())
        }
        Some(Command::CheckDevice { device }) => device_check::run(one_device(device)?),
        Some(Command::BenchStep { device, size, batch, steps, precision }) => {
            bench_step::run(one_device(device)?, size, batch, steps, precision)
        }
        None => {
            let daemon = arguments.daemon.context("--coordinator and --data are needed; --help says more")?;
            tokio::runtime::Runtime::new()?.block_on(work(daemon))
        }
    }
}

async fn work(arguments: DaemonArguments) -> anyhow::Result<()> {
    let folder = ImageFolder::open(&arguments.data).with_context(|| format!("--data {}", arguments.data.display()))?;
    let leaving = CancellationToken::new();
    tokio::spawn(listen_for_signals(leaving.clone()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "worker".into());
    let host = host.trim();
    let credentials = Credentials {
        token_file: arguments.token_file,
        token: std::env::var("FIVEFOLD_TOKEN").ok(),
        ca_cert: arguments.ca_cert,
        client_cert: arguments.client_cert,
        client_key: arguments.client_key,
    };
    let cards = cuda_device_count();
    if arguments.device == DeviceChoice::Auto && cards > 1 {
        let name = arguments.name.unwrap_or_else(|| host.to_owned());
        let mut inherited = vec!["--coordinator".into(), arguments.coordinator];
        inherited.extend(["--data".into(), arguments.data.display().to_string()]);
        if let Some(scratch) = arguments.scratch {
            inherited.extend(["--scratch".into(), scratch.display().to_string()]);
        }
        // FIVEFOLD_TOKEN is inherited with the environment.
        for (flag, path) in [
            ("--token-file", credentials.token_file),
            ("--ca-cert", credentials.ca_cert),
            ("--client-cert", credentials.client_cert),
            ("--client-key", credentials.client_key),
        ] {
            if let Some(path) = path {
                inherited.extend([flag.into(), path.display().to_string()]);
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = arguments.decode_threads.unwrap_or_else(|| cores.div_ceil(cards));
        inherited.extend(["--decode-threads".into(), threads.to_string()]);
        return daemon::run_one_process_per_card(cards, &name, &inherited, leaving).await;
    }
    let device = one_device(arguments.device)?;
    let device_name = match device {
        Device::Cuda(index) => format!("cuda{index}"),
        Device::Cpu => "cpu".into(),
    };
    let name = arguments.name.unwrap_or_else(|| format!("{host}-{device_name}"));
    let scratch = arguments.scratch.unwrap_or_else(|| std::env::temp_dir().join("fivefold")).join(&name);
    std::fs::create_dir_all(&scratch).with_context(|| format!("--scratch {}", scratch.display()))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let decode_threads = arguments.decode_threads.unwrap_or(cores).max(1);
    let client = CoordinatorClient::new(&arguments.coordinator, &credentials)
        .with_context(|| format!("--coordinator {}", arguments.coordinator))?;
    let workplace = Workplace { folder: Arc::new(folder), scratch, device, decode_threads };
    daemon::run(client, workplace, &name, leaving).await
}

/// The one device that a choice means.
fn one_device(choice: DeviceChoice) -> anyhow::Result<Device> {
    let cards = cuda_device_count();
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Auto if cards == 0 => Ok(Device::Cpu),
        DeviceChoice::Auto => Ok(Device::Cuda(0)),
        DeviceChoice::Cuda(index) if index < cards => Ok(Device::Cuda(index)),
        DeviceChoice::Cuda(index) => bail!("there is no device cuda:{index}: libtorch sees {cards} CUDA devices"),
    }
}

/// The first SIGTERM or Ctrl-C asks the worker to leave; a later one ends it at once. Signals within a second count as one: a
/// terminal sends Ctrl-C to parent and children, and the parent passes it on.
async fn listen_for_signals(leaving: CancellationToken) {
    let streams = signal(SignalKind::terminate()).and_then(|first| Ok((first, signal(SignalKind::interrupt())?)));
    let Ok((mut terminate, mut interrupt)) = streams else {
        tracing::warn!("signals cannot be heard: the worker ends at once when it is told to");
        return;
    };
    let mut first: Option<Instant> = None;
    loop {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        match first {
            None => {
                tracing::info!("leaving: the work is saved and given back; once more ends this at once");
                leaving.cancel();
                first = Some(Instant::now());
            }
            Some(first) if first.elapsed() < Duration::from_secs(1) => {}
            Some(_) => std::process::exit(130),
        }
    }
}
