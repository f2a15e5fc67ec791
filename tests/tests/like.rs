//! Job sets that begin with what another one has.

use fivefold_proto::convert::spec_from_wire;
use fivefold_tests::{Site, fivefold, tiny_data};

const SPEC: &str = r#"
name = "first"
base_width = 8
image_size = 32
epochs = 3
folds = 3
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_set_is_submitted_like_another_one_with_what_is_given_changed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, _coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let submit = |line: &str| {
        let line = line.replace("FOLDER", &folder.path().display().to_string());
        let mut arguments = vec!["--coordinator", &site.url];
        arguments.extend(line.split_whitespace());
        fivefold(&arguments).map(|printed| printed.trim().to_owned()).map_err(|error| error.to_string())
    };
    let first = site.submit(SPEC).unwrap();
    let like = submit("submit --like first --learning_rate=3e-4 --fold=2").unwrap();
    let (first, like) = (site.job_set(&first).await.unwrap(), site.job_set(&like).await.unwrap());
    assert_eq!((&like.manifests, &like.folds_digest), (&first.manifests, &first.folds_digest));
    let spec = |set: &fivefold_proto::v1::JobSet| spec_from_wire(set.spec.clone().unwrap()).unwrap();
    let (before, after) = (spec(&first), spec(&like));
    let mut expected = before.clone();
    (expected.learning_rate, expected.fold, expected.name) = (3e-4, vec![2], String::new());
    assert_eq!(after, expected);

    // A list that is given takes the place of that one; the folds of a split made elsewhere are taken along.
    let test = "Id\nother-1\nother-2\n";
    std::fs::write(folder.path().join("other.csv"), test).unwrap();
    let other = submit("submit --like @ --test-csv FOLDER/other.csv").unwrap();
    let other = site.job_set(&other).await.unwrap();
    let (other_lists, lists) = (other.manifests.unwrap(), like.manifests.unwrap());
    assert_eq!(other_lists.train_digest, lists.train_digest);
    assert_ne!(other_lists.test_digest, lists.test_digest);
    let train = std::fs::read_to_string(data.join("train.csv")).unwrap();
    let fold = |(row, line): (usize, &str)| format!("{},{}\n", line.split(',').next().unwrap(), row % 2);
    let folds: String = train.lines().skip(1).enumerate().map(fold).collect();
    std::fs::write(folder.path().join("folds.csv"), format!("Id,Fold\n{folds}")).unwrap();
    let train = data.join("train.csv").display().to_string();
    let given = submit(&format!("submit --train-csv {train} --folds-csv FOLDER/folds.csv --image_size=32")).unwrap();
    let given = site.job_set(&given).await.unwrap();
    let again = submit(&format!("submit --like {} --epochs=2", given.id)).unwrap();
    assert_eq!(site.job_set(&again).await.unwrap().folds_digest, given.folds_digest);

    // What status prints is a file of settings.
    let printed = submit(&format!("status {} --json", given.id)).unwrap();
    std::fs::write(folder.path().join("printed"), printed).unwrap();
    let folds = format!("--train-csv {train} --folds-csv FOLDER/folds.csv");
    let copy = submit(&format!("submit {folds} --spec FOLDER/printed")).unwrap();
    assert_eq!(spec(&site.job_set(&copy).await.unwrap()), spec(&given));

    // A pause to come is shown, and dropped by `resume`.
    let paused = submit("pause @ --at 07:00").unwrap();
    assert!(paused.contains("training, to be paused at"), "{paused}");
    assert!(site.job_set(&copy).await.unwrap().pause_time.is_some());
    assert!(!submit("resume @").unwrap().contains("to be paused"));

    let refused = submit(&format!("submit --like {} --warm-start {}", first.id, first.id)).unwrap_err();
    assert!(refused.contains("fold 0 of") && refused.contains("is not trained"), "{refused}");
    let refused = submit("submit --like js-zzzzzzzz").unwrap_err();
    assert!(refused.contains("js-zzzzzzzz"), "{refused}");
    let refused = submit("submit --learning_rate=1").unwrap_err();
    assert!(refused.contains("--train-csv"), "{refused}");
}
