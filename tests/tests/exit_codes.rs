//! The exit code of each command for a value that only the coordinator can judge, and for a state that does not allow the command.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::process::{Command, Output, Stdio};

use fivefold_tests::{Site, fivefold, programs, tiny_data};

const SPEC: &str = "
folds = 2
base_width = 4
image_size = 32
batch_size = 4
train_batch_per_epoch = 2
valid_batch_per_epoch = 2
epochs = 2
keep_optimizer = true
";

fn run(site: &Site, line: &str) -> Output {
    let mut command = Command::new(programs().unwrap().join("fivefold"));
    command.args(line.split_whitespace()).args(["--coordinator", &site.url]).current_dir(&site.folder);
    command.stdin(Stdio::null()).output().unwrap()
}

/// A line of the table: the command with ID for the id of a job set, its exit code, and words of its message.
type Case = (&'static str, i32, &'static str);

/// What a value names is not there, or is not one thing alone.
const WRONG_VALUES: [Case; 21] = [
    ("status js-", 2, "\"js-\" is not the id or name of one job set: it fits js-"),
    ("status nosuch", 2, "there is no job set with the id or name \"nosuch\""),
    ("status js-zzzzzzzz", 2, "there is no job set js-zzzzzzzz"),
    ("watch nosuch", 2, "there is no job set with the id or name"),
    ("delete --yes js-zzzzzzzz", 2, "there is no job set js-zzzzzzzz"),
    ("drain nosuch", 2, "there is no worker nosuch"),
    ("curves ID --fold 9", 2, "ID has no fold 9: its folds are 0, 1"),
    ("export ID --onnx models --fold 5", 2, "ID has no fold 5: its folds are 0, 1"),
    ("export ID --onnx models --fit 2", 2, "there is no fit 2: ID has 0 fits"),
    ("results ID --out results --fit 2", 2, "there is no fit 2: ID has 0 fits"),
    ("results ID --out results --submission 1", 2, "there is no submission 1: ID has 0 submissions"),
    ("predict ID --folds 7", 2, "ID has no fold 7: its folds are 0, 1"),
    ("retry ID --fold 7", 2, "ID has no fold 7: its folds are 0, 1"),
    ("retrain ID --fold 7", 2, "ID has no fold 7: its folds are 0, 1"),
    ("extend ID --epochs 9 --fold 7", 2, "ID has no fold 7: its folds are 0, 1"),
    ("extend ID --epochs 1", 2, "epochs: 1 is below the 2 that ID has"),
    ("submit --like nosuch", 2, "there is no job set with the id or name"),
    ("submit --like ID --warm-start nosuch", 2, "there is no job set with the id or name"),
    ("submit --like ID --warm-start ID", 2, "error: --warm-start: fold 0 of ID is not trained"),
    ("submit --like ID --warm-start ID --folds=3", 2, "error: --warm-start: ID has another split"),
    ("submit --like ID --request-id taken --seed=7", 2, "the request id \"taken\" was used for another request"),
];

/// The value is right, and the state of the job set does not allow it.
const WRONG_STATES: [Case; 7] = [
    ("export ID --onnx models", 1, "no fold is trained yet"),
    ("results ID --out results", 1, "no fold is trained yet"),
    ("retry ID --fold 0", 1, "no job of fold 0 failed or was cancelled"),
    ("retrain ID --fold 0", 1, "fold 0 of ID is not trained"),
    ("extend ID --epochs 9 --fold 0", 1, "extend the folds once all of them are trained"),
    ("finish ID", 1, "ID"),
    ("delete --yes ID", 1, "ID"),
];

#[test]
fn a_wrong_value_is_wrong_usage_and_a_wrong_state_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, _coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let id = site.submit(SPEC).unwrap();
    let train = data.join("train.csv").display().to_string();
    let submit = ["--coordinator", &site.url, "submit", "--train-csv", &train, "--request-id", "taken", "--folds=2"];
    let without_test_list = fivefold(&submit).unwrap();
    for (line, code, words) in WRONG_VALUES.into_iter().chain(WRONG_STATES) {
        let (line, words) = (line.replace("ID", &id), words.replace("ID", &id));
        let output = run(&site, &line);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {message}");
        assert!(message.contains(&words), "{line}: {message}");
    }

    // A prediction of the list that the job set has needs no flag.
    let output = run(&site, &format!("predict {id}"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), id);
    let output = run(&site, &format!("predict {}", without_test_list.trim()));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && message.contains("no test list: name one with --test-csv"), "{message}");
}
