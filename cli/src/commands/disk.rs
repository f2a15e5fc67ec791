//! `fivefold disk`: the use of the coordinator's disk.

use fivefold_client::Connection;
use fivefold_proto::v1::GetDiskUsageRequest;

use crate::console::{OutputFormat, full_page, print, print_json};
use crate::render::disk::{disk_json, disk_text};

pub(crate) async fn run(coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let request = GetDiskUsageRequest::default();
    let usage = coordinator.call(request, async |c, r| c.job_sets().get_disk_usage(r).await).await?;
    match format {
        OutputFormat::Json => print_json(&disk_json(&usage)),
        OutputFormat::Text => print(&disk_text(&usage, &full_page())),
    }
}
