//! Job sets on data sets of other kinds, from their files to the submission with the real programs: a column of 0 and 1 for
//! each of 14 classes, with patients and JPEGs of mixed sizes; 1,000 classes; TIFF files of 16 bits; images of four channels.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use fivefold_proto::v1;
use fivefold_tests::{Program, Site, fivefold};
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;
use tiff::encoder::TiffEncoder;
use tiff::encoder::colortype::RGB16;

/// The findings of ChestX-ray14. No row has the last one.
const FINDINGS: [&str; 14] = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
];

/// Two folds of a second each.
const TRAINING: &str = r#"
[training]
model_name = "resnet18"
head = "linear"
base_width = 8
batch_size = 4
train_batch_per_epoch = 4
valid_batch_per_epoch = 4
epochs = 1
tta = 1
folds = 2
intraop_threads = 1
"#;

/// A coordinator, and the folder of a test's data sets.
struct Sets {
    site: Site,
    _coordinator: Program,
    folder: tempfile::TempDir,
}

/// The files of a job set's results.
struct Results {
    report: Value,
    oof: String,
    submission: String,
    /// The beginning of a model's file, with the shapes of its tensors.
    model: String,
}

impl Sets {
    fn start() -> Sets {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let (site, coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
        Sets { site, _coordinator: coordinator, folder }
    }

    fn data(&self) -> &Path {
        &self.site.data
    }

    fn write(&self, file: &str, text: &str) -> String {
        let path = self.data().join(file);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Lists of three classes: images i0 to i23 to train on, i24 to i27 to predict.
    fn write_lists(&self) {
        let train: String = (0..24).map(|image| format!("i{image},{}\n", image % 3)).collect();
        let test: String = (24..28).map(|image| format!("i{image}\n")).collect();
        self.write("train.csv", &format!("Id,Target\n{train}"));
        self.write("test.csv", &format!("Id\n{test}"));
    }

    /// What `fivefold dataset check` says of a data set without problems.
    fn checked(&self, dataset: &str) -> String {
        let found = fivefold(&["dataset", "check", dataset]).unwrap();
        assert!(found.ends_with("no problems\n"), "{found}");
        found
    }

    /// Trains a data set on a worker that finds its images, with more flags of `submit`.
    async fn trained(&self, dataset: &str, name: &str, flags: &[&str]) -> Results {
        let _worker = self.site.start_worker(name).unwrap();
        let (url, name_flag) = (self.site.url.as_str(), format!("--name={name}"));
        let line = ["--coordinator", url, "submit", "--dataset", dataset, &name_flag];
        let id = fivefold(&[&line[..], flags].concat()).unwrap();
        let is_done = |set: &v1::JobSet| set.state() == v1::job_set::State::Succeeded;
        self.site.wait_until(id.trim(), "the job set has succeeded", is_done).await.unwrap();
        let out = self.folder.path().join(name);
        self.site.results(id.trim(), &out).unwrap();
        let text = |file: &str| std::fs::read_to_string(out.join(file)).unwrap();
        let model = std::fs::read(out.join("fold-0.safetensors")).unwrap();
        Results {
            report: serde_json::from_str(&text("report.json")).unwrap(),
            oof: text("oof.csv"),
            submission: text("submission.csv"),
            model: String::from_utf8_lossy(&model[..model.len().min(100_000)]).into_owned(),
        }
    }
}

/// A pixel of a drawn image, 0 to 65,535: waves that differ between images and planes.
fn pixel(image: usize, plane: usize, x: u32, y: u32) -> u16 {
    let phase = (7 * image + 3 * plane) as f64;
    let wave = (f64::from(x) / 5.0 + phase).sin() * (f64::from(y) / 7.0 + phase).cos();
    ((wave + 1.0) * 32_767.0) as u16
}

fn upper_bits(value: u16) -> u8 {
    (value >> 8) as u8
}

fn draw_rgb(path: &Path, image: usize, width: u32, height: u32) {
    let rgb = |x, y| Rgb([0, 1, 2].map(|plane| upper_bits(pixel(image, plane, x, y))));
    RgbImage::from_fn(width, height, rgb).save(path).unwrap();
}

/// A plane of an image as a grey PNG of 20 px.
fn draw_plane(path: &Path, image: usize, plane: usize) {
    GrayImage::from_fn(20, 20, |x, y| Luma([upper_bits(pixel(image, plane, x, y))])).save(path).unwrap();
}

fn draw_tiff(path: &Path, image: usize, side: u32) {
    let places = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let pixels: Vec<u16> = places.flat_map(|(x, y)| (0..3).map(move |plane| pixel(image, plane, x, y))).collect();
    let mut file = TiffEncoder::new(File::create(path).unwrap()).unwrap();
    file.write_image::<RGB16>(side, side, &pixels).unwrap();
}

/// The fold of each row of an out-of-fold table, by its id.
fn folds(oof: &str) -> BTreeMap<&str, &str> {
    let rows = oof.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.map(|fields| (fields[0], fields[2])).collect()
}

/// The names of a list of classes in TOML.
fn toml_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Images of 12 patients, three each; every fourth has no finding.
fn draw_xrays(sets: &Sets) -> (String, BTreeMap<String, String>) {
    std::fs::create_dir(sets.data().join("scans")).unwrap();
    let header = format!("image,{}", FINDINGS.join(","));
    let (mut train, mut test) = (format!("{header},patient\n"), format!("{header}\n"));
    let mut patients = BTreeMap::new();
    for image in 0..42 {
        let id = format!("scan{image}.jpg");
        let (width, height) = (24 + 5 * (image as u32 % 7), 20 + 9 * (image as u32 % 5));
        draw_rgb(&sets.data().join("scans").join(&id), image, width, height);
        let held = |class: usize| image % 4 != 3 && (class == image % 13 || class == (image / 2) % 13);
        let columns: Vec<&str> = (0..14).map(|class| if held(class) { "1" } else { "0" }).collect();
        let row = format!("{id},{}", columns.join(","));
        if image < 36 {
            let patient = format!("p{}", image / 3);
            train += &format!("{row},{patient}\n");
            patients.insert(id, patient);
        } else {
            test += &format!("{row}\n");
        }
    }
    sets.write("train.csv", &train);
    sets.write("test.csv", &test);
    let classes = toml_names(FINDINGS);
    let dataset = format!(
        "classes = {classes}\nsplit_method = \"gkf\"\n[lists]\ntrain = \"train.csv\"\ntest = \"test.csv\"\n\
         [labels]\nid_column = \"image\"\nlabel_format = \"one_hot\"\ngroup_column = \"patient\"\n\
         [images]\nimage_files = \"scans/{{id}}\"\nimage_size = 32\nresize = \"bilinear\"\nfit = \"crop\"\n{TRAINING}"
    );
    (sets.write("dataset.toml", &dataset), patients)
}

#[tokio::test(flavor = "multi_thread")]
async fn jpegs_of_mixed_sizes_with_14_columns_of_findings_keep_patients_in_one_fold() {
    let sets = Sets::start();
    let (dataset, patients) = draw_xrays(&sets);
    let found = sets.checked(&dataset);
    assert!(found.contains("classes that no row has: Hernia\n") && found.contains("42 JPEG"), "{found}");
    let Results { report, oof, submission, .. } = sets.trained(&dataset, "xrays", &["--folds=3"]).await;

    let mut folds_of_patients: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (id, fold) in folds(&oof) {
        folds_of_patients.entry(&patients[id]).or_default().insert(fold);
    }
    assert_eq!(folds_of_patients.len(), 12);
    assert!(folds_of_patients.values().all(|folds| folds.len() == 1), "{folds_of_patients:?}");
    let groups = &report["split"]["groups"];
    assert_eq!(
        (&groups["column"], &groups["count"], &groups["in_two_folds"]),
        (&"patient".into(), &12.into(), &0.into())
    );
    assert_eq!(groups["fold_groups"], serde_json::json!([4, 4, 4]));

    let classes = report["per_class"].as_array().unwrap();
    let names: Vec<&str> = classes.iter().map(|class| class["name"].as_str().unwrap()).collect();
    assert_eq!(names, FINDINGS);
    let (mass, hernia) = (&classes[4], &classes[13]);
    assert!(hernia["support"] == 0 && hernia["auroc"].is_null(), "{hernia}");
    assert!(mass["support"].as_u64().unwrap() > 0 && mass["auroc"].is_f64(), "{mass}");
    assert_eq!(report["metrics"]["unranked_classes"], 1);

    let mut lines = submission.lines();
    assert_eq!(lines.next(), Some(format!("image,{}", FINDINGS.join(",")).as_str()));
    let ids: Vec<&str> = lines.map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(ids, ["scan36.jpg", "scan37.jpg", "scan38.jpg", "scan39.jpg", "scan40.jpg", "scan41.jpg"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_classes_are_trained_with_one_and_with_any_number_a_row() {
    let sets = Sets::start();
    let names: Vec<String> = (0..1000).map(|class| format!("species {class}")).collect();
    let (mut train, mut test) = ("Id,Target\n".to_owned(), "Id\n".to_owned());
    for image in 0..44 {
        draw_rgb(&sets.data().join(format!("i{image}.png")), image, 20, 20);
        if image < 40 {
            train += &format!("i{image},{}\n", names[image * 499 % 1000]);
        } else {
            test += &format!("i{image}\n");
        }
    }
    sets.write("train.csv", &train);
    sets.write("test.csv", &test);
    let classes = toml_names(names.iter().map(String::as_str));
    let dataset = sets.write(
        "dataset.toml",
        &format!(
            "classes = {classes}\nlabel_format = \"names\"\nlabel_separator = \"bar\"\n\
             [lists]\ntrain = \"train.csv\"\ntest = \"test.csv\"\n\
             [images]\nimage_files = \"{{id}}.png\"\nimage_size = 20\nresize = \"exact\"\n{TRAINING}"
        ),
    );
    assert!(sets.checked(&dataset).contains("1000 classes"));
    for task in ["multilabel", "multiclass"] {
        let Results { report, oof, submission, model } =
            sets.trained(&dataset, task, &[&format!("--task={task}")]).await;
        assert!(model.contains("\"shape\":[1000,64]"), "the last layer has a row for each class");
        let mut lines = oof.lines();
        assert!(lines.next().unwrap().ends_with(",p998,p999"));
        assert!(lines.by_ref().all(|line| line.split(',').count() == 1004));
        assert_eq!(folds(&oof).len(), 40);
        let classes = report["per_class"].as_array().unwrap();
        let held = classes.iter().filter(|class| class["support"].as_u64().unwrap() > 0).count();
        assert_eq!((classes.len(), held), (1000, 40));
        assert_eq!(report["metrics"]["unranked_classes"], 960);
        assert_eq!(report["confusion_matrix"].is_array(), task == "multiclass");
        let predicted: Vec<&str> = submission.lines().skip(1).map(|line| line.split_once(',').unwrap().1).collect();
        assert_eq!(predicted.len(), 4);
        for labels in predicted {
            let labels: Vec<&str> = labels.split('|').collect();
            assert!(labels.iter().all(|label| names.iter().any(|name| name == label)), "{labels:?}");
            assert!(task == "multilabel" || labels.len() == 1, "{labels:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tiffs_of_16_bits_train_as_the_same_images_of_8_bits() {
    let sets = Sets::start();
    sets.write_lists();
    for image in 0..28 {
        draw_tiff(&sets.data().join(format!("i{image}.tif")), image, 40);
        draw_rgb(&sets.data().join(format!("i{image}.png")), image, 40, 40);
    }
    let dataset = sets.write(
        "dataset.toml",
        &format!(
            "classes = [\"a\", \"b\", \"c\"]\n[lists]\ntrain = \"train.csv\"\ntest = \"test.csv\"\n\
             [images]\nimage_files = \"{{id}}.tif\"\nimage_size = 32\nresize = \"area\"\n{TRAINING}"
        ),
    );
    let found = sets.checked(&dataset);
    assert!(found.contains("files: 28 TIFF; 40 x 40 (28)"), "{found}");
    let sixteen = sets.trained(&dataset, "sixteen", &[]).await;
    let eight = sets.trained(&dataset, "eight", &["--image_files={id}.png"]).await;
    assert_eq!(folds(&sixteen.oof).len(), 24);
    assert_eq!(sixteen.oof, eight.oof);
    assert_eq!(sixteen.submission, eight.submission);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_reads_each_of_four_channels() {
    let sets = Sets::start();
    sets.write_lists();
    for (plane, channel) in ["red", "green", "blue", "nir", "haze"].iter().enumerate() {
        std::fs::create_dir(sets.data().join(channel)).unwrap();
        for image in 0..28 {
            draw_plane(&sets.data().join(format!("{channel}/i{image}.png")), image, plane);
        }
    }
    let dataset = sets.write(
        "dataset.toml",
        &format!(
            "classes = [\"a\", \"b\", \"c\"]\n[lists]\ntrain = \"train.csv\"\ntest = \"test.csv\"\n\
             [images]\nimage_files = \"{{channel}}/{{id}}.png\"\nchannels = [\"red\", \"green\", \"blue\", \"nir\"]\n\
             image_size = 20\nresize = \"exact\"\n{TRAINING}"
        ),
    );
    sets.checked(&dataset);
    let four = sets.trained(&dataset, "four", &[]).await;
    assert!(four.model.contains("\"shape\":[8,4,7,7]"), "the first layer has four channels");
    assert_eq!((folds(&four.oof).len(), four.submission.lines().count()), (24, 5));
    // With another fourth channel the scores are others.
    let other = sets.trained(&dataset, "other", &["--channels=red,green,blue,haze"]).await;
    assert_ne!(four.oof, other.oof);
}
