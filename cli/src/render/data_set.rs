//! Pushed data sets.

use std::time::SystemTime;

use fivefold_common::one_line::one_line;
use fivefold_common::size::size_text;
use fivefold_proto::v1::{DataSet, Manifests};
use serde_json::{Value, json};

use super::table::table;
use super::worker::time_since;

/// A table of data sets, with the time since each was pushed.
pub(crate) fn data_set_table(data_sets: &[DataSet], now: SystemTime) -> String {
    let row = |set: &DataSet| {
        [
            one_line(&set.name).into_owned(),
            set.image_count.to_string(),
            size_text(set.size_bytes),
            time_since(set.create_time, now),
        ]
    };
    table(["NAME", "IMAGES", "SIZE", "PUSHED"], &data_sets.iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn data_set_json(set: &DataSet) -> Value {
    let Manifests { train_digest, hpa_digest, test_digest, folds_digest, images_digest, .. } =
        set.manifests.clone().unwrap_or_default();
    let optional = |digest: String| Some(digest).filter(|digest| !digest.is_empty());
    json!({
        "name": set.name,
        "images": set.image_count,
        "size_bytes": set.size_bytes,
        "create_time": set.create_time.map(|time| time.to_string()),
        "train_digest": train_digest,
        "hpa_digest": optional(hpa_digest),
        "test_digest": optional(test_digest),
        "folds_digest": optional(folds_digest),
        "images_digest": images_digest,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use fivefold_proto::Timestamp;

    use super::*;

    #[test]
    fn data_sets_are_listed_with_size_and_age() {
        let set = |name: &str, image_count, seconds| DataSet {
            name: name.into(),
            image_count,
            size_bytes: 1_500_000,
            create_time: Some(Timestamp { seconds, nanos: 0 }),
            manifests: Some(Manifests { train_digest: "t".into(), ..Manifests::default() }),
            ..DataSet::default()
        };
        let now = UNIX_EPOCH + Duration::from_secs(100_000);
        let expected = "\
NAME   IMAGES  SIZE    PUSHED
hpa    31072   1.5 MB  27 h ago
xrays  9       1.5 MB  10 s ago
";
        assert_eq!(data_set_table(&[set("hpa", 31072, 0), set("xrays", 9, 99_990)], now), expected);
        let json = data_set_json(&set("xrays", 9, 0));
        assert_eq!((&json["images"], &json["create_time"]), (&json!(9), &json!("1970-01-01T00:00:00Z")));
        assert_eq!((&json["train_digest"], &json["test_digest"]), (&json!("t"), &Value::Null));
    }
}
