//! Data sets that are pushed, and workers that have no images but those.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use fivefold_proto::v1;
use fivefold_tests::{Program, Site, fivefold, report_numbers, tiny_data};

const DATASET_TOML: &str = r#"
name = "pushed"
folds = 3
base_width = 8
image_size = 32
batch_size = 4
train_batch_per_epoch = 20
valid_batch_per_epoch = 4
epochs = 2
tta = 2
intraop_threads = 1

[lists]
train = "train.csv"
extra = "HPAv18RGBY_wodpl.csv"
test = "sample_submission.csv"
"#;

/// The folder of a test: the data of a data set, a coordinator, and no worker.
struct Fixture {
    folder: tempfile::TempDir,
    site: Site,
    _coordinator: Program,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        tiny_data(&data).unwrap();
        std::fs::write(data.join("cells.toml"), DATASET_TOML).unwrap();
        let (site, coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
        Fixture { folder, site, _coordinator: coordinator }
    }

    /// Runs `fivefold`; FOLDER stands for the folder of the test.
    fn run(&self, line: &str) -> Result<String, String> {
        let line = line.replace("FOLDER", &self.folder.path().display().to_string());
        let mut arguments = vec!["--coordinator", &self.site.url];
        arguments.extend(line.split_whitespace());
        fivefold(&arguments).map(|printed| printed.trim().to_owned()).map_err(|error| error.to_string())
    }

    fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.run(&format!("{line} --json")).unwrap()).unwrap()
    }

    fn push(&self) -> serde_json::Value {
        self.json("push FOLDER/data/cells.toml --pack FOLDER/pack")
    }
}

fn succeeded(job_set: &v1::JobSet) -> bool {
    job_set.state() == v1::job_set::State::Succeeded
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_set_is_pushed_submitted_by_name_and_deleted() {
    let fixture = Fixture::new();
    let none = fixture.run("datasets").unwrap();
    assert!(none.contains("No data set was pushed yet"), "{none}");
    let pushed = fixture.push();
    assert_eq!((&pushed["name"], &pushed["images"]), (&"cells".into(), &100.into()));
    let size = &pushed["size_bytes"];
    assert_eq!((&pushed["uploaded"]["segments"], &pushed["uploaded"]["bytes"]), (&1.into(), size));
    // Nothing is uploaded again, under whatever name.
    let again = fixture.json("push FOLDER/data/cells.toml --name again --pack FOLDER/pack");
    assert_eq!((&again["images_digest"], &again["uploaded"]["bytes"]), (&pushed["images_digest"], &0.into()));
    let listed = fixture.run("datasets").unwrap();
    let names: Vec<&str> = listed.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["NAME", "again", "cells"]);

    let id = fixture.run("submit --dataset cells --epochs=1 --fold=1").unwrap();
    let job_set = fixture.site.job_set(&id).await.unwrap();
    let (spec, manifests) = (job_set.spec.unwrap(), job_set.manifests.unwrap());
    assert_eq!((spec.epochs, spec.folds, spec.train_with_hpa), (1, vec![1], true));
    assert_eq!(manifests.images_digest, pushed["images_digest"].as_str().unwrap());
    assert_eq!(manifests.hpa_digest, pushed["hpa_digest"].as_str().unwrap());
    let like = fixture.run("submit --like @ --learning_rate=3e-4").unwrap();
    assert_eq!(fixture.site.job_set(&like).await.unwrap().manifests.unwrap(), manifests);
    let file = fixture.run("submit --dataset FOLDER/data/cells.toml --image_size=32").unwrap();
    assert!(fixture.site.job_set(&file).await.unwrap().manifests.unwrap().images_digest.is_empty());

    for (line, wanted) in [
        ("submit --dataset cells --image_size=64", "the pushed images have the size 3 x 32 x 32"),
        ("submit --dataset cell", "there is no data set cell (NOT_FOUND); `fivefold datasets` lists the pushed ones"),
        ("submit --dataset cells.toml", "cannot read cells.toml"),
        ("datasets delete cells nothing", "there is no data set nothing"),
    ] {
        let refused = fixture.run(line).unwrap_err();
        assert!(refused.contains(wanted), "{line}: {refused}");
    }
    let disk = fixture.run("disk").unwrap();
    assert!(disk.contains("DATA SET") && disk.contains("again"), "{disk}");
    assert_eq!(fixture.run("datasets delete cells again").unwrap(), "cells is deleted\nagain is deleted");
    assert!(fixture.json("datasets")["data_sets"].as_array().unwrap().is_empty());
    fixture.run("submit --like @").unwrap_or_else(|error| panic!("the job set keeps its lists: {error}"));
    fixture.run(&format!("submit --like {id}")).unwrap_or_else(|error| panic!("and its images: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pushed_is_refused_before_anything_is_stored() {
    let fixture = Fixture::new();
    let data = fixture.folder.path().join("data");
    std::fs::write(data.join("no-list.toml"), "image_size = 32\n").unwrap();
    // Yellow files are not read.
    let is_red = |path: &PathBuf| path.to_string_lossy().ends_with("_red.png");
    let mut files = std::fs::read_dir(data.join("test")).unwrap().map(|entry| entry.unwrap().path());
    let image = files.find(is_red).unwrap();
    let bytes = std::fs::read(&image).unwrap();
    std::fs::write(&image, &bytes[..bytes.len() / 2]).unwrap();
    for (line, wanted) in [
        ("push FOLDER/data/no-list.toml --pack FOLDER/pack", "there is no training list"),
        ("push FOLDER/data/cells.toml --pack FOLDER/pack --name a/b", "cannot be the name of a data set"),
        ("push FOLDER/data/cells.toml --pack FOLDER/pack", "1 images cannot be read and are not packed: "),
    ] {
        let refused = fixture.run(line).unwrap_err();
        assert!(refused.contains(wanted), "{line}: {refused}");
    }
    assert!(fixture.json("datasets")["data_sets"].as_array().unwrap().is_empty());
    // The pack is gone on with.
    std::fs::write(&image, bytes).unwrap();
    assert_eq!(fixture.push()["images"], 100);
}

fn assert_same_results(one: &Path, other: &Path) {
    let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
    for name in ["oof.csv", "submission.csv", "fold-0.safetensors", "fold-1.safetensors", "fold-2.safetensors"] {
        assert!(read(one, name) == read(other, name), "{name} of pushed images differs from that of a folder");
    }
    assert_eq!(report_numbers(one).unwrap(), report_numbers(other).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_without_images_train_on_pushed_ones_to_the_same_bytes() {
    let fixture = Fixture::new();
    let (site, folder) = (&fixture.site, fixture.folder.path());
    fixture.push();
    let bare: Vec<Program> =
        ["ada", "ben"].iter().map(|name| site.start_worker_without_images(name).unwrap()).collect();
    let pushed = fixture.run("submit --dataset cells").unwrap();
    site.wait_until(&pushed, "the job set with pushed images has succeeded", succeeded).await.unwrap();
    site.results(&pushed, &folder.join("pushed")).unwrap();

    // Images in folders are for others, and the command says so.
    let in_folder = fixture.run("submit --dataset FOLDER/data/cells.toml").unwrap();
    let workers = fixture.json("workers");
    assert!(
        workers["workers"].as_array().unwrap().iter().all(|worker| worker["has_image_folder"] == false),
        "{workers}"
    );
    let job_set = site.job_set(&in_folder).await.unwrap();
    assert!(job_set.jobs.iter().all(|job| job.attempt == 0), "{job_set:#?}");
    let worker = site.start_worker("eva").unwrap();
    site.wait_until(&in_folder, "the job set with images in a folder has succeeded", succeeded).await.unwrap();
    site.results(&in_folder, &folder.join("in-folder")).unwrap();
    assert_same_results(&folder.join("pushed"), &folder.join("in-folder"));
    worker.kill().unwrap();

    // A new test list of pushed images is predicted too.
    let test = std::fs::read_to_string(folder.join("data/sample_submission.csv")).unwrap();
    let some: Vec<&str> = test.lines().take(5).collect();
    std::fs::write(folder.join("some.csv"), some.join("\n") + "\n").unwrap();
    fixture.run(&format!("predict {pushed} --test-csv FOLDER/some.csv")).unwrap();
    site.wait_until(&pushed, "the new test list is predicted", |set| set.submissions.len() == 2 && succeeded(set))
        .await
        .unwrap();
    drop(bare);
}
