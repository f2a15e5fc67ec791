//! Uploads and downloads, with a progress bar for large ones.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use fivefold_client::{Connection, Source, Transfers};
use fivefold_common::artifact::ArtifactKind;
use fivefold_proto::convert::digest_from_wire;
use fivefold_proto::v1::Artifact;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::{Verbosity, explain, notify, verbosity};

/// The smallest transfer with a bar.
const SHOWN_BYTES: u64 = 16 * 1024 * 1024;

/// Uploads `source`, called `name` in messages, and returns its digest.
pub(crate) async fn upload(
    coordinator: &Connection,
    name: &str,
    kind: ArtifactKind,
    source: Source,
) -> anyhow::Result<String> {
    let uploaded = with_bar(coordinator, "uploading", name).upload(kind, source).await;
    Ok(uploaded.with_context(|| format!("cannot upload {name}"))?.digest.to_string())
}

/// Downloads `artifact` to `path`. On an error, the old file, if any, stays.
pub(crate) async fn download(coordinator: &Connection, artifact: &Artifact, path: &Path) -> anyhow::Result<()> {
    download_as(coordinator, artifact, path, &path.display().to_string()).await
}

/// Downloads `artifact`, called `name` in messages, to `path`. On an error, the old file, if any, stays.
pub(crate) async fn download_as(
    coordinator: &Connection,
    artifact: &Artifact,
    path: &Path,
    name: &str,
) -> anyhow::Result<()> {
    let digest = digest_from_wire("artifact.digest", &artifact.digest)?;
    with_bar(coordinator, "downloading", name)
        .download(digest, path)
        .await
        .with_context(|| format!("cannot download {name}"))
}

/// Transfers that show a bar on stderr, or print one line if stderr is no terminal.
fn with_bar(coordinator: &Connection, verb: &str, name: &str) -> Transfers {
    let bar = Bar(ProgressBar::hidden());
    let prefix = format!("{verb} {name}");
    coordinator.transfers().with_progress(move |progress| {
        if progress.done_bytes == progress.total_bytes {
            explain(|| format!("{prefix}: {} bytes", progress.total_bytes));
        }
        if progress.total_bytes < SHOWN_BYTES || verbosity() == Verbosity::Quiet {
            return;
        }
        let Bar(bar) = &bar;
        if bar.length().is_none() {
            bar.set_length(progress.total_bytes);
            if !std::io::stderr().is_terminal() {
                notify(&format!("{prefix}: {} MB", progress.total_bytes / 1_000_000));
            }
            bar.set_style(style());
            bar.set_prefix(prefix.clone());
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_position(progress.done_bytes);
    })
}

/// A bar that is removed with its transfer.
struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix} [{bar:20}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
