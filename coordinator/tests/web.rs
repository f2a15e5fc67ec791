//! The page, as a browser asks for it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fivefold_client::{Connection, Credentials, RetryPolicy};
use fivefold_common::role::Role;
use fivefold_common::spec::JobSetSpec;
use fivefold_coordinator::Config;
use fivefold_coordinator::access::{new_token, token_hash};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use fivefold_coordinator::queue::{NewToken, Queue as _};
use fivefold_coordinator::web::WebAddress;
use fivefold_proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::site::{Site, reference, scores, spec};

mod site;

/// A coordinator with a page.
async fn start(folder: &tempfile::TempDir) -> (Site, SocketAddr) {
    // The port is free again when the coordinator listens on it.
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = Config { web: WebAddress::At(web), ..Config::new(folder.path().join("state")) };
    let site = Site::start_with(config).await;
    let start = Instant::now();
    while TcpStream::connect(web).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "no page");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (site, web)
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends a request over a connection of its own, with `Host: localhost:PORT` unless `headers` has another one.
async fn ask(web: SocketAddr, request: &str, headers: &[(&str, &str)], form: &str) -> Answer {
    let mut stream = open(web, request, headers, form).await;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn open(web: SocketAddr, request: &str, headers: &[(&str, &str)], form: &str) -> TcpStream {
    let mut text = format!("{request} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        text += &format!("Host: localhost:{}\r\n", web.port());
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let length = form.len();
    text += &format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}");
    let mut stream = TcpStream::connect(web).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn get(web: SocketAddr, path: &str) -> Answer {
    ask(web, &format!("GET {path}"), &[], "").await
}

fn origin(web: SocketAddr) -> String {
    format!("http://localhost:{}", web.port())
}

#[tokio::test]
async fn a_client_that_is_given_the_address_of_the_page_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (site, web) = start(&folder).await;
    let policy = RetryPolicy::interactive(Some(Duration::from_secs(20)));
    let connection =
        Connection::new(&web.to_string().parse().unwrap(), &Credentials::default(), policy, "test").unwrap();
    let call = connection.call(v1::ListWorkersRequest {}, async |c, r| c.workers().list_workers(r).await);
    let error = call.await.unwrap_err().to_string();
    assert!(error.contains("this is the page of a coordinator; its gRPC address is usually port 7700"), "{error}");
    site.stop().await;
}

#[tokio::test]
async fn a_job_set_is_seen_from_its_submission_to_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (site, web) = start(&folder).await;
    let empty = get(web, "/").await;
    assert!(empty.status == 200 && empty.body.contains("There are no job sets here"), "{}", empty.body);
    assert!(empty.header("content-security-policy").unwrap().contains("default-src 'none'"));

    let id = site.submit("r1", &JobSetSpec { epochs: 1, ..spec() }).await.unwrap().id;
    site.register("gpu<1>").await;
    assert!(get(web, "/").await.body.contains(&id));
    let folds = spec().trained_folds().len();
    for fold in 0..folds {
        let lease = site.acquire("gpu<1>", &format!("a{fold}"), 60).await.unwrap();
        let epochs = vec![v1::EpochMetrics { valid_macro_f1: 0.25, train_loss: 0.5, ..v1::EpochMetrics::default() }];
        site.report(&lease, 1, epochs).await.unwrap();
        if fold == 0 {
            let page = get(web, &format!("/job-sets/{id}")).await.body;
            assert!(page.contains("gpu&lt;1&gt;") && page.contains("0.2500 (epoch 1)"), "{page}");
            let workers = get(web, "/workers").await.body;
            assert!(workers.contains("gpu&lt;1&gt;") && workers.contains("fold 0"), "{workers}");
            let curves: serde_json::Value =
                serde_json::from_str(&get(web, &format!("/job-sets/{id}/curves")).await.body).unwrap();
            assert_eq!((&curves["epochs"], &curves["folds"][0]["macro_f1"]), (&[1].into(), &[0.25].into()));
        }
        site.complete(&lease, &scores(&lease)).await.unwrap();
    }
    site.wait_until(&id, |set| set.state() == v1::job_set::State::Succeeded || !set.results.is_empty()).await;
    let page = get(web, &format!("/job-sets/{id}")).await.body;
    let report = get(web, &format!("/job-sets/{id}/report")).await;
    assert!(report.status == 200 && report.body.contains("Nucleoplasm"), "{}", report.body);
    let oof = page.split('"').find(|part| part.ends_with("/oof.csv")).unwrap();
    let oof = get(web, &format!("/job-sets/{oof}")).await;
    assert_eq!(oof.header("content-disposition"), Some("attachment; filename=\"oof.csv\""));
    assert!(oof.status == 200 && oof.body.starts_with("Id,"), "{}", oof.body);
    // What is no result of this job set is not given out.
    let list = site.job_set(&id).await.manifests.unwrap().train_digest;
    assert_eq!(get(web, &format!("/job-sets/{id}/files/{list}/oof.csv")).await.status, 404);
    assert_eq!(get(web, "/job-sets/js-zzzzzzzz").await.status, 404);
    let unknown = get(web, "/job-sets/js-zzzzzzzz/report").await.body;
    assert!(unknown.contains("href=\"../../assets/style.css\""), "{unknown}");
    site.stop().await;
}

#[tokio::test]
async fn an_open_page_gets_what_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (site, web) = start(&folder).await;
    let id = site.submit("r1", &spec()).await.unwrap().id;
    let mut stream = open(web, &format!("GET /job-sets/{id}/live"), &[], "").await;
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "queued").await;
    assert!(!seen.contains("gpu1"), "{seen}");
    site.register("gpu1").await;
    site.acquire("gpu1", "a", 60).await.unwrap();
    read_until(&mut stream, &mut seen, "gpu1").await;
    // An open page does not keep the coordinator from stopping.
    site.stop().await;
}

async fn read_until(stream: &mut TcpStream, seen: &mut String, text: &str) {
    let start = Instant::now();
    let mut bytes = [0; 4096];
    while !seen.contains(text) {
        assert!(start.elapsed() < Duration::from_secs(60), "{seen}");
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
}

#[tokio::test]
async fn controls_obey_forms_of_the_page_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (site, web) = start(&folder).await;
    let id = site.submit("r1", &spec()).await.unwrap().id;
    let pause = format!("POST /job-sets/{id}/pause");
    let foreign = [("Origin", "http://evil.example")];
    assert_eq!(ask(web, &pause, &foreign, "").await.status, 403);
    assert_eq!(ask(web, &pause, &[], "").await.status, 403);
    // A name of another site that was made to lead here.
    let rebound = [("Host", "evil.example:7701"), ("Origin", "http://evil.example:7701")];
    assert_eq!(ask(web, &pause, &rebound, "").await.status, 403);
    assert_eq!(ask(web, "GET /", &rebound, "").await.status, 403);
    assert!(!site.job_set(&id).await.paused);

    let own = origin(web);
    let done = ask(web, &pause, &[("Origin", &own)], "").await;
    assert_eq!((done.status, done.header("location")), (303, Some(format!("../{id}").as_str())));
    assert!(site.job_set(&id).await.paused);
    assert_eq!(ask(web, &format!("POST /job-sets/{id}/resume"), &[("Origin", &own)], "").await.status, 303);
    site.register("gpu1").await;
    assert_eq!(ask(web, "POST /workers/drain", &[("Origin", &own)], "name=gpu1").await.status, 303);
    assert!(get(web, "/workers").await.body.contains("(drained)"));
    assert_eq!(ask(web, &format!("POST /job-sets/{id}/cancel"), &[("Origin", &own)], "").await.status, 303);
    assert_eq!(site.job_set(&id).await.state(), v1::job_set::State::Cancelled);
    let again = ask(web, &pause, &[("Origin", &own)], "").await;
    assert!(again.status == 409 && again.body.contains("cancelled"), "{}", again.body);
    site.stop().await;
}

#[tokio::test]
async fn tokens_are_asked_for_and_a_read_only_one_shows_no_buttons() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let queue = SqliteQueue::open(&state.join("fivefold.sqlite"), Durability::Disk).await.unwrap();
    let mut tokens = Vec::new();
    for role in [Role::User, Role::ReadOnly, Role::Worker] {
        let token = new_token().unwrap();
        let new = NewToken { name: role.word().into(), role, hash: token_hash(&token) };
        queue.create_token(Timestamp(0), new).await.unwrap();
        tokens.push(token);
    }
    let [user, read_only, worker] = tokens.try_into().unwrap();
    let (site, web) = start(&folder).await;
    let scrape =
        async |token: &str| ask(web, "GET /metrics", &[("Authorization", &format!("Bearer {token}"))], "").await.status;
    assert_eq!((scrape(&read_only).await, scrape(&worker).await, scrape("ffv1_nonsense").await), (200, 403, 403));
    assert_eq!(get(web, "/metrics").await.status, 403);
    let redirected = get(web, "/workers").await;
    assert_eq!((redirected.status, redirected.header("location")), (303, Some("./login?next=workers")));
    assert_eq!(get(web, "/login").await.status, 200);
    let own = origin(web);
    let log_in =
        async |token: &str| ask(web, "POST /login", &[("Origin", &own)], &format!("token={token}&next=workers")).await;
    assert!(log_in(&worker).await.body.contains("worker's token"));
    assert!(log_in("ffv1_nonsense").await.body.contains("unknown or was revoked"));

    for (token, controls) in [(&user, true), (&read_only, false)] {
        let entered = log_in(token).await;
        assert_eq!((entered.status, entered.header("location")), (303, Some("./workers")));
        let cookie = entered.header("set-cookie").unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        let session = cookie.split(';').next().unwrap().to_owned();
        let headers = [("Cookie", session.as_str()), ("Origin", own.as_str())];
        assert_eq!(ask(web, "GET /", &headers, "").await.status, 200);
        // Refused for its role, or because there is no such worker.
        let drained = ask(web, "POST /workers/drain", &headers, "name=nobody").await;
        assert_eq!(drained.status, if controls { 404 } else { 403 }, "{}", drained.body);
        assert_eq!(ask(web, "POST /logout", &headers, "").await.status, 303);
        assert_eq!(ask(web, "GET /", &headers, "").await.status, 303);
    }
    site.stop().await;
}

/// The value of a metric.
fn metric(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn prometheus_sees_what_is_unfinished_and_what_has_happened() {
    let folder = tempfile::tempdir().unwrap();
    let (site, web) = start(&folder).await;
    let id = site.submit("r1", &spec()).await.unwrap().id;
    site.register("w").await;
    let queued = r#"fivefold_unfinished_jobs{kind="train",state="queued"}"#;
    let running = r#"fivefold_unfinished_jobs{kind="train",state="running"}"#;
    let answer = get(web, "/metrics").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    let before = answer.body;
    let folds = metric(&before, queued);
    assert!(folds > 1 && metric(&before, running) == 0, "{before}");
    assert_eq!(metric(&before, r#"fivefold_unfinished_job_sets{state="training"}"#), 1);
    assert_eq!(metric(&before, r#"fivefold_workers{state="idle"}"#), 1);
    assert_eq!(metric(&before, "fivefold_job_sets_submitted_total"), 1);
    assert!(metric(&before, "fivefold_disk_size_bytes") >= metric(&before, "fivefold_disk_free_bytes"));

    let lease = site.acquire("w", "a", 10).await.unwrap();
    let leased = get(web, "/metrics").await.body;
    assert_eq!((metric(&leased, queued), metric(&leased, running)), (folds - 1, 1));
    assert_eq!(metric(&leased, r#"fivefold_workers{state="busy"}"#), 1);
    assert_eq!(metric(&leased, "fivefold_leases_total"), 1);
    let failure = v1::FailJobRequest {
        lease: reference(&lease),
        cause: v1::FailureCause::Error.into(),
        message: "broken".into(),
    };
    site.workers.clone().fail_job(failure).await.unwrap();
    let pause = v1::PauseJobSetRequest { job_set_id: id, at_time: None };
    site.job_sets.clone().pause_job_set(pause).await.unwrap();
    let paused = get(web, "/metrics").await.body;
    assert_eq!(metric(&paused, r#"fivefold_unfinished_jobs{kind="train",state="paused"}"#), folds);
    assert_eq!(metric(&paused, r#"fivefold_attempts_ended_total{cause="error"}"#), 1);
    assert!(!paused.contains("js-"), "a label of a job set: {paused}");
}
