//! `fivefold dataset`: checks of a data set before anything is trained on it.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use fivefold_common::dataset_file::DatasetFile;
use fivefold_common::scores::Source;
use fivefold_common::spec::{JobSetSpec, SpecError, SpecOverrides};
use fivefold_images::survey::{FileFacts, ImageFacts, survey};
use fivefold_images::{ImageFolder, ImageLayout};
use fivefold_program::number::whole_number;

use crate::bar::Bar;
use crate::console::{OutputFormat, print, print_json};
use crate::error::UsageError;
use crate::exit_status::ExitStatus;
use crate::image_list::{FoldsFile, ImageList, check_lists, check_split, split_warnings};
use crate::render::dataset::{Census, ListCensus, Problem, census_json, census_text};
use crate::spec_flags::read_dataset_file;

#[derive(Debug, Args)]
pub(crate) struct DatasetArgs {
    #[command(subcommand)]
    command: DatasetCommand,
}

#[derive(Debug, Subcommand)]
enum DatasetCommand {
    /// Read the lists and every image of a data set, and say what is there and what is wrong
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Description of the data set: a dataset.toml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder of the images [default: the folder of the file]
    #[arg(long, env = "FIVEFOLD_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Threads that decode images [default: one per core]
    #[arg(long, env = "FIVEFOLD_DECODE_THREADS", value_name = "N", value_parser = whole_number::<usize>(1..))]
    decode_threads: Option<usize>,
}

/// Runs the command. The status is `Failed` if a check finds problems.
pub(crate) fn run(args: &DatasetArgs, format: OutputFormat) -> anyhow::Result<ExitStatus> {
    let DatasetCommand::Check(args) = &args.command;
    let census = check(args)?;
    match format {
        OutputFormat::Json => print_json(&census_json(&census))?,
        OutputFormat::Text => print(&census_text(&census))?,
    }
    Ok(if census.problems.count() > 0 { ExitStatus::Failed } else { ExitStatus::Succeeded })
}

fn check(args: &CheckArgs) -> anyhow::Result<Census> {
    let DatasetFile { overrides, lists } = read_dataset_file(&args.file)?;
    let mut spec = JobSetSpec::default();
    let named = |error: SpecError| UsageError(format!("{}, {error}", args.file.display()));
    SpecOverrides::apply_layers(vec![overrides], &mut spec).map_err(named)?;
    spec.check().map_err(named)?;
    let layout = ImageLayout::of(&spec).map_err(named)?;
    let folder = match &args.data {
        Some(data) => data.as_path(),
        None => args.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    };
    let folder = ImageFolder::open(folder)?;
    let threads = args.decode_threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));

    let mut census = Census { classes: spec.class_names(), ..Census::default() };
    let labelled = |path: &Path| ImageList::read_labelled(path, &spec);
    let test = |path: &Path| ImageList::read_test(path, &spec);
    let mut read = Vec::new();
    for (source, path, list) in [
        (Source::Train, &lists.train, lists.train.as_deref().map(labelled)),
        (Source::Hpa, &lists.extra, lists.extra.as_deref().map(labelled)),
        (Source::Test, &lists.test, lists.test.as_deref().map(test)),
    ] {
        match (path, list) {
            (_, Some(Ok(list))) => read.push((source, list)),
            (Some(path), Some(Err(error))) => census.add_problem(Problem::of_list(path, &error)),
            _ => {}
        }
    }
    if lists.train.is_none() {
        let problem = anyhow::anyhow!("there is no training list: name it as train in the table [lists]");
        census.add_problem(Problem::of_list(&args.file, &problem));
    }
    add_split(&mut census, &spec, &read, lists.folds.as_deref(), &args.file);
    add_shared_ids(&mut census, &read, &layout);
    let mut seen = HashMap::new();
    for (source, list) in &read {
        let ids: Vec<String> = list.manifest.rows.iter().map(|row| row.id.clone()).collect();
        let bar = Bar::new(&format!("reading the images of {}", list.file.name()), ids.len());
        let facts = survey(&folder, &layout, (*source, &ids), threads, &|count| {
            bar.set(count as u64);
            ControlFlow::Continue(())
        });
        let facts = facts.context("the check was interrupted")?;
        add_list(&mut census, *source, list, &facts);
        for (row, (id, facts)) in ids.iter().zip(facts).enumerate() {
            match facts {
                Ok(facts) => add_image(&mut census, &mut seen, format!("{} {id}", list.file.name()), &facts),
                Err(error) => census.add_problem(Problem::of_image(&list.file.path, row, id, &error)),
            }
        }
    }
    census.find_duplicates(seen);
    Ok(census)
}

/// What submitting the lists would find.
fn add_split(census: &mut Census, spec: &JobSetSpec, read: &[(Source, ImageList)], folds: Option<&Path>, file: &Path) {
    let list = |wanted: Source| read.iter().find(|(source, _)| *source == wanted).map(|(_, list)| list);
    let (train, extra) = (list(Source::Train), list(Source::Hpa));
    let Some(train) = train else { return };
    let split = || {
        check_lists(spec, train, extra)?;
        let folds = folds.map(FoldsFile::read).transpose()?;
        check_split(spec, train, extra, folds.as_ref())
    };
    match split() {
        Ok(split) => {
            census.warnings.extend(split.iter().flat_map(|split| split_warnings(spec, &train.manifest, split)))
        }
        Err(error) => census.add_problem(Problem::of_list(file, &error)),
    }
}

/// Rows of the test list whose images are trained on.
fn add_shared_ids(census: &mut Census, read: &[(Source, ImageList)], layout: &ImageLayout) {
    if layout.files().tell_lists_apart() {
        return;
    }
    let Some((_, test)) = read.iter().find(|(source, _)| *source == Source::Test) else { return };
    for (_, list) in read.iter().filter(|(source, _)| *source != Source::Test) {
        let listed: HashMap<&str, usize> =
            list.manifest.rows.iter().enumerate().map(|(row, listed)| (listed.id.as_str(), row)).collect();
        for (row, tested) in test.manifest.rows.iter().enumerate() {
            if let Some(other) = listed.get(tested.id.as_str()) {
                let problem = format!("the image is also in {}, row {}", list.file.name(), other + 1);
                census.add_problem(Problem::of_shared_row(&test.file.path, row, &tested.id, problem));
            }
        }
    }
}

fn add_list<E>(census: &mut Census, source: Source, list: &ImageList, facts: &[Result<ImageFacts, E>]) {
    let rows = &list.manifest.rows;
    let mut class_rows = vec![0u64; census.classes.len()];
    for label in rows.iter().flat_map(|row| row.labels.iter()) {
        class_rows[usize::from(label)] += 1;
    }
    census.lists.push(ListCensus {
        source,
        file: list.file.name(),
        row_count: rows.len(),
        without_label: rows.iter().filter(|row| row.labels.is_empty()).count(),
        class_rows: if source == Source::Test { Vec::new() } else { class_rows },
        usable_images: facts.iter().filter(|facts| facts.is_ok()).count(),
    });
}

fn add_image(census: &mut Census, seen: &mut HashMap<String, Vec<String>>, name: String, facts: &ImageFacts) {
    for FileFacts { format, width, height } in &facts.files {
        *census.formats.entry(format.name()).or_default() += 1;
        *census.sizes.entry((*width, *height)).or_default() += 1;
    }
    seen.entry(facts.digest.to_string()).or_default().push(name);
}

impl Census {
    fn find_duplicates(&mut self, seen: HashMap<String, Vec<String>>) {
        let groups: BTreeMap<String, Vec<String>> =
            seen.into_values().filter(|names| names.len() > 1).map(|names| (names[0].clone(), names)).collect();
        self.duplicates = groups.into_values().collect();
    }
}
