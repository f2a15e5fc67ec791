//! The report as an HTML page.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;
use fivefold_client::Connection;
use fivefold_common::durable_file;
use fivefold_common::report::Report;
use fivefold_common::scores::{ScoreTable, Source};
use fivefold_common::spec::JobSetSpec;
use fivefold_images::picture::picture;
use fivefold_images::{ImageFolder, ImageLayout};
use fivefold_proto::convert::epoch_from_wire;
use fivefold_report::{Content, FoldEpochs, Picture};

use crate::chosen_results::{ChosenResults, train_jobs};
use crate::epoch_metrics;
use crate::render::epoch_history::EpochHistory;
use crate::render::job::objective;

/// The longest side of a picture in pixels.
const PICTURE_SIDE: u32 = 192;

/// Where pictures come from.
pub(crate) struct Pictures {
    folder: ImageFolder,
    layout: ImageLayout,
}

impl Pictures {
    /// Those of the images in `folder`, as the network of `spec` gets them.
    pub(crate) fn open(folder: &Path, spec: &JobSetSpec) -> anyhow::Result<Pictures> {
        Ok(Pictures { folder: ImageFolder::open(folder)?, layout: ImageLayout::of(spec)? })
    }

    fn of(&self, source: Source, id: &str) -> Picture {
        match picture(&self.folder, &self.layout, source, id, PICTURE_SIDE) {
            Ok(bytes) => Picture::Png(bytes),
            Err(error) => Picture::Unreadable(error.to_string()),
        }
    }
}

/// Writes the page of `report` and the out-of-fold table at `table` to `out`.
pub(crate) fn write(
    title: &str,
    report: &Report,
    table: &Path,
    curves: &[FoldEpochs],
    pictures: Option<&Pictures>,
    out: &Path,
) -> anyhow::Result<()> {
    let name = table.display().to_string();
    let file = File::open(table).with_context(|| format!("cannot read {name}"))?;
    let table = ScoreTable::read_csv(&name, BufReader::new(file))?;
    let picture = |source: Source, id: &str| pictures.map_or(Picture::None, |pictures| pictures.of(source, id));
    let page = fivefold_report::html(&Content { title, report, table: &table, curves, picture: &picture })?;
    durable_file::write(out, |output| output.write_all(page.as_bytes()))?;
    Ok(())
}

/// The epochs of the folds of a job set; none beside results of before, which are of other trainings.
pub(crate) async fn curves(coordinator: &Connection, chosen: &ChosenResults) -> anyhow::Result<Vec<FoldEpochs>> {
    let ChosenResults { job_set, source, .. } = chosen;
    if !source.is_newest() {
        return Ok(Vec::new());
    }
    let mut history = EpochHistory::default();
    epoch_metrics::update(&mut history, coordinator, job_set).await?;
    let objective = objective(job_set);
    let of_job = |job| history.of(job).iter().map(epoch_from_wire).collect();
    Ok(train_jobs(job_set).map(|job| FoldEpochs { fold: job.fold, objective, epochs: of_job(job) }).collect())
}
