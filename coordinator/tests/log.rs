//! The log of the real program, and callers who try to write lines of it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;
use std::time::{Duration, Instant};

use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1;
use tonic::Code;

use crate::site::program::{COORDINATOR, Program};
use crate::site::{Site, reference, spec};

mod site;

const FORGED: &str = "\n2026-11-25T00:00:00.000000Z  INFO forged\r\u{1b}[2Kforged\u{2028}forged";

#[tokio::test]
async fn a_callers_text_never_begins_a_line_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(Command::new(COORDINATOR), folder.path()).unwrap();
    let site = Site::of_program(program.url.clone()).await;
    let id = site.submit("r1", &spec()).await.unwrap().id;
    let mut workers = site.workers.clone();
    for (name, device) in [(FORGED, "cpu"), ("w", FORGED)] {
        let request = v1::RegisterWorkerRequest {
            name: name.into(),
            device: device.into(),
            version: "0".into(),
            protocol: fivefold_proto::PROTOCOL,
            has_image_folder: true,
        };
        assert_eq!(workers.register_worker(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    let failure = |attempt| v1::FailJobRequest {
        lease: reference(&v1::Lease { attempt, ..lease.clone() }),
        cause: v1::FailureCause::Error.into(),
        message: format!("of attempt {attempt}{FORGED}"),
    };
    let stale = workers.fail_job(failure(7)).await.unwrap_err();
    assert!(has_reason(&stale, Reason::StaleAttempt), "{stale:?}");
    workers.fail_job(failure(1)).await.unwrap();

    let start = Instant::now();
    while !program.log().iter().any(|line| line.contains("of attempt 1")) {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", program.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = program.log();
    let forged: Vec<&String> = log.iter().filter(|line| line.contains("forged")).collect();
    assert_eq!(forged.len(), 1, "{log:#?}");
    assert!(forged[0].contains("WARN attempt 1 of job"), "{forged:?}");
    assert!(forged[0].ends_with(r"\r\u{1b}[2Kforged\u{2028}forged"), "{forged:?}");
    assert!(!log.iter().any(|line| line.contains("of attempt 7")), "the lease was not held: {log:#?}");
    let failed = &site.job_set(&id).await.jobs[lease.fold as usize];
    assert!(failed.state_reason.contains(r"\u{2028}forged"), "{failed:?}");
}
