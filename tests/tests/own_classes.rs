//! Job sets of five classes with names of their own, from the lists to the submission: labels as names, then as a column
//! of 0 and 1 per class. Then the same images as a data set of its own layout, described by a file.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::Path;

use fivefold_proto::v1;
use fivefold_tests::{Site, fivefold};

const CLASSES: [&str; 5] = ["round", "pointed", "star shaped", "long, thin", "other"];

/// Three folds of some seconds.
const SPEC: &str = r#"
name = "five"
classes = ["round", "pointed", "star shaped", "long, thin", "other"]
id_column = "image"
base_width = 8
image_size = 32
batch_size = 4
train_batch_per_epoch = 10
valid_batch_per_epoch = 4
epochs = 1
tta = 1
folds = 3
intraop_threads = 1
"#;

/// The rows of a list that `fivefold synth` wrote: the ids and the labels as numbers.
fn rows(data: &Path, list: &str) -> Vec<(String, Vec<usize>)> {
    let text = std::fs::read_to_string(data.join(list)).unwrap();
    let row = |line: &str| {
        let (id, labels) = line.split_once(',').unwrap();
        (id.to_owned(), labels.split_whitespace().map(|label| label.parse().unwrap()).collect())
    };
    text.lines().skip(1).map(row).collect()
}

fn named(rows: &[(String, Vec<usize>)]) -> String {
    let mut text = "image,findings\n".to_owned();
    for (id, labels) in rows {
        let names: Vec<&str> = labels.iter().map(|&label| CLASSES[label]).collect();
        text += &format!("{id},\"{}\"\n", names.join(" | "));
    }
    text
}

fn one_hot(rows: &[(String, Vec<usize>)]) -> String {
    let mut text = "image,round,pointed,star shaped,\"long, thin\",other\n".to_owned();
    for (id, labels) in rows {
        let columns: Vec<&str> = (0..5).map(|class| if labels.contains(&class) { "1" } else { "0" }).collect();
        text += &format!("{id},{}\n", columns.join(","));
    }
    text
}

struct Lists<'a> {
    train: &'a str,
    test: &'a str,
    spec: &'a str,
}

/// Submits lists with their spec, and returns the files of the results by name.
async fn results(
    site: &Site,
    folder: &Path,
    name: &str,
    Lists { train, test, spec }: Lists<'_>,
) -> impl Fn(&str) -> Vec<u8> {
    let out = folder.join(name);
    let write = |file: &str, text: &str| {
        let path = folder.join(format!("{name}-{file}"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (spec, train, test) = (write("spec.toml", spec), write("train.csv", train), write("test.csv", test));
    let submit = ["submit", "--spec", &spec, "--train-csv", &train, "--test-csv", &test];
    let id = fivefold(&[&["--coordinator", site.url.as_str()][..], &submit[..]].concat()).unwrap();
    let is_done = |set: &v1::JobSet| set.state() == v1::job_set::State::Succeeded;
    site.wait_until(id.trim(), "the job set has succeeded", is_done).await.unwrap();
    site.results(id.trim(), &out).unwrap();
    move |file: &str| std::fs::read(out.join(file)).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Trains the first class of each row as its only one, with every setting that goes with it.
async fn check_multiclass(site: &Site, folder: &Path, train: &[(String, Vec<usize>)], test: &[(String, Vec<usize>)]) {
    let held = |labels: &[usize]| labels.first().copied().unwrap_or(4);
    let list: String = train.iter().map(|(id, labels)| format!("{id},{}\n", held(labels))).collect();
    let ids: String = test.iter().map(|(id, _)| format!("{id}\n")).collect();
    let settings =
        "task = \"multiclass\"\nobjective = \"mean_auroc\"\nlabel_smoothing = 0.1\nclass_weights = \"balanced\"\n";
    let spec = format!("{settings}{}", SPEC.replace("folds = 3", "folds = 2\noof_checkpoint = \"best\""));
    let lists = Lists { train: &format!("image,Target\n{list}"), test: &format!("image\n{ids}"), spec: &spec };
    let file = results(site, folder, "multiclass", lists).await;
    let report: serde_json::Value = serde_json::from_slice(&file("report.json")).unwrap();
    let cells = report["confusion_matrix"].as_array().unwrap();
    assert_eq!(cells.iter().map(|cell| cell["rows"].as_u64().unwrap()).sum::<u64>(), train.len() as u64);
    assert!(report["threshold"].is_null() && report["metrics"]["mean_auroc"].is_f64(), "{report}");
    assert_eq!((&report["task"], &report["made_by"]["spec"]["loss"]), (&"multiclass".into(), &"cross_entropy".into()));
    for row in text(file("oof.csv")).lines().skip(1) {
        let scores: Vec<f64> = row.split(',').skip(4).map(|score| score.parse().unwrap()).collect();
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{row}");
    }
    for line in text(file("submission.csv")).lines().skip(1) {
        assert!(line.split_once(',').unwrap().1.parse::<usize>().unwrap() < 5, "{line}");
    }
    let status = fivefold(&["--coordinator", &site.url, "status", "@"]).unwrap();
    assert!(status.contains("mean AUROC") && status.contains("BEST AUROC"), "{status}");

    let wrong = folder.join("several.csv");
    std::fs::write(&wrong, "image,Target\na,1\nb,0 1\n").unwrap();
    let (wrong, spec) = (wrong.display().to_string(), folder.join("multiclass-spec.toml").display().to_string());
    let line = ["--coordinator", &site.url, "submit", "--spec", &spec, "--train-csv", &wrong];
    let message = fivefold(&line).unwrap_err().to_string();
    assert!(message.contains("several.csv, line 3: the row has 2 classes"), "{message}");
}

/// The same images as one grey file each, of another size and under the names of the files, from a `dataset.toml`.
async fn grey_images_of_a_described_data_set_are_trained(
    site: &Site,
    folder: &Path,
    train: &[(String, Vec<usize>)],
    test: &[(String, Vec<usize>)],
) {
    let data = &site.data;
    let dataset = data.join("dataset.toml");
    let list = |rows: &[(String, Vec<usize>)], folder: &str| {
        let rows: Vec<(String, Vec<usize>)> =
            rows.iter().map(|(id, labels)| (format!("{folder}/{id}_green.png"), labels.clone())).collect();
        one_hot(&rows)
    };
    std::fs::write(data.join("grey-train.csv"), list(train, "train")).unwrap();
    std::fs::write(data.join("grey-test.csv"), list(test, "test")).unwrap();
    let toml = format!(
        "label_format = \"one_hot\"\n{SPEC}\n[lists]\ntrain = \"grey-train.csv\"\ntest = \"grey-test.csv\"\n\
         [images]\nimage_files = \"{{id}}\"\nchannels = [\"grey\"]\nresize = \"bilinear\"\nfit = \"crop\"\n"
    );
    std::fs::write(&dataset, toml).unwrap();
    let dataset = dataset.display().to_string();
    let checked = fivefold(&["dataset", "check", &dataset]).unwrap();
    assert!(checked.ends_with("no problems\n"), "{checked}");
    let line = ["--coordinator", &site.url, "submit", "--dataset", &dataset, "--image_size=24", "--name=grey"];
    let id = fivefold(&line).unwrap();
    let is_done = |set: &v1::JobSet| set.state() == v1::job_set::State::Succeeded;
    site.wait_until(id.trim(), "the job set has succeeded", is_done).await.unwrap();
    let out = folder.join("grey");
    site.results(id.trim(), &out).unwrap();
    let model = std::fs::read(out.join("fold-0.safetensors")).unwrap();
    assert!(String::from_utf8_lossy(&model[..100_000]).contains("\"shape\":[8,1,7,7]"));
    let submission = std::fs::read_to_string(out.join("submission.csv")).unwrap();
    assert!(submission.lines().nth(1).unwrap().starts_with(&format!("test/{}_green.png,", test[0].0)), "{submission}");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_named_classes_are_trained_and_submitted_in_the_format_of_their_lists() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (size, out) = (["--size", "32", "--seed", "7"], data.display().to_string());
    let synth = ["synth", "--out", &out, "--train", "30", "--test", "6", "--classes", "5"];
    fivefold(&[&synth[..], &size[..]].concat()).unwrap();
    let (site, _coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let _worker = site.start_worker("a").unwrap();
    let (train, test) = (rows(&data, "train.csv"), rows(&data, "test_truth.csv"));

    let spec = format!("label_column = \"findings\"\nlabel_format = \"names\"\nlabel_separator = \"bar\"\n{SPEC}");
    let ids: String = test.iter().map(|(id, _)| format!("{id}\n")).collect();
    let lists = Lists { train: &named(&train), test: &format!("image\n{ids}"), spec: &spec };
    let file = results(&site, folder.path(), "names", lists).await;
    let report: serde_json::Value = serde_json::from_slice(&file("report.json")).unwrap();
    let names: Vec<&str> =
        report["per_class"].as_array().unwrap().iter().map(|class| class["name"].as_str().unwrap()).collect();
    assert_eq!(names, CLASSES);
    let oof = text(file("oof.csv"));
    assert!(oof.starts_with("Id,Source,Fold,Target,p0,p1,p2,p3,p4\n"), "{oof}");
    for (id, labels) in &train {
        let labels: Vec<String> = labels.iter().map(usize::to_string).collect();
        let row = oof.lines().find(|line| line.starts_with(&format!("{id},"))).unwrap();
        assert_eq!(row.split(',').nth(3), Some(labels.join(" ").as_str()), "{row}");
    }
    assert!(String::from_utf8_lossy(&file("fold-2.safetensors")[..100_000]).contains("\"shape\":[5,"));
    let submission = text(file("submission.csv"));
    let mut lines = submission.lines();
    assert_eq!(lines.next(), Some("image,findings"));
    for (line, (id, _)) in lines.by_ref().zip(&test) {
        let (submitted, labels) = line.split_once(',').unwrap();
        assert_eq!(submitted, id);
        let labels: Vec<&str> = labels.trim_matches('"').split('|').collect();
        assert!(!labels.is_empty() && labels.iter().all(|label| CLASSES.contains(label)), "{line}");
    }
    assert_eq!(submission.lines().count(), 1 + test.len());

    // The same labels in columns are the same training; the submission has the same labels in columns.
    let spec = format!("label_format = \"one_hot\"\n{SPEC}");
    let lists = Lists { train: &one_hot(&train), test: &one_hot(&test), spec: &spec };
    let columns = results(&site, folder.path(), "columns", lists).await;
    assert_eq!(columns("oof.csv"), file("oof.csv"));
    let in_columns = text(columns("submission.csv"));
    let mut expected = vec!["image,round,pointed,star shaped,\"long, thin\",other".to_owned()];
    for line in submission.lines().skip(1) {
        let (id, labels) = line.split_once(',').unwrap();
        let held: Vec<&str> = labels.trim_matches('"').split('|').collect();
        let row: Vec<&str> = CLASSES.iter().map(|class| if held.contains(class) { "1" } else { "0" }).collect();
        expected.push(format!("{id},{}", row.join(",")));
    }
    assert_eq!(in_columns.lines().collect::<Vec<_>>(), expected);

    check_multiclass(&site, folder.path(), &train, &test).await;
    grey_images_of_a_described_data_set_are_trained(&site, folder.path(), &train, &test).await;

    // What is wrong with a list is said before anything is uploaded.
    let refused = |text: &str, wanted: &str| {
        let (list, spec) = (folder.path().join("wrong.csv"), folder.path().join("names-spec.toml"));
        std::fs::write(&list, text).unwrap();
        let (list, spec) = (list.display().to_string(), spec.display().to_string());
        let line = ["--coordinator", &site.url, "submit", "--spec", &spec, "--train-csv", &list];
        let message = fivefold(&line).unwrap_err().to_string();
        assert!(message.contains(wanted), "{message}");
    };
    let wrong_name = named(&train).replacen("round", "rond", 1);
    refused(&wrong_name, "\"rond\" is not one of the 5 classes, such as \"round\"");
    refused("Id,findings\na,round\n", "wrong.csv, line 1: the header should be image,findings");
}
