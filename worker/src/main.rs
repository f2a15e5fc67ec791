//! The worker's program.

mod arguments;
mod signals;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use fivefold_client::{Address, Connection, Notice, RetryPolicy};
use fivefold_common::dataset_file::{DatasetFile, DatasetLists};
use fivefold_common::finding::Rating;
use fivefold_common::spec::{JobSetSpec, SpecOverrides};
use fivefold_images::ImageLayout;
use fivefold_program::command_line;
use fivefold_program::log::{self, LogFormat};
use fivefold_program::recorder::Recorder;
use fivefold_train::engine::bench_step::{Workload, measure};
use fivefold_train::engine::device_check::check_device;
use fivefold_train::torch::device::{CudaLibrary, LIBTORCH_VERSION, cuda_device_count, describe, load_cuda};
use fivefold_train::{Device, DeviceChoice, ImageFolder};
use fivefold_worker::backtraces;
use fivefold_worker::daemon::{self, Worker};
use fivefold_worker::data_check::{DataCheck, DataLists, misplaced_images, warn_if_empty};
use fivefold_worker::host::host_name;
use fivefold_worker::scratch::{Name, Scratch};
use fivefold_worker::supervise::supervise;
use tokio_util::sync::CancellationToken;

use crate::arguments::{Arguments, CheckDataArguments, Command, DaemonArguments};

fn main() -> ExitCode {
    backtraces::switch_off();
    match run(command_line::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let recorder = Recorder::default();
    log::start(arguments.daemon.as_ref().map_or(LogFormat::Text, |daemon| daemon.log_format), Some(recorder.clone()));
    // Must come before the first use of libtorch, which then sees the CUDA devices.
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
        Some(Command::CheckDevice { device }) => {
            let check = check_device(device.device()?)?;
            println!("{check}");
            ensure!(check.passed(), "{device} does not train as the CPU does: check its driver and its memory");
            Ok(())
        }
        Some(Command::CheckData(arguments)) => check_data(arguments),
        Some(Command::BenchStep { device, size, batch, steps, precision }) => {
            let workload = Workload { image_size: size, batch_size: batch, steps, precision };
            println!("{}", measure(device.device()?, workload)?);
            Ok(())
        }
        None => {
            let daemon = arguments.daemon.context("--coordinator is required; see --help")?;
            serve(daemon, recorder)
        }
    }
}

/// Prints what is found on the images of a machine.
fn check_data(arguments: CheckDataArguments) -> anyhow::Result<()> {
    let data =
        arguments.data.clone().context("--data is required: the images of pushed data sets need no check here")?;
    let folder = image_folder(&data)?;
    let threads = arguments.decode_threads.unwrap_or_else(cores).max(1);
    let (spec, listed) = spec_of_data(&arguments)?;
    let (layout, decoded) = (ImageLayout::of(&spec)?, arguments.decode);
    let lists = DataLists {
        train: arguments.train_csv.or(listed.train),
        hpa: arguments.hpa_csv.or(listed.extra),
        test: arguments.test_csv.or(listed.test),
        spec,
    };
    let findings = DataCheck { folder: &folder, layout: &layout, threads, decoded }.run(&lists)?;
    for finding in &findings {
        println!("{finding}");
    }
    let is_bad = findings.iter().any(|finding| finding.rating == Rating::Bad);
    ensure!(!is_bad, "{} cannot be used as it is", data.display());
    Ok(())
}

/// The settings with which images are going to be submitted, and the lists of the data set.
fn spec_of_data(arguments: &CheckDataArguments) -> anyhow::Result<(JobSetSpec, DatasetLists)> {
    let mut spec = JobSetSpec::default();
    let mut lists = DatasetLists::default();
    if let Some(path) = &arguments.dataset {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let dataset = DatasetFile::parse(&text).with_context(|| name.to_string())?;
        let dataset = dataset.within(path.parent().unwrap_or(Path::new("")));
        SpecOverrides::apply_layers(vec![dataset.overrides], &mut spec).with_context(|| name.to_string())?;
        lists = dataset.lists;
    }
    if let Some(path) = &arguments.spec {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let overrides = SpecOverrides::from_file_text(path, &text).with_context(|| name.to_string())?;
        SpecOverrides::apply_layers(vec![overrides], &mut spec).with_context(|| name.to_string())?;
    }
    if let Some(column) = &arguments.group_column {
        spec.group_column.clone_from(column);
    }
    spec.image_size = arguments.image_size.unwrap_or(spec.image_size);
    spec.check()?;
    Ok((spec, lists))
}

fn image_folder(data: &Path) -> anyhow::Result<ImageFolder> {
    ImageFolder::open(data).with_context(|| format!("--data {}", data.display()))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs the daemon of one device, or a process for each CUDA device.
fn serve(arguments: DaemonArguments, recorder: Recorder) -> anyhow::Result<()> {
    let images = arguments.data.as_deref().map(image_folder).transpose()?;
    match &images {
        Some(images) => {
            if let Some(misplaced) = misplaced_images(images) {
                tracing::warn!("{misplaced}, or say in the settings of your job sets where they are (image_files)");
            }
            warn_if_empty(images);
        }
        None => tracing::info!("there is no --data: this worker trains pushed data sets alone"),
    }
    let cache = arguments.cache_folders()?;
    let cuda_devices = cuda_device_count();
    let runtime = tokio::runtime::Runtime::new()?;
    let leaving = CancellationToken::new();
    runtime.spawn(signals::listen(leaving.clone()));
    if arguments.device == DeviceChoice::Auto && cuda_devices > 1 {
        let decode_threads = arguments.decode_threads.unwrap_or_else(|| cores().div_ceil(cuda_devices));
        let program = std::env::current_exe().context("the path of this program is unknown")?;
        let commands = (0..cuda_devices).map(|index| {
            let mut command = tokio::process::Command::new(&program);
            command.args(arguments.for_cuda_device(index, decode_threads));
            command
        });
        return runtime.block_on(supervise(commands.collect(), &leaving));
    }
    let decode_threads = arguments.decode_threads.unwrap_or_else(cores).max(1);
    let device = arguments.device.device()?;
    let scratch = claim_scratch(&arguments, device)?;
    let (name, folder) = (scratch.name.clone(), scratch.path.clone());
    let name_lock = Some(scratch.name_lock.to_wire());
    let images = images.map(Arc::new);
    let worker = Worker { name, name_lock, images, cache, scratch: folder, device, recorder, decode_threads };
    let ended = runtime.block_on(async {
        let connection = connect(&arguments)?;
        tokio::select! {
            ended = daemon::run(&connection, &worker, &leaving) => ended,
            error = has_not_left(&leaving, arguments.leave_seconds) => Err(error),
        }
    });
    // What still runs on its threads ends with the process.
    runtime.shutdown_background();
    ended
}

/// Of the time to leave, what the process needs to end.
const END: Duration = Duration::from_millis(500);

/// Waits until the worker should have left.
async fn has_not_left(leaving: &CancellationToken, leave_seconds: u32) -> anyhow::Error {
    leaving.cancelled().await;
    tokio::time::sleep(Duration::from_secs(leave_seconds.into()).saturating_sub(END)).await;
    anyhow!(
        "the current job could not be saved and released within --leave-seconds {leave_seconds}: its lease runs out by \
         itself, and another worker goes on from the last checkpoint that was uploaded"
    )
}

/// Makes and locks the worker's folder, under its name.
fn claim_scratch(arguments: &DaemonArguments, device: Device) -> anyhow::Result<Scratch> {
    let root = arguments.scratch_root();
    let coordinator = address(arguments)?.to_string();
    if let Some(name) = &arguments.name {
        return Scratch::claim(&root, &coordinator, Name::Given(name));
    }
    let device = match device {
        Device::Cuda(index) => format!("cuda{index}"),
        Device::Cpu => "cpu".into(),
    };
    let name = format!("{}-{device}", host_name());
    let scratch = Scratch::claim(&root, &coordinator, Name::Default(&name))?;
    if scratch.name != name {
        tracing::warn!("another worker runs here as {name}, so this one is {}", scratch.name);
    }
    Ok(scratch)
}

fn address(arguments: &DaemonArguments) -> anyhow::Result<Address> {
    arguments.coordinator.parse().with_context(|| format!("--coordinator {}", arguments.coordinator))
}

/// The connection to the coordinator, with its notices in the log.
fn connect(arguments: &DaemonArguments) -> anyhow::Result<Connection> {
    let flag = || format!("--coordinator {}", arguments.coordinator);
    let address = address(arguments)?;
    let user_agent = concat!("fivefold-worker/", env!("CARGO_PKG_VERSION"));
    let connection = Connection::new(&address, &arguments.credentials(), RetryPolicy::unattended(), user_agent);
    Ok(connection.with_context(flag)?.with_observer(|notice| match notice {
        Notice::Retrying { .. } => tracing::warn!("{notice}"),
        Notice::Recovered { .. } => tracing::info!("{notice}"),
    }))
}
