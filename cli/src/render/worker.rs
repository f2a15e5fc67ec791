//! Workers.

use std::time::{SystemTime, UNIX_EPOCH};

use fivefold_common::one_line::one_line;
use fivefold_proto::Timestamp;
use fivefold_proto::v1::Worker;

use super::page::Page;
use super::table::{Cell, Column, NOTHING, fitted_table};

/// A table of workers, with the time since each was last heard from.
pub(crate) fn worker_table(workers: &[Worker], now: SystemTime, page: &Page) -> String {
    let columns = [
        Column::new("NAME").least_width(12),
        Column::new("DEVICE").rank(2).least_width(8),
        Column::new("IMAGES").rank(4),
        Column::new("LAST SEEN").rank(1),
        Column::new("JOB"),
        Column::new("VERSION").rank(3),
    ];
    let rows: Vec<_> = workers.iter().map(|worker| worker_row(worker, now).map(Cell::from)).collect();
    fitted_table(columns, &rows, page)
}

fn worker_row(worker: &Worker, now: SystemTime) -> [String; 6] {
    [
        one_line(&worker.name).into_owned(),
        one_line(&worker.device).into_owned(),
        if worker.has_image_folder { "folder" } else { "pushed" }.to_owned(),
        time_since(worker.last_seen_time, now),
        match (worker.job_id, worker.draining) {
            (0, _) if worker.gone => "gone".to_owned(),
            (0, true) => "drained".to_owned(),
            (0, false) => "idle".to_owned(),
            (job, true) => format!("{job}, draining"),
            (job, false) => job.to_string(),
        },
        one_line(&worker.version).into_owned(),
    ]
}

/// The time since `then`.
pub(super) fn time_since(then: Option<Timestamp>, now: SystemTime) -> String {
    let now_seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    // The coordinator's clock may be ahead of ours.
    then.map_or(NOTHING.to_owned(), |then| time_ago((now_seconds - then.seconds).max(0)))
}

fn time_ago(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::page::tests::terminal;

    #[test]
    fn narrow_pages_have_names_jobs_and_times() {
        let worker = Worker {
            name: "a-machine-with-a-long-name-cuda0".into(),
            device: "cuda:0 (NVIDIA H200, 139 GiB)".into(),
            version: "0.1.0".into(),
            last_seen_time: Some(fivefold_proto::Timestamp { seconds: 97, nanos: 0 }),
            job_id: 12,
            ..Worker::default()
        };
        let now = UNIX_EPOCH + std::time::Duration::from_secs(100);
        let on = |width| worker_table(std::slice::from_ref(&worker), now, &terminal(width, 24));
        assert!(on(usize::MAX).ends_with(
            "a-machine-with-a-long-name-cuda0  cuda:0 (NVIDIA H200, 139 GiB)  pushed  3 s ago    12   0.1.0\n"
        ));
        for width in 40..100 {
            let text = on(width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert!(text.contains("a-machine-w") && text.contains("3 s ago") && text.contains("  12"), "{text}");
        }
    }

    #[test]
    fn times_are_rounded_down() {
        let words = [3, 119, 120, 7199, 7200, 900_000].map(time_ago);
        assert_eq!(words, ["3 s ago", "119 s ago", "2 min ago", "119 min ago", "2 h ago", "10 days ago"]);
    }
}
