//! Job sets whose folds begin from the models of another one.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::spec::{Head, JobSetSpec};
use fivefold_coordinator::app::{self, Completion, Settings, Submission};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::{ImageAccess, Leased, NewWorker};

use crate::rig::{Rig, TRAIN_LIST, csv, fold_rows, score_table, submission};

mod rig;

const SETTINGS: Settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };

fn spec() -> JobSetSpec {
    JobSetSpec { folds: 2, ..JobSetSpec::default() }
}

async fn rig(folder: &std::path::Path) -> Rig {
    let rig = Rig::open(&folder.join("q.sqlite"), SETTINGS).await;
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let worker = NewWorker { name: "w".into(), device: "cpu".into(), version: "0".into(), images: ImageAccess::Folder };
    app::register_worker(&rig.coordinator, worker).await.unwrap();
    rig
}

async fn lease(rig: &Rig, wait: &str) -> Leased {
    app::acquire(&rig.coordinator, "w", wait).await.unwrap().unwrap()
}

/// Completes a train job, and returns the digest of its model.
async fn complete(rig: &Rig, leased: &Leased) -> Digest {
    let model = rig.upload(ArtifactKind::Checkpoint, format!("model of {}", leased.lease)).await;
    let table = score_table(fold_rows(&leased.spec, leased.fold), leased.fold, &leased.lease.to_string());
    let table = rig.upload(ArtifactKind::Oof, csv(&table)).await;
    let completion = Completion { lease: leased.lease, table, checkpoint: Some(model), made_by_json: "{}".to_owned() };
    app::complete(&rig.coordinator, completion).await.unwrap();
    app::sweep(&rig.coordinator).await.unwrap();
    model
}

async fn submit_warm(rig: &Rig, of: &JobSetId, spec: JobSetSpec) -> Result<JobSetId, Error> {
    let request = format!("{of} {}", spec.to_stored_json());
    let warm = Submission { warm_start_of: Some(of.clone()), ..submission(&request, spec, None) };
    app::submit(&rig.coordinator, warm).await
}

#[tokio::test]
async fn each_fold_begins_from_the_model_of_the_same_fold_which_stays_as_long_as_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path()).await;
    let first = app::submit(&rig.coordinator, submission("first", spec(), None)).await.unwrap();
    let (zero, one) = (lease(&rig, "a").await, lease(&rig, "b").await);
    assert_eq!(zero.initial_model, None);
    let models = [complete(&rig, &zero).await, complete(&rig, &one).await];
    let second = submit_warm(&rig, &first, JobSetSpec { learning_rate: 1e-4, ..spec() }).await.unwrap();
    let stored = app::job_set(&rig.coordinator, &second).await.unwrap();
    assert_eq!((stored.warm_start_of.as_ref(), stored.inputs.weights), (Some(&first), None));

    // The other job set goes; the models stay with those that begin from them.
    app::delete(&rig.coordinator, &first).await.unwrap();
    rig.clock.set(Timestamp(10_000_000));
    app::clean(&rig.coordinator).await.unwrap();
    for (fold, model) in models.into_iter().enumerate() {
        let leased = lease(&rig, &format!("c{fold}")).await;
        assert_eq!((leased.job_set.clone(), leased.fold), (second.clone(), Fold(fold as u8)));
        let initial = leased.initial_model.clone().unwrap();
        assert_eq!((&initial.of, initial.checkpoint), (&first, model));
        assert!(rig.blobs.get(model).is_some());
        app::allow_download(&rig.coordinator, leased.lease, model).await.unwrap();
        let other = models[1 - fold];
        assert!(matches!(
            app::allow_download(&rig.coordinator, leased.lease, other).await,
            Err(Error::RoleNotEnough(_))
        ));
        complete(&rig, &leased).await;
    }
    app::delete(&rig.coordinator, &second).await.unwrap();
    rig.clock.set(Timestamp(20_000_000));
    app::clean(&rig.coordinator).await.unwrap();
    assert!(models.iter().all(|&model| rig.blobs.get(model).is_none()), "nobody needs them any more");
}

#[tokio::test]
async fn another_split_another_network_and_untrained_folds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path()).await;
    let first = app::submit(&rig.coordinator, submission("first", spec(), None)).await.unwrap();
    let refusal = async |spec: JobSetSpec| submit_warm(&rig, &first, spec).await.unwrap_err().to_string();
    complete(&rig, &lease(&rig, "a").await).await;
    let refused = refusal(spec()).await;
    assert!(refused.contains("fold 1 of") && refused.contains("is not trained"), "{refused}");
    submit_warm(&rig, &first, JobSetSpec { fold: vec![0], ..spec() }).await.unwrap();
    for other in [JobSetSpec { folds: 3, ..spec() }, JobSetSpec { split_shuffle: true, ..spec() }] {
        let refused = refusal(other).await;
        assert!(refused.contains("another split") && refused.contains("split_seed"), "{refused}");
        assert!(refused.contains("--warm-start none"), "{refused}");
    }
    let refused = refusal(JobSetSpec { head: Head::Linear, fold: vec![0], ..spec() }).await;
    assert!(refused.contains("another network: head = two_layer, and not linear"), "{refused}");
    let unknown = "js-zzzzzzzz".parse().unwrap();
    assert!(matches!(submit_warm(&rig, &unknown, spec()).await, Err(Error::NotFound { .. })));
    let weights = Some(rig.upload(ArtifactKind::Weights, "weights").await);
    let both = Submission { warm_start_of: Some(first), weights, ..submission("both", spec(), None) };
    let refused = app::submit(&rig.coordinator, both).await.unwrap_err().to_string();
    assert!(refused.contains("weights_digest"), "{refused}");
}
