//! The use of the coordinator's disk.

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::job_set::JobSetState;
use fivefold_common::one_line::one_line;
use fivefold_common::size::size_text;
use fivefold_proto::convert::{artifact_kind_from_wire, job_set_state_from_wire};
use fivefold_proto::v1::{DataSetUsage, GetDiskUsageResponse, JobSetUsage, KindUsage};
use serde_json::{Value, json};

use super::page::Page;
use super::table::{Cell, Column, NOTHING, fitted_table};
use super::text::word;

/// The disk, tables of job sets and data sets, and what can be freed.
pub(crate) fn disk_text(usage: &GetDiskUsageResponse, page: &Page) -> String {
    let share = 100.0 * usage.free_bytes as f64 / usage.total_bytes.max(1) as f64;
    let mut text =
        format!("{} of {} are free ({share:.0}%).\n", size_text(usage.free_bytes), size_text(usage.total_bytes));
    if !usage.job_sets.is_empty() {
        let columns = [
            Column::new("ID"),
            Column::new("STATE").rank(1),
            Column::new("MODELS").rank(3),
            Column::new("RESULTS").rank(5),
            Column::new("LISTS").rank(6),
            Column::new("IMAGES").rank(4),
            Column::new("UNSHARED"),
            Column::new("NAME").rank(2).least_width(6),
        ];
        let rows: Vec<_> = usage.job_sets.iter().map(|set| row(set).map(Cell::from)).collect();
        text += &format!("\n{}", fitted_table(columns, &rows, page));
    }
    if !usage.data_sets.is_empty() {
        let columns = [
            Column::new("DATA SET").least_width(8),
            Column::new("IMAGES"),
            Column::new("LISTS").rank(1),
            Column::new("UNSHARED"),
        ];
        let rows: Vec<_> = usage.data_sets.iter().map(|set| data_set_row(set).map(Cell::from)).collect();
        text += &format!("\n{}", fitted_table(columns, &rows, page));
    }
    let can_be_freed = can_be_freed(usage);
    if !can_be_freed.is_empty() {
        text += &format!("\nCan be freed:\n{}", can_be_freed.concat());
    }
    text
}

fn row(usage: &JobSetUsage) -> [String; 8] {
    use ArtifactKind::{
        Checkpoint, Folds, ImageIndex, Manifest, Oof, Predictions, Report, Segment, Submission, Weights,
    };
    [
        one_line(&usage.job_set_id).into_owned(),
        word(job_set_state_from_wire(usage.state)).to_owned(),
        size_of(&usage.kinds, &[Checkpoint]),
        size_of(&usage.kinds, &[Oof, Predictions, Report, Submission]),
        size_of(&usage.kinds, &[Manifest, Folds, Weights]),
        size_of(&usage.kinds, &[Segment, ImageIndex]),
        size_text(usage.own_bytes),
        if usage.name.is_empty() { NOTHING.to_owned() } else { one_line(&usage.name).into_owned() },
    ]
}

fn data_set_row(usage: &DataSetUsage) -> [String; 4] {
    use ArtifactKind::{Folds, ImageIndex, Manifest, Segment};
    [
        one_line(&usage.name).into_owned(),
        size_of(&usage.kinds, &[Segment, ImageIndex]),
        size_of(&usage.kinds, &[Manifest, Folds]),
        size_text(usage.own_bytes),
    ]
}

fn size_of(usages: &[KindUsage], kinds: &[ArtifactKind]) -> String {
    let of_kinds =
        usages.iter().filter(|usage| artifact_kind_from_wire(usage.kind).is_ok_and(|kind| kinds.contains(&kind)));
    size_text(of_kinds.map(|usage| usage.size_bytes).sum())
}

/// One line each.
fn can_be_freed(usage: &GetDiskUsageResponse) -> Vec<String> {
    let mut lines = Vec::new();
    for set in &usage.job_sets {
        if job_set_state_from_wire(set.state).is_ok_and(JobSetState::has_ended) {
            let (size, id) = (size_text(set.own_bytes), one_line(&set.job_set_id));
            lines.push(format!("  {size:>7}  `fivefold delete {id}`\n"));
        }
    }
    for set in usage.data_sets.iter().filter(|set| set.own_bytes > 0) {
        let (size, name) = (size_text(set.own_bytes), one_line(&set.name));
        lines.push(format!("  {size:>7}  `fivefold datasets delete {name}`\n"));
    }
    if usage.unreferenced_bytes > 0 {
        let size = size_text(usage.unreferenced_bytes);
        lines.push(format!(
            "  {size:>7}  files that nothing needs: they are deleted within the hour, images of an interrupted push within a day\n"
        ));
    }
    if usage.upload_bytes > 0 {
        let size = size_text(usage.upload_bytes);
        lines.push(format!(
            "  {size:>7}  unfinished uploads: they are resumed, or deleted at a start of the coordinator after a week\n"
        ));
    }
    lines
}

pub(crate) fn disk_json(usage: &GetDiskUsageResponse) -> Value {
    json!({
        "total_bytes": usage.total_bytes,
        "free_bytes": usage.free_bytes,
        "unreferenced_bytes": usage.unreferenced_bytes,
        "upload_bytes": usage.upload_bytes,
        "job_sets": usage.job_sets.iter().map(job_set_json).collect::<Vec<_>>(),
        "data_sets": usage.data_sets.iter().map(data_set_json).collect::<Vec<_>>(),
    })
}

fn data_set_json(usage: &DataSetUsage) -> Value {
    json!({ "name": usage.name, "kinds": kinds_json(&usage.kinds), "own_bytes": usage.own_bytes })
}

fn kinds_json(kinds: &[KindUsage]) -> Vec<Value> {
    let kind = |of: &KindUsage| json!({ "kind": word(artifact_kind_from_wire(of.kind)), "size_bytes": of.size_bytes });
    kinds.iter().map(kind).collect()
}

fn job_set_json(usage: &JobSetUsage) -> Value {
    json!({
        "id": usage.job_set_id,
        "name": usage.name,
        "state": word(job_set_state_from_wire(usage.state)),
        "kinds": kinds_json(&usage.kinds),
        "own_bytes": usage.own_bytes,
    })
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::{self, job_set};

    use super::*;
    use crate::render::page::tests::terminal;

    fn usage() -> GetDiskUsageResponse {
        let kind = |kind: v1::ArtifactKind, size_bytes| KindUsage { kind: kind.into(), size_bytes };
        let job_set = |id: &str, name: &str, state: job_set::State| JobSetUsage {
            job_set_id: id.into(),
            name: name.into(),
            state: state.into(),
            kinds: vec![kind(v1::ArtifactKind::Manifest, 5_000), kind(v1::ArtifactKind::Checkpoint, 470_000_000)],
            own_bytes: 470_000_000,
        };
        GetDiskUsageResponse {
            total_bytes: 100_000_000_000,
            free_bytes: 7_000_000_000,
            job_sets: vec![
                job_set("js-bbbbbbbb", "", job_set::State::Training),
                job_set("js-aaaaaaaa", "evening", job_set::State::Succeeded),
            ],
            unreferenced_bytes: 295_000_000,
            upload_bytes: 0,
            data_sets: vec![DataSetUsage {
                name: "xrays".into(),
                kinds: vec![kind(v1::ArtifactKind::Segment, 64_000_000), kind(v1::ArtifactKind::Manifest, 5_000)],
                own_bytes: 64_000_000,
            }],
        }
    }

    #[test]
    fn the_use_of_the_disk_is_shown() {
        let expected = "\
7.0 GB of 100 GB are free (7%).

ID           STATE      MODELS  RESULTS  LISTS   IMAGES  UNSHARED  NAME
js-bbbbbbbb  training   470 MB  0 B      5.0 kB  0 B     470 MB    -
js-aaaaaaaa  succeeded  470 MB  0 B      5.0 kB  0 B     470 MB    evening

DATA SET  IMAGES  LISTS   UNSHARED
xrays     64 MB   5.0 kB  64 MB

Can be freed:
   470 MB  `fivefold delete js-aaaaaaaa`
    64 MB  `fivefold datasets delete xrays`
   295 MB  files that nothing needs: they are deleted within the hour, images of an interrupted push within a day
";
        assert_eq!(disk_text(&usage(), &terminal(80, 24)), expected);
        let narrow = disk_text(&usage(), &terminal(40, 24));
        assert!(narrow.contains("\nID           STATE      UNSHARED  NAME\n"), "{narrow}");
        let (job_sets, data_sets) = (Vec::new(), Vec::new());
        let empty = GetDiskUsageResponse { job_sets, data_sets, unreferenced_bytes: 0, ..usage() };
        assert_eq!(disk_text(&empty, &terminal(80, 24)), "7.0 GB of 100 GB are free (7%).\n");
    }

    #[test]
    fn the_json_has_bytes() {
        let json = disk_json(&usage());
        assert_eq!(json["job_sets"][1]["kinds"][1], json!({ "kind": "checkpoint", "size_bytes": 470_000_000 }));
        assert_eq!(json["job_sets"][0]["state"], "training");
    }
}
