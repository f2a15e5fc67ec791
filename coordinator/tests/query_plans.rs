//! Every query of the coordinator, as SQLite would run it: none reads a whole table that grows with what is stored.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};

/// Steps that read from the beginning of something and stop early, or read it once at the start, or only ever read a little.
const ALLOWED: &[&str] = &[
    // The first row in the order of leasing.
    "SCAN j USING COVERING INDEX jobs_to_lease",
    "SCAN jobs USING COVERING INDEX jobs_to_lease",
    // All leases, once at the start.
    "SCAN jobs USING INDEX jobs_by_progress",
    // What did not end before the coordinator started.
    "SCAN job_sets USING INDEX unfinished_job_sets",
    // What is not finished, in numbers.
    "SCAN jobs USING COVERING INDEX jobs_to_count",
    // All artifacts, once at the start, for `check`, and for `fivefold disk`, which adds them up.
    "SCAN artifacts",
    // There are few of these.
    "SCAN workers",
    "SCAN exclusions",
    "SCAN tokens",
    "SCAN data_sets",
    "SCAN json_each",
    "SCAN CONSTANT ROW",
];

#[tokio::test]
async fn no_query_reads_a_table_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("q.sqlite")).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::migrate!("../migrations").run(&mut connection).await.unwrap();
    let mut queries = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx")).unwrap() {
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let query = file["query"].as_str().unwrap();
        queries += 1;
        let plan = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")));
        for step in plan.fetch_all(&mut connection).await.unwrap() {
            let step: String = step.get("detail");
            let is_scan = step.starts_with("SCAN") && !ALLOWED.iter().any(|allowed| step.starts_with(allowed));
            assert!(!is_scan, "{step}\n{query}");
        }
    }
    assert!(queries > 50, "{queries}");
}

#[tokio::test]
async fn the_oldest_free_job_is_found_without_sorting() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("q.sqlite")).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::migrate!("../migrations").run(&mut connection).await.unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx")).unwrap() {
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let query = file["query"].as_str().unwrap();
        if !query.contains("pick_order LIMIT 1") {
            continue;
        }
        let plan = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")));
        let steps: Vec<String> =
            plan.fetch_all(&mut connection).await.unwrap().iter().map(|step| step.get("detail")).collect();
        assert_eq!(
            steps.iter().filter(|step| step.contains("USING COVERING INDEX jobs_to_lease")).count(),
            2,
            "{steps:#?}"
        );
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:#?}");
        return;
    }
    panic!("no query takes the oldest free job");
}
