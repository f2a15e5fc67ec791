//! The program itself: what it prints, what it writes, and its exit codes.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Runs `fivefold` in `folder`, without a coordinator anywhere.
fn fivefold(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fivefold"));
    command.args(line.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    command.env("FIVEFOLD_COORDINATOR", "http://127.0.0.1:1").output().unwrap()
}

#[track_caller]
fn succeeds(folder: &Path, line: &str) -> String {
    let output = fivefold(folder, line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that has to fail with that exit code and say that.
#[track_caller]
fn fails(folder: &Path, line: &str, code: i32, wanted: &str) {
    let output = fivefold(folder, line);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}: {message}");
    assert!(message.contains(wanted), "{line}: {message}");
    assert!(output.stdout.is_empty(), "{line}: something on stdout");
}

/// A folder with `train.csv`, `hpa.csv`, `test.csv` of 40, 20 and 3 rows.
fn lists() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, header, rows) in [("train", "Id,Target", 40), ("hpa", "Id,Target", 20), ("test", "Id,Predicted", 3)] {
        let mut text = format!("{header}\n");
        for row in 0..rows {
            text += &format!("{name}-{row},{} {}\n", row % 7, 7 + row % 5);
        }
        std::fs::write(folder.path().join(format!("{name}.csv")), text).unwrap();
    }
    folder
}

fn real_list(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn folds_are_written_in_the_lists_order() {
    let folder = lists();
    let printed = succeeds(folder.path(), "folds --csv train.csv --folds 4 --seed 1 --shuffle --out folds.csv");
    assert!(printed.starts_with("40 rows in folds of "), "{printed}");
    let text = std::fs::read_to_string(folder.path().join("folds.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("Id,Fold", 41));
    for (row, line) in lines[1..].iter().enumerate() {
        let (id, fold) = line.split_once(',').unwrap();
        assert_eq!(id, format!("train-{row}"));
        assert!(fold.parse::<u8>().unwrap() < 4);
    }
    let json = succeeds(folder.path(), "folds --csv train.csv --out folds.csv --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["rows"], json["fold_rows"].as_array().unwrap().len()), (&40.into(), 5));
}

/// `grouped.csv`: 24 rows of patients p0 to p5, each of four rows in a row.
fn grouped_list(folder: &Path) {
    let rows: String = (0..24).map(|row| format!("g{row},{},p{}\n", row % 2, row / 4)).collect();
    std::fs::write(folder.join("grouped.csv"), format!("Id,Target,patient\n{rows}")).unwrap();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn groups_stay_whole_with_the_methods_for_them_and_others_warn() {
    let folder = lists();
    grouped_list(folder.path());
    for method in ["gkf", "sgkf"] {
        let line = format!("folds --csv grouped.csv --method {method} --group-column patient --folds 3 --out f.csv");
        let printed = succeeds(folder.path(), &line);
        assert!(
            printed.contains("6 groups of the column patient, 2, 2, 2 a fold, none of them in two folds"),
            "{printed}"
        );
        let text = std::fs::read_to_string(folder.path().join("f.csv")).unwrap();
        let folds: Vec<&str> = text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap()).collect();
        assert!(folds.chunks(4).all(|patient| patient.iter().all(|fold| *fold == patient[0])), "{text}");
    }
    let output = fivefold(folder.path(), "folds --csv grouped.csv --group-column patient --folds 3 --out f.csv");
    let warning = "6 of 6 groups of the column patient are in two folds, such as \"p0\"";
    assert!(output.status.success() && stderr(&output).contains(warning), "{}", stderr(&output));
    let output = fivefold(folder.path(), "folds --csv train.csv --method skf --folds 2 --out f.csv");
    assert!(stderr(&output).contains("sets of labels have fewer rows than the 2 folds"), "{}", stderr(&output));
    let path = folder.path();
    fails(path, "folds --csv grouped.csv --out f.csv", 1, "line 1: the column \"patient\" is not expected");
    fails(path, "folds --csv train.csv --method gkf --out f.csv", 1, "split_method = gkf needs the groups");
    fails(path, "folds --csv train.csv --method given --out f.csv", 2, "possible values: mskf, kfold, skf, gkf, sgkf]");
}

#[test]
fn folds_made_elsewhere_are_checked_before_the_coordinator_is_asked() {
    let folder = lists();
    let path = folder.path();
    succeeds(path, "folds --csv train.csv --folds 4 --out folds.csv");
    let submit = "submit --train-csv train.csv --folds-csv folds.csv --wait-seconds 1";
    let output = fivefold(path, submit);
    assert_eq!(output.status.code(), Some(4), "checked, then no coordinator: {}", stderr(&output));
    fails(path, &format!("{submit} --split_method=gkf"), 2, "split_method: gkf makes folds");
    fails(
        path,
        &format!("{submit} --hpa-csv hpa.csv"),
        1,
        "folds.csv: the folds file lacks 20 of 20 images of the hpa list",
    );
    let text = std::fs::read_to_string(path.join("folds.csv")).unwrap();
    std::fs::write(path.join("folds.csv"), text.replace("train-7,", "train-77,")).unwrap();
    fails(
        path,
        submit,
        1,
        "folds.csv: the folds file lacks 1 of 40 images of the train list, the first of them \"train-7\"",
    );
}

#[test]
fn folds_of_the_real_list_are_the_known_ones() {
    let Some(list) = real_list("train.csv") else { return };
    let folder = tempfile::tempdir().unwrap();
    let line = format!("folds --csv {} --folds 5 --seed 42 --out folds.csv", list.display());
    assert!(succeeds(folder.path(), &line).contains("6194, 6183, 6183, 6252, 6260"));
    let text = std::fs::read_to_string(folder.path().join("folds.csv")).unwrap();
    let first: String = text.lines().skip(1).take(20).map(|line| line.rsplit(',').next().unwrap()).collect();
    assert_eq!(first, "04234303034034100034");
}

#[test]
fn a_threshold_is_fitted_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let header: Vec<String> = (0..28).map(|label| format!("p{label}")).collect();
    let mut text = format!("Id,Source,Fold,Target,{}\n", header.join(","));
    for row in 0..20 {
        let scores: Vec<&str> = (0..28).map(|label| if label == row % 3 { "0.75" } else { "0.25" }).collect();
        text += &format!("i{row},train,{},{},{}\n", row % 2, row % 3, scores.join(","));
    }
    std::fs::write(folder.path().join("oof.csv"), &text).unwrap();
    let printed = succeeds(folder.path(), "threshold --oof oof.csv --out report.json");
    let labels = ["no positives      25 of 28 labels, which count as 0", "Hardest labels      none\n"];
    for wanted in
        ["Threshold           0.6250", "cross-fitted", "best constant", "FOLD", "report.json"].into_iter().chain(labels)
    {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["threshold"], &report["empty_rows"]), (&0.625.into(), &"argmax".into()));
    let json = succeeds(folder.path(), "--json threshold --oof oof.csv --empty-rows leave --out report.json");
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["threshold"], &report["empty_rows"]), (&0.5.into(), &"leave".into()));
    let printed = succeeds(folder.path(), "threshold --oof oof.csv --threshold=per_class --out report.json");
    for wanted in
        ["Thresholds          0.5000 to 0.5000", "each fold at the thresholds of the others", "Mean AUROC", "mAP"]
    {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
    let printed = succeeds(folder.path(), "threshold --oof oof.csv --threshold=0.15 --out report.json");
    assert!(printed.contains("Threshold           0.1500  given"), "{printed}");
    let printed = succeeds(folder.path(), "threshold --oof oof.csv --task=multiclass --out report.json");
    for wanted in ["Accuracy            1.0000", "LABEL  TAKEN FOR  IMAGES", "FOLD  ROWS  MACRO F1\n"] {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
    fails(folder.path(), "threshold --oof oof.csv --threshold=1.5 --out report.json", 2, "expected 0 to 1");
    fails(
        folder.path(),
        "threshold --oof oof.csv --threshold=best --out report.json",
        2,
        "expected global, per_class or",
    );
    let both = "threshold --oof oof.csv --task=multiclass --threshold=0.5 --out report.json";
    fails(folder.path(), both, 2, "cannot be used with");

    // What is refused leaves the report of before.
    let before = std::fs::read(folder.path().join("report.json")).unwrap();
    std::fs::write(folder.path().join("oof.csv"), text.replacen("0.75", "NaN", 1)).unwrap();
    fails(folder.path(), "threshold --oof oof.csv --out report.json", 1, "oof.csv: row 1, field p0");
    assert_eq!(std::fs::read(folder.path().join("report.json")).unwrap(), before);
}

#[test]
fn other_classes_are_split_and_fitted_under_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let spec = "classes = [\"owl\", \"heron\", \"tit\"]\nid_column = \"image\"\nlabel_format = \"one_hot\"\n";
    std::fs::write(path.join("birds.toml"), spec).unwrap();
    let rows: String = (0..9).map(|row| format!("i{row},{},{},0\n", row % 2, row % 3 / 2)).collect();
    std::fs::write(path.join("birds.csv"), format!("image,owl,heron,tit\n{rows}")).unwrap();
    let printed = succeeds(path, "folds --csv birds.csv --spec birds.toml --folds 3 --out folds.csv");
    assert!(printed.starts_with("9 rows in folds of "), "{printed}");
    std::fs::write(path.join("birds.csv"), "image,owl,heron,tit\na,0,yes,0\n").unwrap();
    let line = "folds --csv birds.csv --spec birds.toml --out folds.csv";
    fails(path, line, 1, "birds.csv, line 2: heron: \"yes\" should be 0 or 1");
    fails(path, "folds --csv birds.csv --out folds.csv", 1, "line 1: the header should be Id,Target");

    let rows = "i0,train,0,0,0.75,0.25,0.25\ni1,train,1,2,0.25,0.5,0.75\n";
    std::fs::write(path.join("oof.csv"), format!("Id,Source,Fold,Target,p0,p1,p2\n{rows}")).unwrap();
    for (classes, expected) in [(" --classes owl,heron,tit", ["owl", "heron", "tit"]), ("", ["p0", "p1", "p2"])] {
        succeeds(path, &format!("threshold --oof oof.csv --out report.json{classes}"));
        let report: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path.join("report.json")).unwrap()).unwrap();
        let classes = report["per_class"].as_array().unwrap();
        let names: Vec<&str> = classes.iter().map(|class| class["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected);
        assert!((report["macro_f1"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9);
    }
    let printed = succeeds(path, "threshold --oof oof.csv --out report.json --task=multiclass --classes owl,heron,tit");
    assert!(printed.contains("\nowl      1    0    0\nheron    0    0    0\ntit      0    0    1\n"), "{printed}");
    fails(path, "threshold --oof oof.csv --out report.json --classes a,b", 1, "2 names of classes for the scores of 3");
}

#[test]
fn a_data_set_is_described_checked_and_split() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert!(fivefold(folder.path(), "synth --out data --train 12 --test 3 --size 16 --classes 3").status.success());
    let toml = "preset = \"hpa\"\nfolds = 3\nclasses = [\"a\", \"b\", \"c\", \"rare\"]\n\
        [lists]\ntrain = \"train.csv\"\ntest = \"sample_submission.csv\"\n\
        [images]\nimage_size = 16\nimage_files = \"{list}/{id}_{channel}.png\"\nchannels = [\"blue\", \"red\"]\n";
    std::fs::write(data.join("dataset.toml"), toml).unwrap();
    let printed = succeeds(folder.path(), "dataset check data/dataset.toml");
    for wanted in [
        "data/train.csv: 12 rows",
        "; 12 of 12 images can be used\n",
        "classes that no row has: rare\n",
        "files: 30 PNG; 16 x 16 (30)\n",
        "no problems\n",
    ] {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
    let split = succeeds(folder.path(), "folds --dataset data/dataset.toml --out folds.csv");
    assert!(split.starts_with("12 rows in folds of 4, 4, 4"), "{split}");
    fails(folder.path(), "submit --dataset data/dataset.toml --wait-seconds 0 --fold 3", 2, "fold: there is no fold 3");

    // What is wrong is named with its file and row.
    let list = std::fs::read_to_string(data.join("train.csv")).unwrap();
    let ids: Vec<&str> = list.lines().skip(1).map(|line| line.split_once(',').unwrap().0).collect();
    let image = |id: &str, colour: &str| data.join(format!("train/{id}_{colour}.png"));
    std::fs::write(image(ids[2], "red"), "").unwrap();
    std::fs::remove_file(image(ids[4], "blue")).unwrap();
    for colour in ["blue", "red"] {
        std::fs::copy(image(ids[0], colour), image(ids[1], colour)).unwrap();
    }
    let output = fivefold(folder.path(), "dataset check data/dataset.toml --json");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["problem_count"], &found["lists"][0]["usable_images"]), (&2.into(), &10.into()));
    let problem = &found["problems"][0];
    assert_eq!((&problem["row"], &problem["id"]), (&3.into(), &ids[2].into()));
    assert!(problem["problem"].as_str().unwrap().ends_with("_red.png: is empty"), "{problem}");
    assert_eq!(found["duplicates"][0].as_array().unwrap().len(), 2);
    std::fs::write(data.join("train.csv"), "Id,Target\na,7\n").unwrap();
    let output = fivefold(folder.path(), "dataset check data/dataset.toml");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("1 problem:\n  data/train.csv, line 2: Target"), "{printed}");
    let needy = "preset = \"generic\"\n[lists]\ntrain = \"train.csv\"\n";
    std::fs::write(data.join("needy.toml"), needy).unwrap();
    let problem = "image_files: the preset generic needs it, such as images/{id}.jpg";
    fails(folder.path(), "submit --dataset data/needy.toml --wait-seconds 0", 2, problem);
    fails(folder.path(), "dataset check data/needy.toml", 2, &format!("data/needy.toml, {problem}"));
    fails(folder.path(), "pack data/needy.toml --out pack", 2, problem);
    std::fs::write(data.join("dataset.toml"), "[lists]\ntrian = \"train.csv\"\n").unwrap();
    let message = "data/dataset.toml, line 2 (trian = \"train.csv\"): unknown key `trian`; did you mean `train`?";
    fails(folder.path(), "dataset check data/dataset.toml", 2, message);
}

/// A file of an image. Those of the colour yellow are not read.
fn red_file(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.to_string_lossy().ends_with("_red.png")).unwrap()
}

#[test]
fn a_data_set_is_packed_once_and_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert!(fivefold(folder.path(), "synth --out data --train 12 --test 3 --size 16 --classes 3").status.success());
    let toml = "folds = 3\nclasses = [\"a\", \"b\", \"c\"]\n[lists]\ntrain = \"train.csv\"\ntest = \"sample_submission.csv\"\n";
    std::fs::write(data.join("dataset.toml"), toml).unwrap();
    std::fs::write(data.join("classes.toml"), "folds = 3\nclasses = [\"a\", \"b\", \"c\"]\n").unwrap();
    let packed = succeeds(folder.path(), "pack data/dataset.toml --size 16 --out pack");
    assert!(
        packed.starts_with("Packed 15 images, ") && packed.ends_with("into pack; 0 were there already\n"),
        "{packed}"
    );
    let again = succeeds(
        folder.path(),
        "pack --data data --spec data/classes.toml --train-csv data/train.csv --size 16 --out pack --json",
    );
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["images"], &again["kept"], &again["packed"]), (&12.into(), &12.into(), &0.into()));
    let info = succeeds(folder.path(), "pack info pack");
    assert!(info.starts_with("15 images (3 of test, 12 of train) of 3 x 16 x 16, decoder "), "{info}");
    assert_eq!(succeeds(folder.path(), "pack verify pack"), "Read 15 images of 1 segments\n");

    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "segment");
    let mut paths = std::fs::read_dir(folder.path().join("pack")).unwrap().map(|entry| entry.unwrap().path());
    let segment = paths.find(is_segment).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let output = fivefold(folder.path(), "pack verify pack");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains(".segment: image train/") && printed.contains(" is damaged: "), "{printed}");
    assert!(stderr(&output).contains("run `fivefold pack` again with --verify"), "{}", stderr(&output));
    let trusted = succeeds(folder.path(), "pack data/dataset.toml --size 16 --out pack");
    assert!(trusted.ends_with("; 15 were there already (--verify reads them too)\n"), "{trusted}");
    let mended = fivefold(folder.path(), "pack data/dataset.toml --size 16 --out pack --verify");
    let printed = String::from_utf8_lossy(&mended.stdout);
    assert!(printed.starts_with("Packed 15 images, ") && printed.ends_with("; 0 were there already\n"), "{printed}");
    assert!(stderr(&mended).contains("is damaged: its digest is another one; its images are decoded again"));
    assert_eq!(succeeds(folder.path(), "pack verify pack"), "Read 15 images of 1 segments\n");
    for command in ["info", "verify"] {
        let none = "there is no pack in data: name the folder that `fivefold pack --out` filled";
        fails(folder.path(), &format!("pack {command} data"), 1, none);
    }
    let mut paths = std::fs::read_dir(folder.path().join("pack")).unwrap().map(|entry| entry.unwrap().path());
    std::fs::remove_file(paths.find(is_segment).unwrap()).unwrap();
    std::fs::write(red_file(&data.join("train")), "").unwrap();
    let output = fivefold(folder.path(), "pack data/dataset.toml --size 16 --out pack");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("error: 1 images cannot be read and are not packed: "), "{}", stderr(&output));
    fails(folder.path(), "pack --out pack --data data", 2, "there is no list");
    fails(folder.path(), "pack --train-csv data/train.csv --out pack", 2, "--data DIR");
}

#[test]
fn a_data_set_is_packed_before_the_coordinator_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(fivefold(path, "synth --out data --train 12 --test 3 --size 16 --classes 3").status.success());
    let toml = "folds = 3\nimage_size = 16\nclasses = [\"a\", \"b\", \"c\"]\n[lists]\ntrain = \"train.csv\"\n";
    std::fs::write(path.join("data/cells.toml"), toml).unwrap();
    std::fs::write(path.join("data/empty.toml"), "folds = 3\n").unwrap();
    for (line, code, wanted) in [
        ("push", 2, "<DATASET>"),
        ("push nowhere.toml", 1, "cannot read nowhere.toml"),
        ("push data/train.csv", 2, "data/train.csv, line 1"),
        ("push data/empty.toml", 2, "data/empty.toml: there is no training list: name it as train in [lists]"),
        ("push data/cells.toml --name .x", 2, "cannot be the name of a data set"),
        ("push data/cells.toml --data nowhere", 1, "cannot read the image folder nowhere"),
        ("push data/cells.toml --pack pack --wait-seconds 0", 4, "no coordinator at http://127.0.0.1:1"),
        ("submit --dataset nowhere.toml", 1, "cannot read nowhere.toml"),
        ("submit --dataset ./nowhere", 1, "cannot read ./nowhere"),
        ("submit --dataset .nowhere", 2, "a file is named with its ending .toml, or as ./FILE"),
        ("submit --dataset nowhere --wait-seconds 0", 4, "no coordinator at http://127.0.0.1:1"),
        ("datasets delete ../x", 2, "cannot be the name of a data set"),
    ] {
        fails(path, line, code, wanted);
    }
    assert!(succeeds(path, "pack info pack").starts_with("12 images (12 of train) of 3 x 16 x 16"));
    std::fs::write(red_file(&path.join("data/train")), "").unwrap();
    fails(path, "push data/cells.toml --pack pack", 1, "1 images cannot be read and are not packed: ");
    fails(path, "push data/cells.toml --pack pack", 1, "; nothing was pushed");
}

#[test]
fn bad_input_is_refused_before_the_coordinator_is_asked() {
    let folder = lists();
    let path = folder.path();
    std::fs::write(path.join("twice.csv"), "Id,Target\na,1\na,2\n").unwrap();
    std::fs::write(path.join("label.csv"), "Id,Target\na,28\n").unwrap();
    std::fs::write(path.join("spec.toml"), "tta = 1\nbatchsize = 32\n").unwrap();
    std::fs::write(path.join("empty.toml"), "").unwrap();
    std::fs::write(path.join("tabs.csv"), "Id\tTarget\na\t1\n").unwrap();
    for (line, code, wanted) in [
        (
            "submit",
            2,
            "a data set with --dataset FILE, name its training list with --train-csv FILE, or repeat a job set",
        ),
        ("submit --dataset empty.toml", 2, "empty.toml has no training list: name it as train in its [lists], or with"),
        ("submit --train-csv train.csv --batchsize=3", 2, "--batchsize"),
        ("submit --train-csv train.csv --batch_size=0", 2, "batch_size: 0"),
        ("submit --train-csv train.csv --weighted_samples=maybe", 2, "--weighted_samples"),
        ("submit --train-csv train.csv --train_with_hpa=True", 2, "train_with_hpa"),
        ("submit --train-csv train.csv --spec spec.toml", 2, "spec.toml, line 2 (batchsize = 32): unknown field"),
        ("submit --train-csv nowhere.csv", 1, "cannot read nowhere.csv"),
        ("submit --train-csv twice.csv", 1, "twice.csv, line 3: the id \"a\" is already on line 2"),
        ("submit --train-csv label.csv", 1, "label.csv, line 2: Target"),
        ("submit --train-csv test.csv", 1, "test.csv, line 1: the header should be Id,Target"),
        ("submit --train-csv tabs.csv", 1, "tabs.csv, line 1: the columns of \"Id\\tTarget\" are separated by tabs"),
        ("submit --train-csv train.csv --test-csv hpa.csv", 1, "hpa.csv, line 1: the header should be Id alone or Id,"),
        ("submit --train-csv train.csv --hpa-csv train.csv", 1, "is in both"),
        ("submit --train-csv train.csv --folds=41", 1, "train.csv: 40 rows cannot fill 41 folds"),
        ("submit --train-csv train.csv --weights test.csv", 1, "test.csv is not a safetensors file"),
        ("--coordinator ftp://hub:7700 workers", 2, "--coordinator"),
        ("status --limit 0", 2, "--limit"),
        ("folds --csv train.csv --folds 1 --out folds.csv", 2, "'--folds <N>': expected a whole number from 2 to 100"),
        ("export @ --onnx models --fold a", 2, "'--fold <FOLDS>': expected a whole number from 0 to 99"),
        ("status --wait-seconds abc", 2, "'--wait-seconds <SECONDS>': expected a whole number"),
        ("folds --csv train.csv --folds 41 --out folds.csv", 1, "41 folds need at least as many rows"),
        ("folds --csv train.csv --folds 41 --out folds.csv", 1, "train.csv: train list: 41 folds"),
        ("folds --csv label.csv --out folds.csv", 1, "label.csv, line 2"),
        ("folds --csv train.csv --out nowhere/folds.csv", 1, "nowhere"),
        ("threshold --oof train.csv --out report.json", 1, "train.csv: the header must be"),
        ("threshold --oof train.csv --empty-rows none --out report.json", 2, "--empty-rows"),
    ] {
        fails(path, line, code, wanted);
    }
    assert!(!path.join("folds.csv").exists() && !path.join("report.json").exists());
}

#[test]
fn a_coordinator_that_is_not_there_is_waited_for_as_long_as_asked() {
    let folder = lists();
    let line = "submit --train-csv train.csv --hpa-csv hpa.csv --test-csv test.csv --wait-seconds 1 --model_name=resnet50 \
        --fold=0 --batch_size=32 --train_batch_per_epoch=800 --valid_batch_per_epoch=448 --split_method=mskf \
        --train_with_hpa=True --valid_with_hpa=True --weighted_samples=True --tta=10";
    fails(folder.path(), line, 4, "no coordinator at http://127.0.0.1:1 within 1 s");
    fails(folder.path(), line, 4, "waiting for it");
    for line in ["status", "workers", "watch js-abcdefgh", "results js-abcdefgh --out results", "cancel js-abcdefgh"] {
        fails(folder.path(), &format!("{line} --wait-seconds 0"), 4, "no coordinator at http://127.0.0.1:1");
    }
    assert!(!folder.path().join("results").exists());
}

/// The silent server accepts connections and never answers.
#[test]
fn a_silent_server_is_given_up_on_within_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let began = Instant::now();
    let line = format!("--coordinator {address} --wait-seconds 2 status js-abcdefgh");
    fails(folder.path(), &line, 4, &format!("no coordinator at http://{address} within 2 s"));
    let waited = began.elapsed();
    // The upper bound leaves time for a busy machine.
    assert!((Duration::from_secs(2)..Duration::from_secs(10)).contains(&waited), "{waited:?}");
}

#[test]
fn offline_commands_need_no_credentials() {
    let folder = lists();
    let line = "folds --csv train.csv --out folds.csv --token-file nowhere";
    assert!(succeeds(folder.path(), line).starts_with("40 rows"));
    fails(folder.path(), "status --token-file nowhere", 1, "cannot read nowhere");
}

#[test]
fn ctrl_c_detaches_a_watch() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fivefold"));
    command.args(["--coordinator", "127.0.0.1:1", "watch", "js-abcdefgh"]).stdin(Stdio::null());
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("waiting for it"));
    assert!(Command::new("kill").args(["-INT", &watch.id().to_string()]).status().unwrap().success());
    let words = lines.next().unwrap().unwrap();
    assert!(words.contains("detached; js-abcdefgh continues"), "{words}");
    assert_eq!(watch.wait().unwrap().code(), Some(130));
}

#[test]
fn the_help_and_the_completions_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let help = succeeds(folder.path(), "submit --help");
    for wanted in ["--train_batch_per_epoch", "[default: 800]", "Model and images:", "evening.toml"] {
        assert!(help.contains(wanted), "{wanted}: {help}");
    }
    assert!(succeeds(folder.path(), "watch --help").contains("3 cancelled"));
    assert!(succeeds(folder.path(), "--help").contains("Exit codes"));
    assert!(succeeds(folder.path(), "completions bash").contains("FIVEFOLD_COMPLETE=\"bash\""));
    fails(folder.path(), "completions csh", 2, "bash, elvish, fish");
    let output = fivefold(folder.path(), "man --out man");
    assert!(output.status.success() && stderr(&output).contains("man/fivefold.1"), "{}", stderr(&output));
    let page = std::fs::read_to_string(folder.path().join("man/fivefold-submit.1")).unwrap();
    for wanted in ["weighted_samples", "evening.toml"] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    assert!(folder.path().join("man/fivefold.1").exists());
    assert!(succeeds(folder.path(), "man --quiet --out man").is_empty());
    assert!(fivefold(folder.path(), "man -q --out man").stderr.is_empty());
}

#[test]
fn what_is_written_is_told_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let json = |line: &str| serde_json::from_str::<serde_json::Value>(&succeeds(folder.path(), line)).unwrap();
    let drawn = json("synth --out data --train 3 --size 16 --json");
    let expected = serde_json::json!({
        "train": 3, "hpa": 0, "test": 0, "size": 16, "classes": 28, "seed": 1, "out": "data"
    });
    assert_eq!(drawn, expected);
    let pages = json("man --out man --json");
    let pages: Vec<&str> = pages["pages"].as_array().unwrap().iter().map(|page| page.as_str().unwrap()).collect();
    let mut written: Vec<String> = std::fs::read_dir(folder.path().join("man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    written.sort();
    let mut named = pages.clone();
    named.sort();
    assert_eq!(named, written);
    assert!(pages.contains(&"fivefold.1") && pages.contains(&"fivefold-pack-verify.1"), "{pages:?}");
}

/// Runs `fivefold` with these variables alone.
fn fivefold_with(variables: &[(&str, &str)], line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fivefold"));
    command.args(line.split(' ')).env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn empty_variables_count_as_unset() {
    let names = ["COORDINATOR", "TOKEN", "TOKEN_FILE", "CA_CERT", "CLIENT_CERT", "CLIENT_KEY", "DATA"];
    let names = names.map(|name| format!("FIVEFOLD_{name}"));
    let empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let output = fivefold_with(&empty, "pack --train-csv train.csv --out pack");
    assert!(stderr(&output).contains("name the folder of the images with --data DIR"), "{}", stderr(&output));
    let output = fivefold_with(&empty, "status --verbose --wait-seconds 0");
    let said = stderr(&output);
    assert!(said.contains("coordinator http://127.0.0.1:7700, without a token"), "{said}");
}

#[test]
fn usage_lines_name_no_flag_that_a_variable_gave() {
    let variables = [("FIVEFOLD_COORDINATOR", "http://127.0.0.1:1"), ("FIVEFOLD_CA_CERT", "ca.pem")];
    let output = fivefold_with(&variables, "retrain js-abcdefgh");
    assert!(stderr(&output).contains("Usage: fivefold retrain --fold <N> <ID>\n"), "{}", stderr(&output));
    let output = fivefold_with(&[("FIVEFOLD_COORDINATOR", "ftp://hub")], "status");
    assert!(stderr(&output).contains("\"ftp://hub\" is not the address of a coordinator"), "{}", stderr(&output));
}

#[test]
fn an_empty_id_is_refused() {
    let output = fivefold_with(&[], "status ");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("the id is empty: expected the id or the name of a job set"),
        "{}",
        stderr(&output)
    );
}
