//! What workers say during attempts, from the worker to the `fivefold` command.

use fivefold_proto::v1;
use fivefold_tests::{Signal, Site, fivefold, tiny_data};

/// Two folds of some seconds.
const SPEC: &str = "name = \"logs\"\nbase_width = 8\nimage_size = 32\nbatch_size = 4\ntrain_batch_per_epoch = 10\n\
                    valid_batch_per_epoch = 4\nepochs = 2\ntta = 1\nfolds = 2\nintraop_threads = 1\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_each_attempt_can_be_read_while_it_runs_and_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, _coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let id = site.submit(SPEC).unwrap();
    let mut first = site.start_worker("a").unwrap();
    let is_training = |set: &v1::JobSet| set.jobs.iter().any(|job| job.last_epoch.is_some());
    site.wait_until(&id, "an epoch has ended", is_training).await.unwrap();
    first.signal(Signal::Terminate).unwrap();
    first.wait().unwrap();
    let _second = site.start_worker("b").unwrap();

    // Follows the log until the job set ends.
    let url = site.url.clone();
    let line = ["--coordinator", url.as_str(), "logs", id.as_str()];
    let log = fivefold(&[&line[..], &["-f"]].concat()).unwrap();
    let job_set = site.job_set(&id).await.unwrap();
    assert_eq!(job_set.state(), v1::job_set::State::Succeeded);
    for said in [
        "fold 0, attempt 1, a  attempt 1 of job",
        "fold 0, attempt 2, b  ",
        "epoch 1/2 took",
        "predict fold 1, attempt 1, b  ",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    let released = log.lines().position(|line| line.contains("fold 0, attempt 1") && line.contains("is released"));
    assert!(released < log.lines().position(|line| line.contains("fold 0, attempt 2")), "{log}");

    let of_fold = fivefold(&[&line[..], &["--fold", "1", "--json"]].concat()).unwrap();
    let lines: Vec<serde_json::Value> = of_fold.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line["fold"] == 1 && line["worker"] == "b"), "{of_fold}");
}
