//! `fivefold pack`: a data set decoded once, and checks of what was packed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use fivefold_common::dataset_file::{DatasetFile, DatasetLists};
use fivefold_common::scores::Source;
use fivefold_common::size::size_text;
use fivefold_common::spec::{JobSetSpec, SpecOverrides};
use fivefold_images::packing::PackedImages;
use fivefold_images::{ImageError, ImageFolder, ImageLayout};
use fivefold_pack::{Built, ImageKey, SegmentError, Summary, remove_damaged, summarise, verify};
use fivefold_program::number::whole_number;
use serde_json::json;

use crate::bar::Bar;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::error::UsageError;
use crate::exit_status::ExitStatus;
use crate::image_list::ImageList;
use crate::packing::{StopWhenDropped, cores, pack_images, unreadable};
use crate::spec_flags::{read_dataset_file, read_spec_file};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct PackArgs {
    #[command(subcommand)]
    command: Option<PackCommand>,
    #[command(flatten)]
    build: Option<BuildArgs>,
}

#[derive(Debug, Subcommand)]
enum PackCommand {
    /// Read all of a pack, and name what is damaged
    Verify(VerifyArgs),
    /// Say what is in a pack
    Info {
        /// Folder of the pack
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// Folder of the pack
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Threads that read [default: one per core]
    #[arg(long, value_name = "N", value_parser = whole_number::<usize>(1..))]
    threads: Option<usize>,
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// Description of the data set (TOML): its lists and images. The flags take precedence
    #[arg(value_name = "DATASET")]
    dataset: Option<PathBuf>,
    /// Folder of the images [default: the folder of DATASET]
    #[arg(long, env = "FIVEFOLD_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Training list
    #[arg(long, alias = "train_csv", value_name = "FILE")]
    train_csv: Option<PathBuf>,
    /// HPA list, or another one of further images
    #[arg(long, alias = "hpa_csv", value_name = "FILE")]
    hpa_csv: Option<PathBuf>,
    /// Test list
    #[arg(long, alias = "test_csv", value_name = "FILE")]
    test_csv: Option<PathBuf>,
    /// Settings of `submit` as TOML or JSON, of which those on lists and images are used
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Side of the packed images in pixels, the image_size of the job sets [default: as in DATASET or --spec, or 512]
    #[arg(long, alias = "image_size", value_name = "PIXELS", value_parser = whole_number::<u32>(16..=4096))]
    size: Option<u32>,
    /// Folder of the pack, made if missing; what is in it already is not decoded again
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also read all that is packed already, and decode the images of damaged segments again
    #[arg(long)]
    verify: bool,
    /// Threads that decode images [default: one per core]
    #[arg(long, env = "FIVEFOLD_DECODE_THREADS", value_name = "N", value_parser = whole_number::<usize>(1..))]
    decode_threads: Option<usize>,
}

/// Runs the command. The status is `Failed` if images or segments cannot be read.
pub(crate) async fn run(args: PackArgs, format: OutputFormat) -> anyhow::Result<ExitStatus> {
    let stop = Arc::new(AtomicBool::new(false));
    // Ctrl-C drops this; the work on its thread then ends, and the process waits for that.
    let _stop_when_dropped = StopWhenDropped(stop.clone());
    let work = move || match (args.command, args.build) {
        (Some(PackCommand::Verify(args)), _) => verify_pack(&args, &stop, format),
        (Some(PackCommand::Info { folder }), _) => info(&folder, format),
        (None, Some(args)) => build(&args, &stop, format),
        (None, None) => {
            Err(UsageError("name a DATASET or the lists, and the folder of the pack with --out DIR".into()).into())
        }
    };
    tokio::task::spawn_blocking(work).await.context("the thread ended early")?
}

impl BuildArgs {
    /// The settings, the lists and the folder of the images.
    fn described(&self) -> anyhow::Result<(JobSetSpec, DatasetLists, ImageFolder)> {
        let mut spec = JobSetSpec::default();
        let mut lists = DatasetLists::default();
        let mut folder = None;
        let mut layers = Vec::new();
        if let Some(path) = &self.dataset {
            let file: DatasetFile = read_dataset_file(path)?;
            layers.push(file.overrides);
            lists = file.lists;
            folder = path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        }
        if let Some(path) = &self.spec {
            layers.push(read_spec_file(path)?);
        }
        SpecOverrides::apply_layers(layers, &mut spec).map_err(|error| UsageError(error.to_string()))?;
        spec.image_size = self.size.unwrap_or(spec.image_size);
        spec.check().map_err(|error| UsageError(error.to_string()))?;
        let lists = DatasetLists {
            train: self.train_csv.clone().or(lists.train),
            extra: self.hpa_csv.clone().or(lists.extra),
            test: self.test_csv.clone().or(lists.test),
            folds: None,
        };
        let Some(folder) = self.data.as_deref().or(folder) else {
            return Err(UsageError("name the folder of the images with --data DIR".to_owned()).into());
        };
        Ok((spec, lists, ImageFolder::open(folder)?))
    }
}

/// The images of all lists.
fn listed_images(spec: &JobSetSpec, lists: &DatasetLists) -> anyhow::Result<Vec<ImageKey>> {
    let labelled = |path: &PathBuf| ImageList::read_labelled(path, spec);
    let test = |path: &PathBuf| ImageList::read_test(path, spec);
    let mut keys = Vec::new();
    for (source, list) in [
        (Source::Train, lists.train.as_ref().map(labelled)),
        (Source::Hpa, lists.extra.as_ref().map(labelled)),
        (Source::Test, lists.test.as_ref().map(test)),
    ] {
        if let Some(list) = list.transpose()? {
            keys.extend(list.manifest.rows.iter().map(|row| PackedImages::key(source, &row.id)));
        }
    }
    if keys.is_empty() {
        let problem =
            "there is no list: name it with --train-csv, --hpa-csv or --test-csv, or in the [lists] of DATASET";
        return Err(UsageError(problem.to_owned()).into());
    }
    Ok(keys)
}

fn build(args: &BuildArgs, stop: &AtomicBool, format: OutputFormat) -> anyhow::Result<ExitStatus> {
    let (spec, lists, folder) = args.described()?;
    let keys = listed_images(&spec, &lists)?;
    let layout = ImageLayout::of(&spec).map_err(|error| UsageError(error.to_string()))?;
    let images = PackedImages::new(Arc::new(folder), layout)?;
    let damaged = if args.verify && args.out.exists() { remove_damaged_segments(args, stop)? } else { Vec::new() };
    for error in &damaged {
        notify(&format!("warning: {error}; its images are decoded again"));
    }
    let built = pack_images(&images, &keys, &args.out, args.decode_threads, stop)?;
    report(&built, args, format)
}

/// Reads all segments and deletes the damaged ones, of whatever settings. Returns what is wrong, once for each of them.
fn remove_damaged_segments(args: &BuildArgs, stop: &AtomicBool) -> anyhow::Result<Vec<SegmentError>> {
    let mut bar = None;
    let threads = args.decode_threads.unwrap_or_else(cores);
    let removed = remove_damaged(&args.out, threads, stop, |done, segments| {
        bar.get_or_insert_with(|| Bar::new("reading segments", segments as usize)).set(done);
    })?;
    Ok(removed)
}

fn report(built: &Built<ImageError>, args: &BuildArgs, format: OutputFormat) -> anyhow::Result<ExitStatus> {
    let BuildArgs { out, verify: is_verified, .. } = args;
    let progress = built.progress;
    if built.is_stopped {
        notify("stopped: the same command goes on after the segments that are whole");
        return Ok(ExitStatus::Interrupted);
    }
    match format {
        OutputFormat::Json => print_json(&json!({
            "images": progress.images,
            "kept": progress.kept,
            "packed": progress.packed,
            "failed": progress.failed,
            "packed_bytes": progress.packed_bytes,
            "out": out,
        }))?,
        OutputFormat::Text => print(&format!(
            "Packed {} images, {}, into {}; {} were there already{}\n",
            progress.packed,
            size_text(progress.packed_bytes),
            out.display(),
            progress.kept,
            if progress.kept > 0 && !*is_verified { " (--verify reads them too)" } else { "" }
        ))?,
    }
    if built.progress.failed > 0 {
        bail!(unreadable(built));
    }
    Ok(ExitStatus::Succeeded)
}

fn verify_pack(args: &VerifyArgs, stop: &AtomicBool, format: OutputFormat) -> anyhow::Result<ExitStatus> {
    let mut bar = None;
    let verified = verify(&args.folder, args.threads.unwrap_or_else(cores), stop, |done, segments| {
        bar.get_or_insert_with(|| Bar::new("reading segments", segments as usize)).set(done);
    })?;
    drop(bar);
    if verified.is_stopped {
        return Ok(ExitStatus::Interrupted);
    }
    if verified.segments == 0 {
        return Err(no_pack(&args.folder));
    }
    let problems: Vec<String> = verified.errors.iter().map(ToString::to_string).collect();
    match format {
        OutputFormat::Json => print_json(&json!({
            "segments": verified.segments,
            "images": verified.images,
            "problems": problems,
        }))?,
        OutputFormat::Text => {
            print(&format!("Read {} images of {} segments\n", verified.images, verified.segments))?;
            print(&problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
        }
    }
    if problems.is_empty() {
        return Ok(ExitStatus::Succeeded);
    }
    notify("run `fivefold pack` again with --verify: it decodes the images of these segments again");
    Ok(ExitStatus::Failed)
}

/// The error of a folder without segments.
fn no_pack(folder: &Path) -> anyhow::Error {
    anyhow!("there is no pack in {}: name the folder that `fivefold pack --out` filled", folder.display())
}

fn info(folder: &Path, format: OutputFormat) -> anyhow::Result<ExitStatus> {
    let (summaries, unusable) = summarise(folder)?;
    if summaries.is_empty() && unusable.is_empty() {
        return Err(no_pack(folder));
    }
    let problems: Vec<String> = unusable.iter().map(ToString::to_string).collect();
    match format {
        OutputFormat::Json => print_json(&json!({
            "packs": summaries.iter().map(summary_json).collect::<Vec<_>>(),
            "problems": problems,
        }))?,
        OutputFormat::Text => {
            print(&summaries.iter().map(summary_text).collect::<String>())?;
            print(&problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
        }
    }
    Ok(if problems.is_empty() { ExitStatus::Succeeded } else { ExitStatus::Failed })
}

fn summary_json(summary: &Summary) -> serde_json::Value {
    json!({
        "image_size": summary.identity.image_size,
        "channels": summary.identity.channels,
        "decoding": summary.identity.decoding,
        "segments": summary.segments,
        "lists": summary.lists,
        "images": summary.images(),
        "stored_bytes": summary.stored_bytes,
        "decoded_bytes": summary.decoded_bytes(),
    })
}

fn summary_text(summary: &Summary) -> String {
    let lists: Vec<String> = summary.lists.iter().map(|(list, images)| format!("{images} of {list}")).collect();
    format!(
        "{} images ({}) of {}\n  {} in {} segments, {:.2} times smaller than {} decoded\n",
        summary.images(),
        lists.join(", "),
        summary.identity,
        size_text(summary.stored_bytes),
        summary.segments,
        summary.ratio(),
        size_text(summary.decoded_bytes())
    )
}
