//! Workers.

use std::time::{SystemTime, UNIX_EPOCH};

use fivefold_common::one_line::one_line;
use fivefold_proto::v1::Worker;

use super::table::{NOTHING, table};

/// A table of workers, with the time since each was last heard from.
pub(crate) fn worker_table(workers: &[Worker], now: SystemTime) -> String {
    let now_seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let header = ["NAME", "DEVICE", "LAST SEEN", "JOB", "VERSION"];
    table(header, &workers.iter().map(|worker| worker_row(worker, now_seconds)).collect::<Vec<_>>())
}

fn worker_row(worker: &Worker, now_seconds: i64) -> [String; 5] {
    // The coordinator's clock may be ahead of ours.
    let seconds_ago = worker.last_seen_time.map(|time| (now_seconds - time.seconds).max(0));
    [
        one_line(&worker.name).into_owned(),
        one_line(&worker.device).into_owned(),
        seconds_ago.map_or(NOTHING.to_owned(), time_ago),
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

    #[test]
    fn times_are_rounded_down() {
        let words = [3, 119, 120, 7199, 7200, 900_000].map(time_ago);
        assert_eq!(words, ["3 s ago", "119 s ago", "2 min ago", "119 min ago", "2 h ago", "10 days ago"]);
    }
}
