//! What workers say during attempts, as the coordinator keeps it.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::ids::{Attempt, JobId, LeaseRef};
use fivefold_common::log_line::{LogLevel, LogLine};
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use fivefold_coordinator::queue::{LogLimit, NewLogLines, Queue as _};
use fivefold_proto::convert::log_line_to_wire;
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1;
use fivefold_proto::v1::log_service_client::LogServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::site::{Site, reference, spec};

mod site;

fn line(number: u64, message: &str) -> LogLine {
    LogLine { number, time_ms: 1_735_787_045_678, level: LogLevel::Info, message: message.to_owned() }
}

async fn append(
    logs: &mut LogServiceClient<Channel>,
    lease: Option<v1::LeaseRef>,
    lines: &[LogLine],
) -> Result<(), Status> {
    let lines = lines.iter().map(log_line_to_wire).collect();
    let worker_name = "gpu1".to_owned();
    logs.append_log_lines(v1::AppendLogLinesRequest { lease, lines, worker_name }).await.map(|_| ())
}

async fn read(logs: &mut LogServiceClient<Channel>, id: &str, fold: Option<u32>, after_cursor: i64) -> Vec<String> {
    let request = v1::ListLogLinesRequest { job_set_id: id.to_owned(), fold, after_cursor, page_size: 0 };
    let lines = logs.list_log_lines(request).await.unwrap().into_inner().lines;
    let text = |stored: v1::StoredLogLine| {
        format!("{}/{} {}: {}", stored.fold, stored.attempt, stored.worker_name, stored.line.unwrap().message)
    };
    lines.into_iter().map(text).collect()
}

#[tokio::test]
async fn lines_of_an_attempt_are_kept_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 30).await;
    let mut logs = LogServiceClient::connect(format!("http://{}", site.address)).await.unwrap();
    let id = site.submit("r1", &spec()).await.unwrap().id;
    site.register("gpu1").await;
    let first = site.acquire("gpu1", "a", 0).await.unwrap();
    let second = site.acquire("gpu1", "b", 0).await.unwrap();
    append(&mut logs, reference(&first), &[line(1, "begins"), line(2, "epoch\n1/3")]).await.unwrap();
    append(&mut logs, reference(&second), &[line(1, "begins too")]).await.unwrap();
    append(&mut logs, reference(&first), &[line(2, "again"), line(3, "done")]).await.unwrap();
    let all = ["0/1 gpu1: begins", r"0/1 gpu1: epoch\n1/3", "1/1 gpu1: begins too", "0/1 gpu1: done"];
    assert_eq!(read(&mut logs, &id, None, 0).await, all);
    assert_eq!(read(&mut logs, &id, Some(1), 0).await, all[2..3]);
    assert_eq!(read(&mut logs, &id, None, 3).await, all[3..]);

    // An attempt that has ended may still say why; one that never was may not.
    let failure =
        v1::FailJobRequest { lease: reference(&first), cause: v1::FailureCause::Error.into(), message: "x".into() };
    site.workers.clone().fail_job(failure).await.unwrap();
    append(&mut logs, reference(&first), &[line(4, "failed")]).await.unwrap();
    let stale = v1::LeaseRef { attempt: 7, ..reference(&first).unwrap() };
    let refused = append(&mut logs, Some(stale), &[line(5, "late")]).await.unwrap_err();
    assert!(has_reason(&refused, Reason::StaleAttempt), "{refused:?}");

    let far = append(&mut logs, reference(&first), &[line(u64::MAX, "x")]).await.unwrap_err();
    assert_eq!(far.code(), Code::InvalidArgument, "what is stored would be pushed out");
    let many: Vec<LogLine> = (0..201).map(|number| line(number, "x")).collect();
    assert_eq!(append(&mut logs, reference(&first), &many).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = v1::ListLogLinesRequest { job_set_id: id.clone(), fold: Some(7), ..Default::default() };
    assert_eq!(logs.list_log_lines(unknown).await.unwrap_err().code(), Code::NotFound);

    let request = v1::CancelJobSetRequest { job_set_id: id.clone() };
    site.job_sets.clone().cancel_job_set(request).await.unwrap();
    let request = v1::DeleteJobSetRequest { job_set_id: id.clone() };
    site.job_sets.clone().delete_job_set(request).await.unwrap();
    let deleted = v1::ListLogLinesRequest { job_set_id: id, ..Default::default() };
    assert_eq!(logs.list_log_lines(deleted).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn only_the_newest_lines_and_attempts_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 30).await;
    let id = site.submit("r1", &spec()).await.unwrap().id;
    site.register("w").await;
    let mut leases = Vec::new();
    for attempt in ["a", "b", "c"] {
        let lease = site.acquire("w", attempt, 0).await.unwrap();
        let released = v1::ReleaseLeaseRequest { lease: reference(&lease) };
        let lines: Vec<LogLine> = (1..=5).map(|number| line(number, attempt)).collect();
        leases.push((lease, lines));
        if attempt != "c" {
            site.workers.clone().release_lease(released).await.unwrap();
        }
    }
    site.stop().await;
    let queue = SqliteQueue::open(&folder.path().join("fivefold.sqlite"), Durability::System).await.unwrap();
    let limit = LogLimit { lines_per_attempt: 2, attempts_per_job: 2 };
    let (newest, lines) = leases.pop().unwrap();
    let lease = LeaseRef { job: JobId(newest.job_id), attempt: Attempt(newest.attempt) };
    let new = NewLogLines { lease, worker: "w".to_owned(), lines };
    queue.append_log(new, limit).await.unwrap();
    let kept = queue.log_lines(&id.parse().unwrap(), None, 0, 100).await.unwrap();
    assert_eq!(kept.iter().map(|stored| stored.line.number).collect::<Vec<_>>(), [4, 5]);
    let newest = queue.newest_log_lines(&id.parse().unwrap(), None, 1).await.unwrap();
    assert_eq!(newest[0].line.number, 5);
}
