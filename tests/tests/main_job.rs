//! A whole job set, undisturbed and with crashes: the results are the same bits.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use fivefold_proto::v1;
use fivefold_tests::{Site, report_numbers, tiny_data};

/// Five folds of a narrow ResNet50 on 32 px images; checkpoints every 20 of 400 batches, some three seconds an epoch.
const SPEC: &str = r#"
name = "tiny"
base_width = 8
image_size = 32
batch_size = 4
train_batch_per_epoch = 400
valid_batch_per_epoch = 2
epochs = 2
tta = 2
intraop_threads = 1
checkpoint_every_batches = 20
"#;

fn succeeded(job_set: &v1::JobSet) -> bool {
    job_set.state() == v1::job_set::State::Succeeded
}

/// A train job that the worker of that name is training.
fn in_mid_training(job_set: &v1::JobSet, worker: &str) -> bool {
    job_set.jobs.iter().any(|job| {
        let progress = job.progress.unwrap_or_default();
        job.worker_name == worker
            && job.state() == v1::job::State::Leased
            && progress.phase() == v1::Phase::Training
            && progress.step > 20
    })
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_of_a_worker_and_of_the_coordinator_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();

    // The first job set is undisturbed.
    let calm = folder.path().join("calm");
    let (site, _coordinator) = Site::start(&calm.join("site"), &data, 30).unwrap();
    let workers = [site.start_worker("a").unwrap(), site.start_worker("b").unwrap()];
    let id = site.submit(SPEC).unwrap();
    site.wait_until(&id, "the undisturbed job set succeeds", succeeded).await.unwrap();
    site.results(&id, &calm).unwrap();
    drop(workers);
    // 90 rows, each out-of-fold once; 10 test rows, each predicted by five folds.
    for (name, rows) in [("oof.npy", 90), ("predictions.npy", 50)] {
        let array = read(&calm, name);
        assert!(array.starts_with(b"\x93NUMPY"), "{name}");
        let header = String::from_utf8_lossy(&array[..2048.min(array.len())]).into_owned();
        assert!(header.contains(&format!("'shape': ({rows},)")), "{name}: {header}");
    }

    // The second job set loses a worker during training, then the coordinator.
    let stormy = folder.path().join("stormy");
    let (site, coordinator) = Site::start(&stormy.join("site"), &data, 3).unwrap();
    let doomed = site.start_worker("doomed").unwrap();
    let id = site.submit(SPEC).unwrap();
    site.wait_until(&id, "the doomed worker is in mid-training", |set| in_mid_training(set, "doomed")).await.unwrap();
    let _survivor = site.start_worker("survivor").unwrap();
    site.wait_until(&id, "the survivor is in mid-training", |set| in_mid_training(set, "survivor")).await.unwrap();
    doomed.kill().unwrap();
    coordinator.kill().unwrap();
    let _coordinator = site.restart_coordinator().unwrap();
    let _replacement = site.start_worker("replacement").unwrap();
    let job_set = site.wait_until(&id, "the disturbed job set succeeds", succeeded).await.unwrap();
    site.results(&id, &stormy).unwrap();

    assert!(job_set.jobs.iter().any(|job| job.attempt > 1), "no job was tried twice: nothing was disturbed");
    assert_eq!(read(&calm, "oof.csv"), read(&stormy, "oof.csv"));
    assert_eq!(read(&calm, "submission.csv"), read(&stormy, "submission.csv"));
    for fold in 0..5 {
        let name = format!("fold-{fold}.safetensors");
        assert!(read(&calm, &name) == read(&stormy, &name), "{name} differs");
    }
    assert_eq!(report_numbers(&calm).unwrap(), report_numbers(&stormy).unwrap());
}
