//! A job set whose folds are not all trained: its results are fetched all the same, and it is ended with the folds it has.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use fivefold_proto::v1;
use fivefold_tests::{Site, fivefold, tiny_data};

/// Two folds of some seconds.
const SPEC: &str = r#"
name = "tiny"
base_width = 8
image_size = 32
batch_size = 4
train_batch_per_epoch = 200
valid_batch_per_epoch = 2
epochs = 1
tta = 1
folds = 2
intraop_threads = 1
"#;

fn is_trained(job_set: &v1::JobSet, fold: u32) -> bool {
    job_set.jobs.iter().any(|job| job.fold == fold && job.state() == v1::job::State::Succeeded)
}

fn report(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

/// The files of results with a submission.
const RESULTS: [&str; 5] = ["oof.csv", "report.html", "report.json", "results.json", "submission.csv"];

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_some_folds_are_fetched_and_a_job_set_is_ended_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, _coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let worker = site.start_worker("a").unwrap();
    let id = site.submit(SPEC).unwrap();
    site.wait_until(&id, "fold 0 is trained", |set| is_trained(set, 0)).await.unwrap();
    drop(worker);
    let command = |line: &str| {
        let out = folder.path().join("out").display().to_string();
        let line = line.replace("ID", &id).replace("OUT", &out);
        let mut arguments = vec!["--coordinator", &site.url];
        arguments.extend(line.split_whitespace());
        fivefold(&arguments).map_err(|error| error.to_string())
    };
    let out = folder.path().join("out");

    // Of a job set that is running, then of one that was cancelled.
    let printed = command("results ID --out OUT --checkpoints").unwrap();
    assert!(printed.contains("PARTIAL             folds 0 of 2") && printed.contains("fold 1 is missing"), "{printed}");
    assert_eq!(names(&out), ["fold-0.safetensors", "oof.csv", "report.html", "report.json", "results.json"]);
    assert_eq!(report(&out)["partial"]["folds"], serde_json::json!([0]));
    // The model as ONNX, with the same threshold. A file is replaced only if asked.
    let models = folder.path().join("out-models");
    command("export ID --onnx OUT-models").unwrap();
    assert_eq!(names(&models), ["fold-0.onnx"]);
    let model = std::fs::read(models.join("fold-0.onnx")).unwrap();
    for part in [&id, &report(&out)["threshold"].as_f64().unwrap().to_string(), "head.2.weight"] {
        assert!(model.windows(part.len()).any(|bytes| bytes == part.as_bytes()), "{part}");
    }
    let refused = command("export @ --onnx OUT-models --fold 0").unwrap_err();
    assert!(refused.contains("fold-0.onnx is already there") && refused.contains("--replace"), "{refused}");
    command("export @ --onnx OUT-models --fold 0 --replace").unwrap();
    assert!(std::fs::read(models.join("fold-0.onnx")).unwrap() == model, "the second export differs");
    let refused = command("export ID --onnx OUT-models --fold 1").unwrap_err();
    assert!(refused.contains(&format!("fold 1 of {id} is not trained (")), "{refused}");
    // By its name, by the beginning of its id, and as the newest one.
    for name in ["tiny", &id[..7], "@"] {
        assert!(command(&format!("status {name}")).unwrap().starts_with(&id), "{name}");
    }
    command("cancel @").unwrap();
    let printed = command("results ID --out OUT").unwrap();
    assert!(printed.contains("fold 1 is missing  cancelled: cancelled by a user"), "{printed}");

    let printed = command("finish ID").unwrap();
    assert!(printed.contains("partial: fold 0 of 2"), "{printed}");
    let _worker = site.start_worker("b").unwrap();
    let is_done = |set: &v1::JobSet| set.state() == v1::job_set::State::Succeeded;
    site.wait_until(&id, "the trained fold has predicted", is_done).await.unwrap();
    let printed = command("status").unwrap();
    assert!(printed.contains("(fold 0 of 2)"), "{printed}");
    let printed = command("results ID --out OUT").unwrap();
    assert!(printed.contains("PARTIAL"), "{printed}");
    assert_eq!(names(&out), [&["fold-0.safetensors"], &RESULTS[..]].concat());
    let submission = std::fs::read_to_string(out.join("submission.csv")).unwrap();
    assert_eq!(submission.lines().count(), 11);

    // The results of another job set do not join those in the folder.
    let other = site.submit(&SPEC.replace("epochs = 1", "epochs = 1\nfold = [1]")).unwrap();
    site.wait_until(&other, "the other job set has succeeded", is_done).await.unwrap();
    let refused = command(&format!("results {other} --out OUT")).unwrap_err();
    assert!(refused.contains(&format!("has the results of {id}")) && refused.contains("--replace"), "{refused}");
    command(&format!("results {other} --out OUT --replace")).unwrap();
    assert_eq!(names(&out), RESULTS);
    assert_eq!(report(&out)["job_set"], serde_json::json!(other));
}
