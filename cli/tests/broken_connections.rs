//! The command against a coordinator that breaks off every stream once: nothing is lost, nothing is sent twice.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use fivefold_common::classes::names_for_count;
use fivefold_common::ids::{Digest, Fold};
use fivefold_common::labels::Labels;
use fivefold_common::report::build_report;
use fivefold_common::scores::{ScoreRow, ScoreTable, Source};
use fivefold_common::threshold::EmptyRows;
use fivefold_proto::SubmitJobSetRequest;
use fivefold_proto::status::{Reason, status};
use fivefold_proto::v1::artifact_service_server::{ArtifactService, ArtifactServiceServer};
use fivefold_proto::v1::job_set_service_server::{JobSetService, JobSetServiceServer};
use fivefold_proto::v1::upload_artifact_request::Part;
use fivefold_proto::v1::*;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

const ID: &str = "js-abcdefgh";

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A stream of `messages`. If `broken`, it breaks off after them.
fn answers<T: Send + 'static>(messages: Vec<T>, broken: bool) -> Response<Answers<T>> {
    let end = broken.then(|| Err(Status::unavailable("the coordinator is stopping")));
    Response::new(Box::pin(tokio_stream::iter(messages.into_iter().map(Ok).chain(end).collect::<Vec<_>>())))
}

/// The epochs of the only fold.
fn epochs() -> Vec<EpochMetrics> {
    let epoch = |epoch: u32| EpochMetrics {
        epoch,
        train_loss: 0.5 - 0.125 * f64::from(epoch),
        valid_loss: 0.75,
        valid_macro_f1: 0.25 + 0.125 * f64::from(epoch),
        ..EpochMetrics::default()
    };
    (0..3).map(epoch).collect()
}

/// A coordinator in memory.
#[derive(Debug, Default)]
struct Fake {
    ending: job_set::State,
    results: Vec<(ArtifactKind, Vec<u8>)>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    upload: Vec<u8>,
    upload_offsets: Vec<u64>,
    submissions: Vec<SubmitJobSetRequest>,
    watch_cursors: Vec<i64>,
    download_offsets: Vec<u64>,
}

impl Fake {
    fn job_set(&self, state: job_set::State) -> JobSet {
        let results = self.results.iter().map(|(kind, bytes)| Artifact {
            kind: (*kind).into(),
            digest: Digest::of(bytes).to_string(),
            size_bytes: bytes.len() as u64,
        });
        let last_epoch = epochs().last().copied();
        let job = Job { id: 1, kind: JobKind::Train.into(), fold: 0, attempt: 1, last_epoch, ..Job::default() };
        JobSet {
            id: ID.into(),
            spec: Some(JobSetSpec { epochs: 25, ..JobSetSpec::default() }),
            state: state.into(),
            jobs: vec![job],
            results: results.collect(),
            ..JobSet::default()
        }
    }
}

#[tonic::async_trait]
impl ArtifactService for Fake {
    async fn get_upload(&self, request: Request<GetUploadRequest>) -> Result<Response<GetUploadResponse>, Status> {
        let artifact = request.into_inner().artifact.unwrap();
        let seen = self.seen.lock().unwrap();
        let complete = Digest::of(&seen.upload).to_string() == artifact.digest;
        Ok(Response::new(GetUploadResponse { offset_bytes: seen.upload.len() as u64, complete }))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<UploadArtifactRequest>>,
    ) -> Result<Response<UploadArtifactResponse>, Status> {
        let mut parts = request.into_inner();
        let mut artifact = None;
        while let Some(message) = parts.next().await {
            match message?.part.unwrap() {
                Part::Header(header) => {
                    self.seen.lock().unwrap().upload_offsets.push(header.offset_bytes);
                    artifact = header.artifact;
                }
                Part::Chunk(chunk) => {
                    let mut seen = self.seen.lock().unwrap();
                    seen.upload.extend_from_slice(&chunk);
                    if seen.upload_offsets.len() == 1 {
                        return Err(status(Reason::Unavailable, "the coordinator is stopping"));
                    }
                }
            }
        }
        Ok(Response::new(UploadArtifactResponse { artifact }))
    }

    type DownloadArtifactStream = Answers<DownloadArtifactResponse>;

    async fn download_artifact(
        &self,
        request: Request<DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let request = request.into_inner();
        self.seen.lock().unwrap().download_offsets.push(request.offset_bytes);
        let held = self.results.iter().find(|(_, bytes)| Digest::of(bytes).to_string() == request.digest);
        let (_, bytes) = held.ok_or_else(|| status(Reason::NotFound, "no such artifact"))?;
        let rest = &bytes[request.offset_bytes as usize..];
        let broken = request.offset_bytes == 0;
        let sent = if broken { &rest[..rest.len() / 2] } else { rest };
        let chunk = DownloadArtifactResponse { chunk: sent.to_vec().into(), size_bytes: bytes.len() as u64 };
        Ok(answers(vec![chunk], broken))
    }
}

#[tonic::async_trait]
impl JobSetService for Fake {
    async fn submit_job_set(
        &self,
        request: Request<SubmitJobSetRequest>,
    ) -> Result<Response<SubmitJobSetResponse>, Status> {
        let mut seen = self.seen.lock().unwrap();
        seen.submissions.push(request.into_inner());
        if seen.submissions.len() == 1 {
            return Err(status(Reason::Unavailable, "the coordinator is stopping"));
        }
        Ok(Response::new(SubmitJobSetResponse {
            job_set: Some(self.job_set(job_set::State::Training)),
            ..SubmitJobSetResponse::default()
        }))
    }

    async fn get_job_set(&self, request: Request<GetJobSetRequest>) -> Result<Response<GetJobSetResponse>, Status> {
        if request.into_inner().job_set_id != ID {
            return Err(status(Reason::NotFound, "there is no such job set"));
        }
        Ok(Response::new(GetJobSetResponse {
            job_set: Some(self.job_set(self.ending)),
            ..GetJobSetResponse::default()
        }))
    }

    type WatchJobSetStream = Answers<WatchJobSetResponse>;

    async fn watch_job_set(
        &self,
        request: Request<WatchJobSetRequest>,
    ) -> Result<Response<Self::WatchJobSetStream>, Status> {
        let after = request.into_inner().after_cursor;
        self.seen.lock().unwrap().watch_cursors.push(after);
        let event = |cursor| Event { cursor, job_id: 1, message: format!("event {cursor}"), ..Event::default() };
        let broken = after == 0;
        let (events, state) =
            if broken { (vec![event(3), event(4)], job_set::State::Training) } else { (vec![event(5)], self.ending) };
        Ok(answers(vec![WatchJobSetResponse { events, job_set: Some(self.job_set(state)) }], broken))
    }

    async fn list_job_sets(&self, _: Request<ListJobSetsRequest>) -> Result<Response<ListJobSetsResponse>, Status> {
        let job_sets = vec![self.job_set(self.ending)];
        Ok(Response::new(ListJobSetsResponse { job_sets, ..ListJobSetsResponse::default() }))
    }

    async fn list_epoch_metrics(
        &self,
        request: Request<ListEpochMetricsRequest>,
    ) -> Result<Response<ListEpochMetricsResponse>, Status> {
        let ListEpochMetricsRequest { job_set_id, fold } = request.into_inner();
        assert_eq!((job_set_id.as_str(), fold), (ID, 0));
        Ok(Response::new(ListEpochMetricsResponse { epochs: epochs() }))
    }

    async fn delete_job_set(&self, _: Request<DeleteJobSetRequest>) -> Result<Response<DeleteJobSetResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn resolve_job_set(
        &self,
        _: Request<ResolveJobSetRequest>,
    ) -> Result<Response<ResolveJobSetResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn fit_trained_folds(
        &self,
        _: Request<FitTrainedFoldsRequest>,
    ) -> Result<Response<FitTrainedFoldsResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn finish_job_set(&self, _: Request<FinishJobSetRequest>) -> Result<Response<FinishJobSetResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn cancel_job_set(&self, _: Request<CancelJobSetRequest>) -> Result<Response<CancelJobSetResponse>, Status> {
        Err(status(Reason::WrongState, "the job set has ended"))
    }

    async fn pause_job_set(&self, _: Request<PauseJobSetRequest>) -> Result<Response<PauseJobSetResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn resume_job_set(&self, _: Request<ResumeJobSetRequest>) -> Result<Response<ResumeJobSetResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn retry_job_set(&self, _: Request<RetryJobSetRequest>) -> Result<Response<RetryJobSetResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn retrain_fold(&self, _: Request<RetrainFoldRequest>) -> Result<Response<RetrainFoldResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn extend_job_set(&self, _: Request<ExtendJobSetRequest>) -> Result<Response<ExtendJobSetResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn predict_job_set(
        &self,
        _: Request<PredictJobSetRequest>,
    ) -> Result<Response<PredictJobSetResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn get_disk_usage(&self, _: Request<GetDiskUsageRequest>) -> Result<Response<GetDiskUsageResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }
}

/// Serves `fake` on a free port and returns its address.
async fn serve(fake: &Arc<Fake>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(ArtifactServiceServer::from_arc(fake.clone()))
        .add_service(JobSetServiceServer::from_arc(fake.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    url
}

async fn fivefold(folder: &Path, url: &str, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fivefold"));
    command.args(["--coordinator", url, "--wait-seconds", "60"]).args(line.split_whitespace());
    command.current_dir(folder).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_resume_and_carry_one_request_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut list = String::from("Id,Target\n");
    for row in 0..60_000 {
        list += &format!("image-{row:09},{}\n", row % 28);
    }
    std::fs::write(folder.path().join("train.csv"), &list).unwrap();
    let fake = Arc::new(Fake::default());
    let url = serve(&fake).await;
    let output = fivefold(folder.path(), &url, "submit --train-csv train.csv --fold=2,1 --tta=3").await;
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    assert_eq!(words(&output.stdout), format!("{ID}\n"));
    assert!(words(&output.stderr).contains("2 of 5 folds"), "{}", words(&output.stderr));
    let seen = fake.seen.lock().unwrap();
    assert_eq!(words(&seen.upload), list);
    assert_eq!(seen.upload_offsets, [0, 512 * 1024]);
    let [first, second] = &seen.submissions[..] else { panic!("{} submissions", seen.submissions.len()) };
    assert_eq!(first, second);
    assert!(!first.request_id.is_empty());
    let (spec, manifests) = first.parts().unwrap();
    assert_eq!(manifests.train_digest, Digest::of(list.as_bytes()).to_string());
    assert_eq!((&spec.folds[..], spec.tta, spec.train_with_hpa), (&[1, 2][..], 3, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_after_its_cursor_and_its_exit_status_tells_the_end() {
    let folder = tempfile::tempdir().unwrap();
    for (ending, code) in [(job_set::State::Succeeded, 0), (job_set::State::Failed, 1), (job_set::State::Cancelled, 3)]
    {
        let fake = Arc::new(Fake { ending, ..Fake::default() });
        let url = serve(&fake).await;
        let output = fivefold(folder.path(), &url, &format!("watch {ID}")).await;
        assert_eq!(output.status.code(), Some(code), "{}", words(&output.stderr));
        let printed = words(&output.stdout);
        let events: Vec<&str> = printed.lines().filter(|line| line.contains("event")).collect();
        assert_eq!(events, ["train fold 0: event 3", "train fold 0: event 4", "train fold 0: event 5"]);
        assert_eq!(fake.seen.lock().unwrap().watch_cursors, [0, 4]);
        let json = fivefold(folder.path(), &url, &format!("watch --json {ID}")).await;
        let lines = words(&json.stdout);
        assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_complete_and_summarised() {
    let folder = tempfile::tempdir().unwrap();
    let row = |row: u8| ScoreRow {
        id: format!("i{row}"),
        source: Source::Train,
        fold: Fold(row % 5),
        target: Labels::from_indices([u16::from(row % 3)]).unwrap(),
        scores: (0..28).map(|label| if label == row % 3 { 0.75 } else { 0.25 }).collect(),
    };
    let table = ScoreTable { class_count: 28, rows: (0..30).map(row).collect() };
    let (mut oof, mut report) = (Vec::new(), Vec::new());
    table.write_csv(&mut oof).unwrap();
    build_report(&table, &names_for_count(28), EmptyRows::Argmax).unwrap().write_json(&mut report).unwrap();
    let results = vec![(ArtifactKind::Oof, oof.clone()), (ArtifactKind::Report, report.clone())];
    let fake = Arc::new(Fake { ending: job_set::State::Predicting, results, ..Fake::default() });
    let url = serve(&fake).await;
    let output = fivefold(folder.path(), &url, &format!("results {ID} --out out")).await;
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    assert!(words(&output.stderr).contains("still predicting"));
    let printed = words(&output.stdout);
    for wanted in ["Macro F1", "Threshold", "cross-fitted", "best constant", "out/oof.csv"] {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
    let read = |name: &str| std::fs::read(folder.path().join("out").join(name)).unwrap();
    assert_eq!((read("oof.csv"), read("report.json")), (oof.clone(), report.clone()));
    let origin: serde_json::Value = serde_json::from_slice(&read("results.json")).unwrap();
    assert_eq!(
        (&origin["job_set"], &origin["files"]),
        (&ID.into(), &serde_json::json!(["oof.csv", "report.html", "report.json"]))
    );
    assert_eq!(std::fs::read_dir(folder.path().join("out")).unwrap().count(), 4);
    assert!(words(&read("report.html")).contains("Macro F1 by threshold"));
    let half = [oof.len() as u64 / 2, report.len() as u64 / 2];
    assert_eq!(fake.seen.lock().unwrap().download_offsets, [0, half[0], 0, half[1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake { ending: job_set::State::Training, ..Fake::default() });
    let url = serve(&fake).await;
    for (line, code, wanted) in [
        (
            "status js-zzzzzzzz",
            2,
            "error: there is no such job set (NOT_FOUND); `fivefold status` lists the job sets\n",
        ),
        ("cancel js-abcdefgh", 1, "error: the job set has ended (WRONG_STATE)\n"),
        ("results js-abcdefgh --out out", 1, "no fold is trained yet (js-abcdefgh: training)"),
        ("workers", 1, "is this a Fivefold coordinator of this version?"),
    ] {
        let output = fivefold(folder.path(), &url, line).await;
        let message = words(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {message}");
        assert!(message.contains(wanted), "{line}: {message}");
    }
    let listed = words(&fivefold(folder.path(), &url, "status").await.stdout);
    assert!(listed.contains("js-abcdefgh  training"), "{listed}");

    let failed = Arc::new(Fake { ending: job_set::State::Failed, ..Fake::default() });
    let output = fivefold(folder.path(), &serve(&failed).await, &format!("results {ID} --out out")).await;
    let message = words(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("no fold is trained (js-abcdefgh: failed); `fivefold retry js-abcdefgh`"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(&Arc::new(Fake { ending: job_set::State::Training, ..Fake::default() })).await;
    let status = words(&fivefold(folder.path(), &url, &format!("status {ID}")).await.stdout);
    assert!(status.contains("0 of 1 folds trained") && status.contains("▁▅█"), "{status}");
    assert!(!status.contains('\u{1b}'), "no colours without a terminal: {status}");
    let curves = words(&fivefold(folder.path(), &url, &format!("curves {ID}")).await.stdout);
    assert!(curves.starts_with("fold 0, epoch 3/25: best F1 0.5000 in epoch 3/25\n"), "{curves}");
    for wanted in [" 0.7500 │", " 0.2500 │", " 0.5000 │", "validation macro F1"] {
        assert!(curves.contains(wanted), "{wanted}: {curves}");
    }
    let json = words(&fivefold(folder.path(), &url, &format!("--json curves {ID} --fold 0")).await.stdout);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["folds"][0]["epochs"][2]["valid_macro_f1"], 0.5);
    let refused = fivefold(folder.path(), &url, &format!("curves {ID} --fold 3")).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        words(&refused.stderr).contains("js-abcdefgh has no fold 3: its folds are 0"),
        "{}",
        words(&refused.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_and_verbose_watches_differ() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(&Arc::new(Fake { ending: job_set::State::Succeeded, ..Fake::default() })).await;
    let quiet = fivefold(folder.path(), &url, &format!("-q watch {ID}")).await;
    assert_eq!(words(&quiet.stdout), "js-abcdefgh: succeeded\n");
    assert!(quiet.stderr.is_empty(), "{}", words(&quiet.stderr));
    let verbose = fivefold(folder.path(), &url, &format!("-v watch {ID}")).await;
    assert!(
        words(&verbose.stderr).contains(&format!("coordinator {url}, without a token")),
        "{}",
        words(&verbose.stderr)
    );
    assert!(words(&verbose.stdout).contains("event 5"), "{}", words(&verbose.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_complete_ids() {
    let url = serve(&Arc::new(Fake { ending: job_set::State::Training, ..Fake::default() })).await;
    let complete = |url: String, typed: &'static str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fivefold"));
        command.env("FIVEFOLD_COMPLETE", "bash").env("FIVEFOLD_COORDINATOR", url).args(["--", "fivefold"]);
        let typed: Vec<&str> = typed.split(' ').collect();
        command.env("_CLAP_COMPLETE_INDEX", typed.len().to_string()).args(typed);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    assert_eq!(words(&complete(url.clone(), "watch js").await.unwrap().stdout), ID);
    assert_eq!(words(&complete(url.clone(), "watch --jso").await.unwrap().stdout), "--json");
    assert!(words(&complete(url, "cur").await.unwrap().stdout).contains("curves"));
    // Nobody answers, and nothing is said.
    let alone = complete("http://127.0.0.1:1".into(), "watch js").await.unwrap();
    assert!(alone.stdout.is_empty() && alone.stderr.is_empty(), "{}", words(&alone.stderr));
}
