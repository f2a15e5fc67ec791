//! Calls that meet: whichever comes first, what is stored is one of the two outcomes and nothing between.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use fivefold_common::spec::JobSetSpec;
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1;
use tokio::sync::Barrier;

use crate::site::{Site, reference, scores, spec};

mod site;

fn one_fold() -> JobSetSpec {
    JobSetSpec { fold: vec![0], ..spec() }
}

async fn events(site: &Site, id: &str) -> Vec<String> {
    let request = v1::WatchJobSetRequest { job_set_id: id.to_owned(), after_cursor: 0 };
    let mut watch = site.job_sets.clone().watch_job_set(request).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(message) = watch.message().await.unwrap() {
        names.extend(message.events.into_iter().map(|event| event.name));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_meets_a_cancellation() {
    let folder = tempfile::tempdir().unwrap();
    let site = Arc::new(Site::start(folder.path(), 60).await);
    site.register("w").await;
    for round in 0..30 {
        let id = site.submit(&format!("r{round}"), &one_fold()).await.unwrap().id;
        let lease = site.acquire("w", &format!("wait-{round}"), 10).await.unwrap();
        let barrier = Arc::new(Barrier::new(2));
        let (reporting, at) = (site.clone(), (barrier.clone(), lease.clone()));
        let report = tokio::spawn(async move {
            at.0.wait().await;
            reporting.report(&at.1, 1, Vec::new()).await
        });
        barrier.wait().await;
        let request = v1::CancelJobSetRequest { job_set_id: id.clone() };
        site.job_sets.clone().cancel_job_set(request).await.unwrap();
        // It came before the cancellation, or was told of it.
        report.await.unwrap().unwrap();
        assert!(site.report(&lease, 2, Vec::new()).await.unwrap().cancelled, "the next one is told");
        let refused = site.complete(&lease, &scores(&lease)).await.unwrap_err();
        assert!(has_reason(&refused, Reason::StaleAttempt), "{refused:?}");
        let job_set = site.job_set(&id).await;
        assert_eq!(job_set.state(), v1::job_set::State::Cancelled);
        assert_eq!(job_set.jobs[0].state(), v1::job::State::Cancelled);
    }
    Arc::into_inner(site).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_meets_itself() {
    let folder = tempfile::tempdir().unwrap();
    let site = Arc::new(Site::start(folder.path(), 60).await);
    site.register("w").await;
    for round in 0..10 {
        let id = site.submit(&format!("r{round}"), &JobSetSpec { seed: round, ..one_fold() }).await.unwrap().id;
        let lease = site.acquire("w", &format!("wait-{round}"), 10).await.unwrap();
        let table = scores(&lease);
        // Uploaded before, so that the two meet at the completion itself.
        site.upload_results(&lease, &table).await;
        let barrier = Arc::new(Barrier::new(2));
        let tries: Vec<_> = (0..2)
            .map(|_| {
                let (site, barrier, lease, table) = (site.clone(), barrier.clone(), lease.clone(), table.clone());
                tokio::spawn(async move {
                    let request = site.upload_results(&lease, &table).await;
                    barrier.wait().await;
                    site.workers.clone().complete_job(request).await
                })
            })
            .collect();
        for attempt in tries {
            attempt.await.unwrap().unwrap();
        }
        let predicting = site.wait_until(&id, |set| set.state() == v1::job_set::State::Predicting).await;
        assert_eq!(predicting.jobs[0].attempt, 1);
        // The watch of a job set that has ended comes to an end.
        let request = v1::CancelJobSetRequest { job_set_id: id.clone() };
        site.job_sets.clone().cancel_job_set(request).await.unwrap();
        let succeeded = events(&site, &id).await.iter().filter(|name| *name == "succeeded").count();
        assert_eq!(succeeded, 1, "it is counted once");
    }
    Arc::into_inner(site).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_meets_the_end_of_its_lease() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 1).await;
    site.register("slow").await;
    site.register("quick").await;
    let id = site.submit("r", &one_fold()).await.unwrap().id;
    let slow = site.acquire("slow", "a", 10).await.unwrap();
    let result = site.upload_results(&slow, &scores(&slow)).await;
    let quick = loop {
        if let Some(lease) = site.acquire("quick", "b", 10).await {
            break lease;
        }
    };
    let (late, good) = tokio::join!(async { site.workers.clone().complete_job(result).await }, async {
        site.complete(&quick, &scores(&quick)).await
    });
    assert!(has_reason(&late.unwrap_err(), Reason::StaleAttempt));
    good.unwrap();
    let job_set = site.wait_until(&id, |set| set.state() == v1::job_set::State::Predicting).await;
    assert_eq!((job_set.jobs[0].attempt, job_set.jobs[0].worker_name.as_str()), (2, "quick"));
    assert!(site.workers.clone().release_lease(v1::ReleaseLeaseRequest { lease: reference(&slow) }).await.is_err());
    site.stop().await;
}
