//! Pushed data sets: stored, submitted with, kept and freed.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::data_set_name::DataSetName;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::job::FailureCause;
use fivefold_common::job_set::JobSetState;
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Prediction, PushedDataSet, Settings, Submission};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;
use fivefold_coordinator::queue::{DataSet, DataSetLists, ImageAccess, NewWorker};

use crate::pushed::Pushed;
use crate::rig::{Rig, TEST_LIST, TRAIN_LIST, submission};

mod pushed;
mod rig;

const START: i64 = 1_000_000;
const HOUR_MS: i64 = 3_600_000;
const DATASET_TOML: &str = "epochs = 3\n[lists]\ntrain = \"train.csv\"\n";

struct Fixture {
    rig: Rig,
    _folder: tempfile::TempDir,
}

/// A coordinator with both lists.
async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };
    let rig = Rig::open(&folder.path().join("q.sqlite"), settings).await;
    rig.clock.set(Timestamp(START));
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    rig.upload(ArtifactKind::Manifest, TEST_LIST.as_bytes()).await;
    Fixture { rig, _folder: folder }
}

fn spec() -> JobSetSpec {
    JobSetSpec { fold: vec![0], ..JobSetSpec::default() }
}

/// The images of both lists.
fn images(content: &str) -> Pushed {
    Pushed::of(&spec(), content, &[(Source::Train, &TRAIN_LIST), (Source::Test, TEST_LIST)])
}

fn name(text: &str) -> DataSetName {
    text.parse().unwrap()
}

fn test_list() -> Digest {
    Digest::of(TEST_LIST.as_bytes())
}

impl Fixture {
    async fn upload(&self, pushed: &Pushed) -> Digest {
        for bytes in &pushed.segments {
            self.rig.upload(ArtifactKind::Segment, bytes.clone()).await;
        }
        self.rig.upload(ArtifactKind::ImageIndex, pushed.index_json()).await
    }

    async fn put(&self, as_name: &str, images: Digest, dataset_toml: &str) -> Result<DataSet, Error> {
        let train = Digest::of(TRAIN_LIST.as_bytes());
        let lists = DataSetLists { train, hpa: None, test: Some(test_list()), folds: None };
        let pushed = PushedDataSet { name: name(as_name), dataset_toml: dataset_toml.to_owned(), lists, images };
        app::put_data_set(&self.rig.coordinator, pushed).await
    }

    async fn submit(&self, request: &str, spec: JobSetSpec, images: Digest) -> Result<JobSetId, Error> {
        let submission = Submission { images: Some(images), ..submission(request, spec, Some(test_list())) };
        app::submit(&self.rig.coordinator, submission).await
    }

    async fn register(&self, worker: &str, images: ImageAccess) {
        let worker = NewWorker { name: worker.into(), device: "cpu".into(), version: "0".into(), images };
        app::register_worker(&self.rig.coordinator, worker).await.unwrap();
    }

    /// Deletes what is unreferenced, so many hours after the start, and says what that was.
    async fn clean_after(&self, hours: i64) -> HashSet<Digest> {
        let before = self.rig.blobs.digests();
        self.rig.clock.set(Timestamp(START + hours * HOUR_MS));
        app::clean(&self.rig.coordinator).await.unwrap();
        let after = self.rig.blobs.digests();
        assert_eq!(after, self.rig.known().await);
        before.difference(&after).copied().collect()
    }
}

#[tokio::test]
async fn a_data_set_is_stored_replaced_listed_and_deleted() {
    let fixture = fixture().await;
    let coordinator = &fixture.rig.coordinator;
    assert!(app::data_sets(coordinator).await.unwrap().is_empty());
    let pushed = images("first");
    let index = fixture.upload(&pushed).await;
    let stored = fixture.put("xrays", index, DATASET_TOML).await.unwrap();
    assert_eq!((stored.image_count, stored.size_bytes), (12, pushed.index.images_bytes()));
    assert_eq!((stored.images, stored.created), (index, Timestamp(START)));
    assert_eq!((stored.dataset_toml.as_str(), stored.lists.test), (DATASET_TOML, Some(test_list())));
    assert_eq!(app::data_set(coordinator, &name("xrays")).await.unwrap(), stored);

    fixture.rig.clock.set(Timestamp(START + 5));
    fixture.put("a", index, DATASET_TOML).await.unwrap();
    let second = fixture.upload(&images("second")).await;
    let replaced = fixture.put("xrays", second, "epochs = 4").await.unwrap();
    assert_eq!(
        (replaced.images, replaced.created, replaced.dataset_toml.as_str()),
        (second, Timestamp(START + 5), "epochs = 4")
    );
    let names: Vec<String> =
        app::data_sets(coordinator).await.unwrap().iter().map(|data_set| data_set.name.to_string()).collect();
    assert_eq!(names, ["a", "xrays"]);

    app::delete_data_set(coordinator, &name("a")).await.unwrap();
    let gone = app::data_set(coordinator, &name("a")).await.unwrap_err();
    assert!(
        matches!(gone, Error::NotFound { what: "data set", .. }) && gone.to_string().contains("data set a"),
        "{gone}"
    );
    app::delete_data_set(coordinator, &name("a")).await.unwrap_err();
}

#[tokio::test]
async fn a_data_set_that_cannot_be_trained_on_is_refused_in_words() {
    let fixture = fixture().await;
    let pushed = images("first");
    let index = fixture.upload(&pushed).await;
    for (toml, wanted) in [
        ("epoks = 3", "data_set.dataset_toml: line 1 (epoks = 3): unknown key `epoks`"),
        ("epochs = 0", "data_set.dataset_toml: epochs: 0 is out of range"),
        (
            "image_size = 768",
            "the pushed images have the size 3 x 512 x 512 (channels, pixels), but the settings say 3 x 768 x 768",
        ),
        ("resize = \"area\"", "but the settings say \"decoder 1: red green blue, stretch; train: train/<id>_red.png"),
        ("id_column = \"image\"", "train list"),
    ] {
        let refused = fixture.put("xrays", index, toml).await.unwrap_err().to_string();
        assert!(refused.contains(wanted), "{toml}: {refused}");
    }
    let nothing = fixture.put("xrays", Digest::of(b"nothing"), DATASET_TOML).await.unwrap_err().to_string();
    assert!(
        nothing.starts_with("data_set.manifests.images_digest: ") && nothing.contains("upload it first"),
        "{nothing}"
    );
    assert!(app::data_sets(&fixture.rig.coordinator).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_submission_without_all_of_its_images_is_refused_before_anything_is_queued() {
    let fixture = fixture().await;
    let pushed = images("all");
    let index = fixture.rig.upload(ArtifactKind::ImageIndex, pushed.index_json()).await;
    let refused = async |spec: JobSetSpec, images: Digest| {
        let error = fixture.submit("r", spec, images).await.unwrap_err();
        assert!(matches!(error, Error::BadContent(_) | Error::BadField { .. }), "{error:?}");
        error.to_string()
    };
    let none = refused(spec(), index).await;
    let first = pushed.digests()[0];
    assert!(none.contains(&format!("2 of 2 segments of the pushed images are not held, such as {first}")), "{none}");
    fixture.rig.upload(ArtifactKind::Segment, pushed.segments[0].clone()).await;
    let one = refused(spec(), index).await;
    assert!(one.contains("1 of 2 segments") && one.ends_with("push the data set again"), "{one}");
    fixture.upload(&pushed).await;

    let other_size = refused(JobSetSpec { image_size: 256, ..spec() }, index).await;
    assert!(other_size.contains("but the settings say 3 x 256 x 256: leave out settings on images"), "{other_size}");
    let not_json = fixture.rig.upload(ArtifactKind::ImageIndex, "{}").await;
    let not_json = refused(spec(), not_json).await;
    assert!(not_json.contains("the index of the pushed images: missing field `identity`"), "{not_json}");
    let mut changed = images("all");
    changed.index.segments[0].bytes += 1;
    let other_bytes = fixture.rig.upload(ArtifactKind::ImageIndex, changed.index_json()).await;
    assert!(refused(spec(), other_bytes).await.contains("1 of 2 segments"), "another size");
    let train_alone = Pushed::of(&spec(), "train", &[(Source::Train, &TRAIN_LIST)]);
    let train_alone = fixture.upload(&train_alone).await;
    let no_test = refused(spec(), train_alone).await;
    assert!(
        no_test.contains("the test list, row 1: the image \"x1\" is not among the pushed ones, and 1 more images"),
        "{no_test}"
    );
    let absent = refused(spec(), Digest::of(b"absent")).await;
    assert!(absent.starts_with("manifests.images_digest: ") && absent.contains("upload it first"), "{absent}");

    assert!(fixture.rig.coordinator.queue.job_sets(None, 10).await.unwrap().is_empty());
    let id = fixture.submit("r", spec(), index).await.unwrap();
    assert_eq!(app::job_set(&fixture.rig.coordinator, &id).await.unwrap().inputs.images, Some(index));
}

#[tokio::test]
async fn segments_stay_as_long_as_a_data_set_or_a_job_set_needs_them() {
    let fixture = fixture().await;
    let coordinator = &fixture.rig.coordinator;
    let (first, second) = (images("first"), images("second"));
    let (first_index, second_index) = (fixture.upload(&first).await, fixture.upload(&second).await);
    fixture.put("xrays", first_index, DATASET_TOML).await.unwrap();
    let id = fixture.submit("r", spec(), first_index).await.unwrap();
    // The data set gets other images, which nothing else needs.
    fixture.put("xrays", second_index, DATASET_TOML).await.unwrap();
    assert_eq!(fixture.clean_after(30).await, HashSet::new());
    let usage = app::disk_usage(coordinator).await.unwrap();
    let [of_data_set] = &usage.data_sets[..] else { panic!("{usage:?}") };
    let second_bytes = second.index.images_bytes() + second.index_json().len() as u64;
    assert_eq!((of_data_set.name.as_str(), of_data_set.own_bytes), ("xrays", second_bytes));
    assert_eq!(of_data_set.bytes[&ArtifactKind::Segment], second.index.images_bytes());
    assert_eq!(usage.job_sets[0].bytes[&ArtifactKind::Segment], first.index.images_bytes());
    assert_eq!(
        (usage.job_sets[0].bytes[&ArtifactKind::ImageIndex], usage.unreferenced_bytes),
        (first.index_json().len() as u64, 0)
    );

    app::delete_data_set(coordinator, &name("xrays")).await.unwrap();
    let freed: HashSet<Digest> = second.digests().into_iter().chain([second_index]).collect();
    assert_eq!(fixture.clean_after(30).await, freed);
    assert_eq!(app::disk_usage(coordinator).await.unwrap().unreferenced_bytes, 0);

    app::cancel(coordinator, &id).await.unwrap();
    app::delete(coordinator, &id).await.unwrap();
    let freed = fixture.clean_after(32).await;
    assert!(first.digests().iter().chain([&first_index]).all(|digest| freed.contains(digest)));
    assert!(fixture.rig.known().await.is_empty());
}

#[tokio::test]
async fn job_sets_and_data_sets_share_images() {
    let fixture = fixture().await;
    let coordinator = &fixture.rig.coordinator;
    let pushed = images("shared");
    let index = fixture.upload(&pushed).await;
    for as_name in ["a", "b"] {
        fixture.put(as_name, index, DATASET_TOML).await.unwrap();
    }
    let id = fixture.submit("r", spec(), index).await.unwrap();
    app::cancel(coordinator, &id).await.unwrap();
    app::delete(coordinator, &id).await.unwrap();
    app::delete_data_set(coordinator, &name("a")).await.unwrap();
    let gone = fixture.clean_after(30).await;
    assert!(pushed.digests().iter().chain([&index]).all(|digest| !gone.contains(digest)), "{gone:?}");
    // And a job set can still be made of what is left.
    fixture.submit("again", spec(), index).await.unwrap();
}

#[tokio::test]
async fn an_interrupted_push_goes_on_within_a_day() {
    let fixture = fixture().await;
    let coordinator = &fixture.rig.coordinator;
    let pushed = images("first");
    let index = fixture.upload(&pushed).await;
    let gone = fixture.clean_after(2).await;
    assert!(gone.contains(&index) && pushed.digests().iter().all(|digest| !gone.contains(digest)), "{gone:?}");
    fixture.rig.clock.set(Timestamp(START + 23 * HOUR_MS));
    let unknown = Digest::of(b"unknown");
    let asked = [pushed.digests(), vec![unknown]].concat();
    assert_eq!(app::missing_artifacts(coordinator, asked).await.unwrap(), [unknown]);
    assert_eq!(fixture.clean_after(24).await, HashSet::new());
    assert_eq!(fixture.clean_after(26).await, pushed.digests().into_iter().collect());
    assert_eq!(app::missing_artifacts(coordinator, pushed.digests()).await.unwrap(), pushed.digests());
}

#[tokio::test]
async fn a_deleted_data_set_may_be_pushed_again_within_the_hour() {
    let fixture = fixture().await;
    let coordinator = &fixture.rig.coordinator;
    let pushed = images("first");
    let index = fixture.upload(&pushed).await;
    fixture.put("xrays", index, DATASET_TOML).await.unwrap();
    app::delete_data_set(coordinator, &name("xrays")).await.unwrap();
    assert_eq!(fixture.clean_after(1).await, HashSet::new());
    fixture.rig.clock.set(Timestamp(START));
    fixture.put("xrays", index, DATASET_TOML).await.unwrap();
    app::delete_data_set(coordinator, &name("xrays")).await.unwrap();
    let gone = fixture.clean_after(2).await;
    assert!(pushed.digests().iter().chain([&index]).all(|digest| gone.contains(digest)), "not after a day: {gone:?}");
}

#[tokio::test]
async fn a_worker_without_a_folder_of_images_gets_job_sets_with_pushed_ones_alone() {
    let fixture = fixture().await;
    let coordinator = &fixture.rig.coordinator;
    fixture.register("bare", ImageAccess::Pushed).await;
    let in_folders = app::submit(coordinator, submission("folders", spec(), None)).await.unwrap();
    let acquire =
        async |request: &str, images| app::acquire_under(coordinator, "bare", request, None, images).await.unwrap();
    assert!(!app::has_free_job(coordinator, "bare", ImageAccess::Pushed).await.unwrap());
    assert_eq!(acquire("a", ImageAccess::Pushed).await, None);
    assert!(app::has_free_job(coordinator, "bare", ImageAccess::Folder).await.unwrap());

    let index = fixture.upload(&images("pushed")).await;
    let pushed = fixture.submit("pushed", spec(), index).await.unwrap();
    assert!(app::has_free_job(coordinator, "bare", ImageAccess::Pushed).await.unwrap());
    let leased = acquire("b", ImageAccess::Pushed).await.unwrap();
    assert_eq!((&leased.job_set, leased.inputs.images), (&pushed, Some(index)));
    assert_eq!(acquire("b", ImageAccess::Pushed).await.unwrap().lease, leased.lease, "the same request");
    assert_eq!(acquire("c", ImageAccess::Folder).await.unwrap().job_set, in_folders);
    let listed = app::workers(coordinator).await.unwrap();
    assert_eq!(listed[0].worker.images, ImageAccess::Pushed);
    fixture.register("bare", ImageAccess::Folder).await;
    assert_eq!(app::workers(coordinator).await.unwrap()[0].worker.images, ImageAccess::Folder);
}

#[tokio::test]
async fn a_worker_without_a_folder_keeps_no_job_set_waiting_whose_images_nobody_can_use() {
    let fixture = fixture().await;
    let coordinator = &fixture.rig.coordinator;
    fixture.register("bare", ImageAccess::Pushed).await;
    fixture.register("ada", ImageAccess::Folder).await;
    let in_folders = app::submit(coordinator, submission("folders", spec(), None)).await.unwrap();
    let index = fixture.upload(&images("pushed")).await;
    let pushed = fixture.submit("pushed", spec(), index).await.unwrap();
    for request in ["a", "b"] {
        let lease = app::acquire(coordinator, "ada", request).await.unwrap().unwrap().lease;
        app::fail(coordinator, lease, FailureCause::BadData, "no such image").await.unwrap();
    }
    fixture.rig.clock.set(Timestamp(START + 10 * 60_000));
    app::see_worker(coordinator, "bare").await.unwrap();
    app::sweep(coordinator).await.unwrap();
    let state = async |id: &JobSetId| app::job_set(coordinator, id).await.unwrap().state;
    assert_eq!(state(&in_folders).await, JobSetState::Failed);
    assert_eq!(state(&pushed).await, JobSetState::Training, "the other worker may take it");
}

#[tokio::test]
async fn a_job_needs_its_index_and_segments_and_no_others() {
    let fixture = fixture().await;
    let coordinator = &fixture.rig.coordinator;
    let (own, other) = (images("own"), images("other"));
    let (own_index, other_index) = (fixture.upload(&own).await, fixture.upload(&other).await);
    fixture.put("other", other_index, DATASET_TOML).await.unwrap();
    fixture.submit("r", spec(), own_index).await.unwrap();
    fixture.register("w", ImageAccess::Pushed).await;
    let lease = app::acquire_under(coordinator, "w", "a", None, ImageAccess::Pushed).await.unwrap().unwrap().lease;
    for digest in own.digests().into_iter().chain([own_index]) {
        app::allow_download(coordinator, lease, digest).await.unwrap();
    }
    for digest in other.digests().into_iter().chain([other_index]) {
        let refused = app::allow_download(coordinator, lease, digest).await.unwrap_err();
        assert!(matches!(refused, Error::RoleNotEnough(_)), "{refused:?}");
    }
    app::release(coordinator, lease).await.unwrap();
    let ended = app::allow_download(coordinator, lease, own.digests()[0]).await.unwrap_err();
    assert!(matches!(ended, Error::StaleAttempt(_)), "{ended:?}");
}

#[tokio::test]
async fn a_test_list_of_other_images_is_not_predicted() {
    let fixture = fixture().await;
    let coordinator = &fixture.rig.coordinator;
    let index = fixture.upload(&images("all")).await;
    let id = fixture.submit("r", spec(), index).await.unwrap();
    let other = fixture.rig.upload(ArtifactKind::Manifest, "Id,Predicted\nx0,0\ny7,0\n").await;
    let predict =
        async |test| app::predict(coordinator, &id, Prediction { test: Some(test), folds: None, replace: true }).await;
    let refused = predict(other).await.unwrap_err().to_string();
    assert!(
        refused.contains("the test list, row 2: the image \"y7\" is not among the pushed ones: the job set has"),
        "{refused}"
    );
    let part = fixture.rig.upload(ArtifactKind::Manifest, "Id,Predicted\nx0,0\n").await;
    predict(part).await.unwrap();
}
