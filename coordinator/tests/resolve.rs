//! What users call a job set.
#![expect(clippy::unwrap_used, reason = "tests")]

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::JobSetId;
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::app::{self, Settings};

use crate::rig::{Rig, TRAIN_LIST, submission};

mod rig;

const SETTINGS: Settings = Settings { lease_seconds: 60, stall_seconds: 0, unreferenced_seconds: 3600, retain_days: 0 };

async fn submit(rig: &Rig, request_id: &str, name: &str) -> JobSetId {
    let spec = JobSetSpec { folds: 2, name: name.to_owned(), ..JobSetSpec::default() };
    app::submit(&rig.coordinator, submission(request_id, spec, None)).await.unwrap()
}

#[tokio::test]
async fn a_job_set_is_found_by_its_id_the_beginning_of_it_its_only_name_and_as_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(&folder.path().join("q.sqlite"), SETTINGS).await;
    rig.upload(ArtifactKind::Manifest, TRAIN_LIST.as_bytes()).await;
    let resolve = async |text: &str| app::resolve(&rig.coordinator, text).await.map_err(|error| error.to_string());
    assert!(resolve("@").await.unwrap_err().contains("no job set yet"), "{:?}", resolve("@").await);

    let first = submit(&rig, "a", "evening").await;
    let second = submit(&rig, "b", "morning").await;
    for (text, expected) in [("@", &second), ("latest", &second), ("evening", &first), ("morning", &second)] {
        assert_eq!(resolve(text).await.as_ref(), Ok(expected), "{text}");
    }
    let whole = first.as_str();
    // As far as both agree, a beginning does not tell them apart.
    let shared = whole.bytes().zip(second.as_str().bytes()).take_while(|(a, b)| a == b).count();
    for text in [whole, &whole[..shared + 1], &whole[3..=shared], &whole[3..]] {
        assert_eq!(resolve(text).await.as_ref(), Ok(&first), "{text}");
    }
    let ambiguous = resolve("js-").await.unwrap_err();
    assert!(ambiguous.contains(&format!("{second} (morning), {first} (evening)")), "{ambiguous}");
    let unknown = resolve("night").await.unwrap_err();
    assert!(unknown.contains("no job set with the id or name \"night\""), "{unknown}");

    let third = submit(&rig, "c", "evening").await;
    assert_eq!(resolve("@").await, Ok(third.clone()));
    let ambiguous = resolve("evening").await.unwrap_err();
    assert!(ambiguous.contains(&format!("{third} (evening), {first} (evening)")), "{ambiguous}");
    // A name may be the beginning of an id.
    let named = submit(&rig, "d", &whole[3..10]).await;
    let ambiguous = resolve(&whole[3..10]).await.unwrap_err();
    assert!(ambiguous.contains(named.as_str()) && ambiguous.contains(whole), "{ambiguous}");
    for name in ["@", "latest", "js-", whole, &whole[3..]] {
        let spec = JobSetSpec { folds: 2, name: name.to_owned(), ..JobSetSpec::default() };
        let refused = app::submit(&rig.coordinator, submission("e", spec, None)).await.unwrap_err().to_string();
        assert!(refused.contains("spec.name") && refused.contains("choose another name"), "{refused}");
    }
}
