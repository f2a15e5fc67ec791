//! Verifying a state folder, copying it while it is in use, and starting on the copy.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::{MetadataExt as _, chown};

use fivefold_coordinator::state_folder::{back_up, check, check_start, create, database_file};
use fivefold_proto::v1;

use crate::site::{Site, scores, spec};

mod site;

#[tokio::test]
async fn a_backup_of_a_running_coordinator_resumes_from_its_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (state, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let site = Site::start(&state, 60).await;
    let id = site.submit("r1", &spec()).await.unwrap().id;
    site.register("w").await;
    let lease = site.acquire("w", "a", 10).await.unwrap();
    site.complete(&lease, &scores(&lease)).await.unwrap();
    let blobs = back_up(&state, &copy).await.unwrap();
    assert!(back_up(&state, &copy).await.unwrap_err().to_string().contains("already"));
    // Later changes are not in the copy.
    let later = site.acquire("w", "b", 10).await.unwrap();
    site.complete(&later, &scores(&later)).await.unwrap();
    site.stop().await;

    let findings = check(&copy).await.unwrap();
    assert_eq!(
        (findings.artifacts, findings.problems.len(), findings.unreferenced.len()),
        (blobs, 0, 0),
        "{findings:?}"
    );
    let site = Site::start(&copy, 60).await;
    let states: Vec<_> = site.job_set(&id).await.jobs.iter().map(v1::Job::state).collect();
    use v1::job::State::{Queued, Succeeded};
    assert_eq!(states, [Succeeded, Queued, Queued]);
    site.stop().await;
}

#[tokio::test]
async fn check_finds_damaged_and_missing_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let kind = v1::ArtifactKind::Weights;
    let (damaged, missing) = (site.upload(kind, b"damaged").await, site.upload(kind, b"missing").await);
    site.stop().await;
    assert_eq!(check(folder.path()).await.unwrap().problems, Vec::<String>::new());

    let blobs = folder.path().join("artifacts");
    std::fs::write(blobs.join(damaged.to_string()), b"dalaged").unwrap();
    std::fs::remove_file(blobs.join(missing.to_string())).unwrap();
    std::fs::write(blobs.join("left-over"), b"").unwrap();
    let findings = check(folder.path()).await.unwrap();
    let mut expected = vec![format!("artifact {damaged} is damaged"), format!("artifact {missing} is missing")];
    expected.sort();
    assert_eq!(findings.problems, expected);
    assert_eq!(findings.unreferenced, ["left-over"]);
    // The coordinator deletes it at its start: without a row it was never acknowledged.
    Site::start(folder.path(), 60).await.stop().await;
    assert_eq!(check(folder.path()).await.unwrap().unreferenced, Vec::<String>::new());
    assert!(check(&folder.path().join("nowhere")).await.unwrap_err().to_string().contains("not a state folder"));
}

#[tokio::test]
async fn what_keeps_a_coordinator_from_starting_is_found_before_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    check_start(&state).await.unwrap();
    assert!(!state.exists(), "nothing is made");
    create(&state).unwrap();
    check_start(&state).await.unwrap();
    Site::start(&state, 60).await.stop().await;
    check_start(&state).await.unwrap();

    let (file, other) = (folder.path().join("file"), folder.path().join("other"));
    std::fs::write(&file, "text").unwrap();
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("notes.txt"), "text").unwrap();
    for (path, wanted) in [
        (&file, "file is no folder: name the state folder, or a new one"),
        (&other, "other is not a state folder: it has no fivefold.sqlite, and it has notes.txt"),
    ] {
        let (checked, started) = (check_start(path).await.unwrap_err(), create(path).unwrap_err());
        assert!(checked.to_string().contains(wanted), "{checked}");
        assert_eq!(checked.to_string(), started.to_string());
    }
    std::fs::write(state.join("fivefold.sqlite"), "no database").unwrap();
    let refused = format!("{:#}", check_start(&state).await.unwrap_err());
    assert!(refused.contains("fivefold.sqlite"), "{refused}");
}

#[test]
fn a_folder_created_by_root_stays_private_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("fivefold").join("state");
    assert!(database_file(&state).unwrap_err().to_string().contains("not a state folder"));
    let file = create(&state).unwrap();
    assert_eq!(std::fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

    std::fs::remove_file(&file).unwrap();
    if chown(&state, Some(65534), Some(65534)).is_err() {
        eprintln!("skipped: only root can change the owner of a folder");
        return;
    }
    create(&state).unwrap();
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (65534, 65534));
    std::fs::write(&file, b"kept").unwrap();
    assert_eq!(create(&state).unwrap(), file);
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    create(folder.path()).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "").unwrap();
    create(folder.path()).unwrap();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("notes.txt"), "").unwrap();
    let refused = create(other.path()).unwrap_err().to_string();
    assert!(refused.contains("is not a state folder") && refused.contains("notes.txt"), "{refused}");
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1, "something was made");
}
