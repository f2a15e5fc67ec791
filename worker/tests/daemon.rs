//! The daemon against a coordinator in memory: a fold is trained, delivered, released, resumed and refused; and the coordinator
//! goes away in the middle.

#![expect(clippy::unwrap_used, reason = "tests")]

mod fake_coordinator;
mod rig;

use std::time::Duration;

use fake_coordinator::{Coordinator, Server};
use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::{FoldTable, Manifest};
use fivefold_common::scores::{ScoreTable, Source};
use fivefold_common::spec::JobSetSpec;
use fivefold_proto::v1;

use crate::rig::{Data, Worker, oof, spec, undisturbed, until, write_png};

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_is_trained_and_delivered() {
    let data = Data::new();
    let coordinator = undisturbed(&data).await;
    let table = ScoreTable::read_csv("oof.csv", oof(&coordinator).as_slice()).unwrap();
    let train = Manifest::read_labelled_csv("train.csv", &JobSetSpec::default(), data.train.as_slice()).unwrap();
    let hpa = Manifest::read_labelled_csv("hpa.csv", &JobSetSpec::default(), data.hpa.as_slice()).unwrap();
    let folds = FoldTable::split(&spec(), &train, Some(&hpa)).unwrap();
    let expected = folds.rows.iter().filter(|row| row.fold == Fold(1)).map(|row| (row.id.as_str(), row.source));
    assert!(table.rows.iter().map(|row| (row.id.as_str(), row.source)).eq(expected));
    assert!(table.rows.iter().any(|row| row.source == Source::Hpa));

    let state = coordinator.state();
    assert_eq!(state.epochs.keys().copied().collect::<Vec<_>>(), [0, 1]);
    let completed = state.completed.as_ref().unwrap();
    let checkpoint = completed.checkpoint.as_ref().unwrap();
    // What scored has no optimiser state, unlike what training would resume from.
    let at_the_end = |recorded: &&v1::Checkpoint| (recorded.epoch, recorded.role()) == (2, v1::CheckpointRole::Last);
    let last = state.recorded.iter().find(at_the_end).unwrap();
    let bytes = |digest: &String| state.artifacts[digest].len();
    assert!(3 * bytes(&checkpoint.digest) < bytes(&last.digest) + bytes(&last.digest) / 10);
    assert_eq!((checkpoint.epoch, checkpoint.step), (2, 0));
    assert!(state.recorded.iter().any(|recorded| recorded.role() == v1::CheckpointRole::Best));
    let made_by: serde_json::Value = serde_json::from_str(&completed.made_by_json).unwrap();
    assert_eq!(made_by["device"], "cpu");
    assert!(state.failed.is_none() && state.released == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_goes_away_and_comes_back() {
    let data = Data::new();
    let calm = undisturbed(&data).await;
    let coordinator = Coordinator::default();
    data.queue_lease(&coordinator, 1);
    let server = Server::start(&coordinator, 0).await;
    let (url, port) = (server.url.clone(), server.port);
    let worker = Worker::start(&url, data.folder.path());
    until(&coordinator, "training has begun", |state| state.reports > 1).await;
    server.stop();
    // Training may end meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(coordinator.state().completed.is_none());
    let server = Server::start(&coordinator, port).await;
    until(&coordinator, "the fold is complete", |state| state.completed.is_some()).await;
    worker.leave().await;
    server.stop();
    assert_eq!(oof(&calm), oof(&coordinator));
    assert_eq!(calm.state().epochs.keys().collect::<Vec<_>>(), coordinator.state().epochs.keys().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_leaves_releases_its_fold_and_another_one_resumes_it() {
    let data = Data::new();
    let calm = undisturbed(&data).await;
    let coordinator = Coordinator::default();
    data.queue_lease(&coordinator, 1);
    let server = Server::start(&coordinator, 0).await;
    let worker = Worker::start(&server.url, data.folder.path());
    until(&coordinator, "a checkpoint is recorded", |state| !state.recorded.is_empty()).await;
    worker.leave().await;
    if coordinator.state().completed.is_none() {
        assert_eq!(coordinator.state().released, 1);
        let mut lease = data.lease(&coordinator, 2);
        let checkpoints = coordinator.state().newest_checkpoints();
        lease.checkpoints = checkpoints;
        // The newest one cannot be used: the one before it is.
        let broken = b"not a checkpoint".to_vec();
        let digest = Digest::of(&broken).to_string();
        let first =
            v1::Checkpoint { digest: digest.clone(), size_bytes: broken.len() as u64, ..lease.checkpoints[0].clone() };
        coordinator.state().artifacts.insert(digest, broken);
        lease.checkpoints.insert(0, first);
        coordinator.state().queue.push_back(lease);
        let worker = Worker::start(&server.url, data.folder.path());
        until(&coordinator, "the fold is complete", |state| state.completed.is_some()).await;
        worker.leave().await;
    }
    server.stop();
    assert!(coordinator.state().failed.is_none());
    assert_eq!(oof(&calm), oof(&coordinator));
    assert_eq!(coordinator.state().epochs.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_answer_is_on_its_way_is_given_back_by_a_worker_that_leaves() {
    let data = Data::new();
    let coordinator = Coordinator::default();
    let server = Server::start(&coordinator, 0).await;
    coordinator.state().withholds_answers = true;
    data.queue_lease(&coordinator, 1);
    let worker = Worker::start(&server.url, data.folder.path());
    until(&coordinator, "the lease is given", |state| state.unanswered.is_some()).await;
    worker.leave().await;
    let released = coordinator.state().released;
    assert_eq!(released, 1, "{}", coordinator.state().summary());
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_the_attempt_silently() {
    let data = Data::new();
    let coordinator = Coordinator::default();
    data.queue_lease(&coordinator, 1);
    let server = Server::start(&coordinator, 0).await;
    let worker = Worker::start(&server.url, data.folder.path());
    until(&coordinator, "a checkpoint is recorded", |state| !state.recorded.is_empty()).await;
    coordinator.state().current_attempt = Some(2);
    until(&coordinator, "the worker asks for other work", |state| state.waits > 1).await;
    worker.leave().await;
    server.stop();
    let state = coordinator.state();
    assert!(state.completed.is_none() && state.failed.is_none() && state.released == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_cannot_run_fail_with_their_cause() {
    let data = Data::new();
    let coordinator = Coordinator::default();
    let server = Server::start(&coordinator, 0).await;
    let worker = Worker::start(&server.url, data.folder.path());

    let mut broken = data.lease(&coordinator, 1);
    let digest = Digest::of(b"nothing of use").to_string();
    coordinator.state().artifacts.insert(digest.clone(), b"nothing of use".to_vec());
    let role = v1::CheckpointRole::Last.into();
    broken.checkpoints = vec![v1::Checkpoint { digest, size_bytes: 14, role, epoch: 1, step: 0, macro_f1: None }];
    coordinator.state().queue.push_back(broken);
    until(&coordinator, "the job has failed", |state| state.failed.is_some()).await;
    let failed = coordinator.state().failed.take().unwrap();
    assert_eq!(failed.cause(), v1::FailureCause::Error, "{}", failed.message);
    assert!(failed.message.contains("checkpoint"), "{}", failed.message);

    std::fs::remove_file(data.folder.path().join("hpa/hpa-3_green.png")).unwrap();
    data.queue_lease(&coordinator, 2);
    until(&coordinator, "the job has failed", |state| state.failed.is_some()).await;
    let failed = coordinator.state().failed.take().unwrap();
    assert_eq!(failed.cause(), v1::FailureCause::BadData);
    assert!(failed.message.contains("hpa-3_green.png"), "{}", failed.message);

    let removed = data.folder.path().join("hpa/hpa-3_green.png");
    write_png(&removed, 1);
    // An image of the test list, which no fold trains with.
    std::fs::write(data.folder.path().join("test/test-2_red.png"), "").unwrap();
    data.queue_lease(&coordinator, 3);
    until(&coordinator, "the job has failed", |state| state.failed.is_some()).await;
    let failed = coordinator.state().failed.take().unwrap();
    assert_eq!(failed.cause(), v1::FailureCause::BadData);
    assert!(failed.message.contains("test-2_red.png: is empty"), "{}", failed.message);
    worker.leave().await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_list_is_scored_with_a_folds_checkpoint() {
    let data = Data::new();
    let trained = undisturbed(&data).await;
    let coordinator = Coordinator::default();
    coordinator.state().artifacts.clone_from(&trained.state().artifacts);
    let mut lease = data.lease(&coordinator, 1);
    lease.kind = v1::JobKind::Predict.into();
    lease.checkpoints = vec![trained.state().completed.as_ref().unwrap().checkpoint.clone().unwrap()];
    coordinator.state().queue.push_back(lease);
    let server = Server::start(&coordinator, 0).await;
    let worker = Worker::start(&server.url, data.folder.path());
    until(&coordinator, "the job is complete", |state| state.completed.is_some()).await;
    worker.leave().await;
    server.stop();
    let table = ScoreTable::read_csv("predictions.csv", oof(&coordinator).as_slice()).unwrap();
    let ids: Vec<_> = table.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["test-0", "test-1", "test-2", "test-3"]);
    assert!(table.rows.iter().all(|row| row.source == Source::Test && row.fold == Fold(1) && row.target.is_empty()));
}
