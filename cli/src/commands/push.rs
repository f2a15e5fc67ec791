//! `fivefold push`: packs the images of a data set, and uploads what the coordinator lacks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, bail};
use clap::Args;
use fivefold_client::{Connection, Source as UploadSource};
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::data_set_name::DataSetName;
use fivefold_common::ids::Digest;
use fivefold_common::scores::Source;
use fivefold_common::size::size_text;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::packing::PackedImages;
use fivefold_images::{ImageFolder, ImageLayout};
use fivefold_pack::pack::Pack;
use fivefold_pack::{ImageIndex, ImageKey};
use fivefold_program::number::whole_number;
use fivefold_proto::convert::required;
use fivefold_proto::v1::{DataSet, Manifests, PutDataSetRequest};
use serde_json::json;

use crate::commands::submit::upload_list;
use crate::commands::warn;
use crate::console::{OutputFormat, notify, print, print_json};
use crate::error::UsageError;
use crate::exit_status::ExitStatus;
use crate::image_list::{FoldsFile, ImageList, check_ids, check_lists, check_split};
use crate::packing::{StopWhenDropped, pack_images, source, unreadable};
use crate::render::data_set::data_set_json;
use crate::segment_uploads::{SegmentFile, Uploaded, upload_segments};
use crate::spec_flags::{Folds, HpaList, Inputs, SpecFlags, read_dataset_text};
use crate::transfer::upload;

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Description of the data set: a dataset.toml
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,
    /// Name of the data set; one of the same name is replaced [default: the name of DATASET without its ending]
    #[arg(long, value_name = "NAME")]
    name: Option<DataSetName>,
    /// Folder of the images [default: the folder of DATASET]
    #[arg(long, env = "FIVEFOLD_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the pack. It stays, so that the next push decodes and uploads only what was changed [default: a folder in the
    /// user's cache, deleted after the push]
    #[arg(long, value_name = "DIR")]
    pack: Option<PathBuf>,
    /// Threads that decode images [default: one per core]
    #[arg(long, env = "FIVEFOLD_DECODE_THREADS", value_name = "N", value_parser = whole_number::<usize>(..))]
    decode_threads: Option<usize>,
}

/// A data set as it was read.
struct Described {
    name: DataSetName,
    dataset_toml: String,
    train: ImageList,
    extra: Option<ImageList>,
    test: Option<ImageList>,
    folds: Option<FoldsFile>,
    images: PackedImages,
}

/// The images of a data set in a pack.
struct Packed {
    index: ImageIndex,
    segments: Vec<SegmentFile>,
}

/// Packs and uploads a data set, and prints what it is now.
pub(crate) async fn run(args: PushArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<ExitStatus> {
    let described = Described::read(&args)?;
    let folder = match &args.pack {
        Some(folder) => folder.clone(),
        None => default_folder(described.images.folder().root())?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    // Ctrl-C drops this; the work on its thread then ends, and the process waits for that.
    let _stop_when_dropped = StopWhenDropped(stop.clone());
    let (images, keys) = (described.images.clone(), described.keys());
    let (pack_folder, threads) = (folder.clone(), args.decode_threads);
    let packing = tokio::task::spawn_blocking(move || pack(&images, keys, &pack_folder, threads, &stop));
    let Some(Packed { index, segments }) = packing.await.context("the thread ended early")?? else {
        return Ok(ExitStatus::Interrupted);
    };
    let uploaded = upload_segments(coordinator, &segments).await?;
    let data_set = described.put(coordinator, &index).await?;
    if args.pack.is_none() {
        // What is left is deleted, or packed over, by the next push.
        let _ = std::fs::remove_dir_all(&folder);
    }
    report(&data_set, segments.len(), uploaded, format)?;
    Ok(ExitStatus::Succeeded)
}

impl Described {
    /// Reads and checks the description and the lists, as `fivefold submit` would.
    fn read(args: &PushArgs) -> anyhow::Result<Self> {
        let path = &args.dataset;
        let name = match &args.name {
            Some(name) => name.clone(),
            None => name_of(path)?,
        };
        let (dataset, dataset_toml) = read_dataset_text(path)?;
        let lists = dataset.lists;
        let folds = lists.folds.as_deref().map(FoldsFile::read).transpose()?;
        let inputs = Inputs {
            base: JobSetSpec::default(),
            dataset: dataset.overrides,
            hpa_list: if lists.extra.is_some() { HpaList::Given } else { HpaList::Absent },
            folds: folds.as_ref().map_or(Folds::None, |file| Folds::File { count: file.folds.fold_count() }),
        };
        let spec = SpecFlags::default().spec(None, inputs).with_context(|| path.display().to_string())?;
        let Some(train) = &lists.train else {
            let problem = format!("{}: there is no training list: name it as train in [lists]", path.display());
            return Err(UsageError(problem).into());
        };
        let train = ImageList::read_labelled(train, &spec)?;
        let extra = lists.extra.as_ref().map(|list| ImageList::read_labelled(list, &spec)).transpose()?;
        let test = lists.test.as_ref().map(|list| ImageList::read_test(list, &spec)).transpose()?;
        check_lists(&spec, &train, extra.as_ref())?;
        [Some(&train), extra.as_ref(), test.as_ref()]
            .into_iter()
            .flatten()
            .try_for_each(|list| check_ids(&spec, list))?;
        check_split(&spec, &train, extra.as_ref(), folds.as_ref())?;
        let images = images(args, &spec)?;
        Ok(Self { name, dataset_toml, train, extra, test, folds, images })
    }

    /// The images of all lists.
    fn keys(&self) -> Vec<ImageKey> {
        let lists = [
            (Source::Train, Some(&self.train)),
            (Source::Hpa, self.extra.as_ref()),
            (Source::Test, self.test.as_ref()),
        ];
        let ids = lists.into_iter().flat_map(|(source, list)| {
            list.into_iter().flat_map(move |list| list.manifest.rows.iter().map(move |row| (source, row.id.as_str())))
        });
        ids.map(|(source, id)| PackedImages::key(source, id)).collect()
    }

    /// Uploads lists and index, and stores the data set.
    async fn put(self, coordinator: &Connection, index: &ImageIndex) -> anyhow::Result<DataSet> {
        let index = index.to_json().context("the index of the images")?;
        let name = "the index of the images";
        let images_digest =
            upload(coordinator, name, ArtifactKind::ImageIndex, UploadSource::Memory(vec![index.into()]));
        let mut manifests = Manifests {
            images_digest: images_digest.await?,
            train_digest: upload_list(coordinator, self.train.file).await?,
            ..Manifests::default()
        };
        if let Some(list) = self.extra {
            manifests.hpa_digest = upload_list(coordinator, list.file).await?;
        }
        if let Some(list) = self.test {
            manifests.test_digest = upload_list(coordinator, list.file).await?;
        }
        if let Some(folds) = self.folds {
            manifests.folds_digest = upload_list(coordinator, folds.file).await?;
        }
        let data_set = DataSet {
            name: self.name.to_string(),
            dataset_toml: self.dataset_toml,
            manifests: Some(manifests),
            ..DataSet::default()
        };
        let request = PutDataSetRequest { data_set: Some(data_set) };
        let answer = coordinator.call(request, async |c, r| c.data_sets().put_data_set(r).await).await?;
        warn(&answer.warnings);
        Ok(required("data_set", answer.data_set)?)
    }
}

/// The name of a file without its ending.
fn name_of(path: &Path) -> anyhow::Result<DataSetName> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse().map_err(|error| UsageError(format!("{error}; name it with --name NAME")).into())
}

fn images(args: &PushArgs, spec: &JobSetSpec) -> anyhow::Result<PackedImages> {
    let layout = ImageLayout::of(spec).map_err(|error| UsageError(error.to_string()))?;
    let beside = args.dataset.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = ImageFolder::open(args.data.as_deref().unwrap_or(beside))?;
    Ok(PackedImages::new(Arc::new(folder), layout)?)
}

/// A folder of its own for each folder of images, so that an interrupted push goes on.
fn default_folder(root: &Path) -> anyhow::Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let Some(cache) = cache else {
        return Err(UsageError("HOME is not set: name a folder for the pack with --pack DIR".to_owned()).into());
    };
    let root = root.canonicalize().with_context(|| format!("cannot reach {}", root.display()))?;
    let name = Digest::of(root.as_os_str().as_encoded_bytes()).to_string();
    Ok(cache.join("fivefold-push").join(&name[..16]))
}

/// Packs the images; `None` after a stop.
fn pack(
    images: &PackedImages,
    keys: Vec<ImageKey>,
    folder: &Path,
    threads: Option<usize>,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Packed>> {
    let built = pack_images(images, &keys, folder, threads, stop)?;
    if built.is_stopped {
        notify("stopped: the same command goes on after the segments that are whole");
        return Ok(None);
    }
    if built.progress.failed > 0 {
        bail!("{}; nothing was pushed", unreadable(&built));
    }
    let mut stamped = Vec::with_capacity(keys.len());
    for key in keys {
        let stamp = images.stamp(source(&key)?, &key.id)?;
        stamped.push((key, stamp));
    }
    let (pack, _) = Pack::open(folder, &images.identity())?;
    let index = ImageIndex::of_pack(&pack, stamped)?;
    let mut segments = Vec::with_capacity(index.segments.len());
    for indexed in &index.segments {
        let segment = pack.segments().find(|segment| segment.digest() == indexed.digest);
        let path = segment.context("a segment of the pack is gone")?.path().to_owned();
        segments.push(SegmentFile { digest: indexed.digest, bytes: indexed.bytes, path });
    }
    Ok(Some(Packed { index, segments }))
}

fn report(data_set: &DataSet, segments: usize, uploaded: Uploaded, format: OutputFormat) -> anyhow::Result<()> {
    let Uploaded { segments: new_segments, bytes } = uploaded;
    match format {
        OutputFormat::Json => {
            let mut value = data_set_json(data_set);
            value["uploaded"] = json!({ "segments": new_segments, "bytes": bytes });
            print_json(&value)
        }
        OutputFormat::Text => {
            let DataSet { name, image_count, size_bytes, .. } = data_set;
            print(&format!(
                "Pushed {image_count} images, {}, as {name}: {new_segments} of {segments} segments ({}) were new\n",
                size_text(*size_bytes),
                size_text(bytes)
            ))?;
            notify(&format!("Train on them with `fivefold submit --dataset {name}`."));
            Ok(())
        }
    }
}
