//! A job set that is trained for more epochs ends with the results of one that had as many from the start, and another one
//! begins from its models.

use fivefold_proto::v1;
use fivefold_tests::{Site, fivefold, tiny_data};

/// Two folds of some seconds.
const SPEC: &str = r#"
base_width = 8
image_size = 32
batch_size = 4
train_batch_per_epoch = 20
valid_batch_per_epoch = 4
lr_patience = 0
tta = 1
folds = 2
intraop_threads = 1
keep_optimizer = true
"#;

fn has_succeeded(set: &v1::JobSet) -> bool {
    set.state() == v1::job_set::State::Succeeded
}

/// The digests of the folds' tables and models, and of the predictions.
fn results(set: &v1::JobSet) -> Vec<(u32, Vec<String>)> {
    let digests = |job: &v1::Job| job.results.iter().map(|artifact| artifact.digest.clone()).collect();
    set.jobs.iter().map(|job| (job.fold, digests(job))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extended_job_set_has_the_bits_of_a_longer_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, _coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let _worker = site.start_worker("a").unwrap();
    let spec = |epochs: u32| format!("{SPEC}\nepochs = {epochs}\n");
    let (short, long) = (site.submit(&spec(1)).unwrap(), site.submit(&spec(3)).unwrap());
    let first = site.wait_until(&short, "the short one has succeeded", has_succeeded).await.unwrap();
    let command = |line: &str| {
        let mut arguments = vec!["--coordinator", &site.url];
        arguments.extend(line.split_whitespace());
        fivefold(&arguments)
    };
    command(&format!("extend {short} --epochs 3")).unwrap();
    let extended = site.wait_until(&short, "it has succeeded again", has_succeeded).await.unwrap();
    let expected = site.wait_until(&long, "the long one has succeeded", has_succeeded).await.unwrap();
    assert_eq!(results(&extended), results(&expected));
    assert_ne!(results(&extended), results(&first));
    assert_eq!(site.metrics(&short, 1).await.unwrap(), site.metrics(&long, 1).await.unwrap());
    assert_eq!((extended.macro_f1, extended.threshold), (expected.macro_f1, expected.threshold));
    assert_eq!((extended.fits.len(), extended.submissions.len()), (2, 2));
    let log = std::fs::read_to_string(site.folder.join("a.log")).unwrap();
    assert!(log.contains("of the end of epoch 1/3"), "{log}");

    // Another job set begins from the models, at another rate.
    let warm = command(&format!("submit --like {short} --warm-start {short} --epochs=1 --learning_rate=1e-5")).unwrap();
    let warm = site.wait_until(warm.trim(), "the warm one has succeeded", has_succeeded).await.unwrap();
    assert_eq!(warm.manifests.as_ref().unwrap().warm_start_job_set_id, short);
    let first_loss = async |id: &str| site.metrics(id, 0).await.unwrap()[0].train_loss;
    let (cold, warm) = (first_loss(&short).await, first_loss(&warm.id).await);
    assert!(warm < cold, "a trained model has a lower loss from the start: {warm}, {cold}");
    let log = std::fs::read_to_string(site.folder.join("a.log")).unwrap();
    assert_eq!(log.matches("training starts from the model in").count(), 2, "{log}");
}
