//! `JobSetService`: what a user asks for.

use std::time::Duration;

use fivefold_common::ids::{Digest, JobId, JobSetId};
use fivefold_common::manifest::ManifestKind;
use fivefold_proto::convert::{
    WireError, digest_from_wire, fold_from_wire, job_set_id_from_wire, optional_digest_from_wire, required,
    spec_from_wire, spec_to_wire,
};
use fivefold_proto::v1;
use fivefold_proto::v1::job_set_service_server::JobSetService;
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::access::Caller;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::lists::{Lists, read_manifest};
use crate::queue::job_sets::NewJobSet;
use crate::queue::{artifacts, events, fits, job_sets, report};
use crate::results::put;
use crate::services::Coordinator;
use crate::services::job_set_messages::{epoch_metrics, job_set};
use crate::services::limits::{self, Answers, NobodyReads, Sender};

/// Events per message of a watch.
const EVENTS_PER_MESSAGE: u32 = 500;
/// A watch sends no more often, however much changes.
const WATCH_PAUSE: Duration = Duration::from_millis(300);

impl Coordinator {
    async fn set_paused(&self, id: JobSetId, paused: bool) -> Result<v1::JobSet, Status> {
        let (changed, now) = (id.clone(), Timestamp::now());
        self.database
            .write(move |c| Box::pin(async move { job_sets::set_paused(c, now, &changed, paused).await }))
            .await?;
        self.job_set(&id).await
    }

    async fn job_set(&self, id: &JobSetId) -> Result<v1::JobSet, Status> {
        let row = job_sets::row(self.database.readers(), id).await?;
        Ok(job_set(self.database.readers(), row).await?)
    }

    /// Refuses an artifact that is not held.
    async fn require_artifact(&self, field: &str, digest: Digest) -> Result<(), Status> {
        match artifacts::size_bytes(self.database.readers(), digest).await? {
            Some(_) => Ok(()),
            None => Err(WireError::new(field, format!("{digest} is not held: upload it first")).into()),
        }
    }

    /// The job set that this request made before, if any.
    async fn submitted_before(&self, request_id: &str, digest: Digest) -> Result<Option<JobSetId>, Error> {
        match job_sets::of_request(self.database.readers(), request_id).await? {
            Some((_, stored)) if stored != digest => Err(Error::RequestIdReused(request_id.to_owned())),
            Some((id, _)) => Ok(Some(id)),
            None => Ok(None),
        }
    }
}

#[tonic::async_trait]
impl JobSetService for Coordinator {
    async fn submit_job_set(
        &self,
        request: Request<v1::SubmitJobSetRequest>,
    ) -> Result<Response<v1::SubmitJobSetResponse>, Status> {
        let request = request.into_inner();
        if request.request_id.is_empty() || request.request_id.len() > 64 {
            return Err(WireError::new("request_id", "it should have 1 to 64 characters").into());
        }
        let mut spec = spec_from_wire(required("spec", request.spec)?)?;
        let manifests = required("manifests", request.manifests)?;
        let train = digest_from_wire("manifests.train_digest", &manifests.train_digest)?;
        let hpa = optional_digest_from_wire("manifests.hpa_digest", &manifests.hpa_digest)?;
        let test = optional_digest_from_wire("manifests.test_digest", &manifests.test_digest)?;
        let weights = optional_digest_from_wire("manifests.weights_digest", &manifests.weights_digest)?;
        let mut same = spec_to_wire(&spec).encode_to_vec();
        same.extend(manifests.encode_to_vec());
        let request_digest = Digest::of(&same);
        if let Some(id) = self.submitted_before(&request.request_id, request_digest).await? {
            return Ok(Response::new(v1::SubmitJobSetResponse { job_set: Some(self.job_set(&id).await?) }));
        }

        for (field, digest) in [("train", Some(train)), ("hpa", hpa), ("test", test), ("weights", weights)] {
            if let Some(digest) = digest {
                self.require_artifact(&format!("manifests.{field}_digest"), digest).await?;
            }
        }
        if hpa.is_none() {
            // Without the list there is nothing that could join.
            (spec.train_with_hpa, spec.valid_with_hpa) = (false, false);
        }
        let lists = Lists::read(&self.store, train, hpa).await?;
        if let Some(test) = test {
            read_manifest(&self.store, "test list", ManifestKind::Test, test).await?;
        }
        let folds = lists.split(&spec).await?;
        for fold in spec.trained_folds() {
            lists.fold_rows(&spec, fold, &folds)?;
        }
        let mut folds_csv = Vec::new();
        folds.write_csv(&mut folds_csv).map_err(|error| Error::file("folds.csv", error))?;
        let folds = put(&self.database, &self.store, "folds", folds_csv).await?;

        // An id from the request: submitting the same twice at once cannot make two.
        let entropy = Digest::of(format!("{}/{request_digest}/{}", request.request_id, Timestamp::now().0).as_bytes());
        let entropy = entropy.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let id = JobSetId::from_entropy(entropy);
        let request_id = request.request_id;
        let new = NewJobSet { id, request_id, request_digest, spec, train, hpa, test, weights, folds };
        let id = self
            .database
            .write(move |c| {
                Box::pin(async move {
                    // Asked again inside the transaction: another call may have been faster.
                    match job_sets::of_request(&mut *c, &new.request_id).await? {
                        Some((_, stored)) if stored != new.request_digest => {
                            Err(Error::RequestIdReused(new.request_id))
                        }
                        Some((id, _)) => Ok(id),
                        None => job_sets::insert(c, Timestamp::now(), &new).await.map(|()| new.id),
                    }
                })
            })
            .await?;
        tracing::info!("job set {id} was submitted");
        Ok(Response::new(v1::SubmitJobSetResponse { job_set: Some(self.job_set(&id).await?) }))
    }

    async fn get_job_set(
        &self,
        request: Request<v1::GetJobSetRequest>,
    ) -> Result<Response<v1::GetJobSetResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        Ok(Response::new(v1::GetJobSetResponse { job_set: Some(self.job_set(&id).await?) }))
    }

    async fn list_job_sets(
        &self,
        request: Request<v1::ListJobSetsRequest>,
    ) -> Result<Response<v1::ListJobSetsResponse>, Status> {
        let request = request.into_inner();
        let page_size = match request.page_size {
            0 => 20,
            size => size.min(100),
        };
        let before = match request.page_token.as_str() {
            "" => i64::MAX,
            token => token.parse().map_err(|_| WireError::new("page_token", "it is not one that was given"))?,
        };
        let mut rows = job_sets::page(self.database.readers(), before, page_size + 1).await?;
        let more = rows.len() > page_size as usize;
        rows.truncate(page_size as usize);
        let next_page_token = rows.last().filter(|_| more).map_or(String::new(), |row| row.number.to_string());
        let mut job_sets = Vec::new();
        for row in rows {
            job_sets.push(job_set(self.database.readers(), row).await?);
        }
        Ok(Response::new(v1::ListJobSetsResponse { job_sets, next_page_token }))
    }

    type WatchJobSetStream = Answers<v1::WatchJobSetResponse>;

    async fn watch_job_set(
        &self,
        request: Request<v1::WatchJobSetRequest>,
    ) -> Result<Response<Self::WatchJobSetStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        job_sets::row(self.database.readers(), &id).await?;
        // A slow reader makes its own watch wait, and nobody else.
        let (sender, answers) = limits::answers(self.watches.take()?, 1, self.limits.slow);
        tokio::spawn(watch(self.clone(), caller, id, request.after_cursor, sender));
        Ok(Response::new(answers))
    }

    async fn list_epoch_metrics(
        &self,
        request: Request<v1::ListEpochMetricsRequest>,
    ) -> Result<Response<v1::ListEpochMetricsResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        let fold = fold_from_wire(request.fold)?;
        job_sets::row(self.database.readers(), &id).await?;
        let jobs = job_sets::jobs(self.database.readers(), &id).await?;
        let job = jobs.iter().find(|job| job.kind == "train" && job.fold == i64::from(fold.0));
        let job = job.ok_or_else(|| Error::NotFound { what: "fold", name: format!("{fold} in {id}") })?;
        let epochs = report::epochs(self.database.readers(), JobId(job.id)).await?;
        Ok(Response::new(v1::ListEpochMetricsResponse { epochs: epochs.iter().map(epoch_metrics).collect() }))
    }

    async fn cancel_job_set(
        &self,
        request: Request<v1::CancelJobSetRequest>,
    ) -> Result<Response<v1::CancelJobSetResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        let (changed, now) = (id.clone(), Timestamp::now());
        self.database.write(move |c| Box::pin(async move { job_sets::cancel(c, now, &changed).await })).await?;
        Ok(Response::new(v1::CancelJobSetResponse { job_set: Some(self.job_set(&id).await?) }))
    }

    async fn pause_job_set(
        &self,
        request: Request<v1::PauseJobSetRequest>,
    ) -> Result<Response<v1::PauseJobSetResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        Ok(Response::new(v1::PauseJobSetResponse { job_set: Some(self.set_paused(id, true).await?) }))
    }

    async fn resume_job_set(
        &self,
        request: Request<v1::ResumeJobSetRequest>,
    ) -> Result<Response<v1::ResumeJobSetResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        Ok(Response::new(v1::ResumeJobSetResponse { job_set: Some(self.set_paused(id, false).await?) }))
    }

    async fn retry_job_set(
        &self,
        request: Request<v1::RetryJobSetRequest>,
    ) -> Result<Response<v1::RetryJobSetResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        let fold = request.fold.map(fold_from_wire).transpose()?;
        let (changed, now) = (id.clone(), Timestamp::now());
        self.database.write(move |c| Box::pin(async move { job_sets::retry(c, now, &changed, fold).await })).await?;
        Ok(Response::new(v1::RetryJobSetResponse { job_set: Some(self.job_set(&id).await?) }))
    }

    async fn retrain_fold(
        &self,
        request: Request<v1::RetrainFoldRequest>,
    ) -> Result<Response<v1::RetrainFoldResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        let fold = fold_from_wire(request.fold)?;
        let (changed, now) = (id.clone(), Timestamp::now());
        self.database.write(move |c| Box::pin(async move { fits::retrain(c, now, &changed, fold).await })).await?;
        Ok(Response::new(v1::RetrainFoldResponse { job_set: Some(self.job_set(&id).await?) }))
    }

    async fn predict_job_set(
        &self,
        request: Request<v1::PredictJobSetRequest>,
    ) -> Result<Response<v1::PredictJobSetResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        let test = digest_from_wire("test_digest", &request.test_digest)?;
        self.require_artifact("test_digest", test).await?;
        read_manifest(&self.store, "test list", ManifestKind::Test, test).await?;
        let (changed, now) = (id.clone(), Timestamp::now());
        self.database.write(move |c| Box::pin(async move { job_sets::predict(c, now, &changed, test).await })).await?;
        Ok(Response::new(v1::PredictJobSetResponse { job_set: Some(self.job_set(&id).await?) }))
    }
}

/// Sends what changes until the job set has ended and everything was sent, or the reader is gone.
async fn watch(
    coordinator: Coordinator,
    caller: Caller,
    id: JobSetId,
    mut cursor: i64,
    mut sender: Sender<v1::WatchJobSetResponse>,
) {
    let mut changes = coordinator.database.changes();
    let mut sent = None;
    loop {
        changes.mark_unchanged();
        let (events, job_set) = match news(&coordinator, &caller, &id, cursor).await {
            Ok(news) => news,
            Err(status) => return sender.end(status),
        };
        let is_last_page = events.len() < EVENTS_PER_MESSAGE as usize;
        cursor = events.last().map_or(cursor, |event| event.cursor);
        if !events.is_empty() || sent.as_ref() != Some(&job_set) {
            let events = events.into_iter().map(event_to_wire).collect();
            let message = v1::WatchJobSetResponse { events, job_set: Some(job_set.clone()) };
            match sender.send(message).await {
                Ok(again) => sender = again,
                Err(NobodyReads) => return,
            }
        }
        if is_last_page {
            use v1::job_set::State::{Cancelled, Failed, Succeeded};
            if matches!(job_set.state(), Succeeded | Failed | Cancelled) {
                return;
            }
            sent = Some(job_set);
            tokio::select! {
                () = pause_until_changed(&mut changes) => {}
                () = sender.closed() => return,
                () = coordinator.stopping.cancelled() => {
                    return sender.end(Error::Unavailable("the coordinator is stopping".into()));
                }
            }
        }
    }
}

async fn pause_until_changed(changes: &mut tokio::sync::watch::Receiver<u64>) {
    tokio::time::sleep(WATCH_PAUSE).await;
    // The sender goes only when the coordinator stops.
    let _ = changes.changed().await;
}

/// The events after `cursor`, and the job set. Its state is read before the events: what it says is then among them.
async fn news(
    coordinator: &Coordinator,
    caller: &Caller,
    id: &JobSetId,
    cursor: i64,
) -> Result<(Vec<events::Event>, v1::JobSet), Status> {
    caller.require_live()?;
    let job_set = coordinator.job_set(id).await?;
    let events = events::after(coordinator.database.readers(), id, cursor, EVENTS_PER_MESSAGE).await?;
    Ok((events, job_set))
}

fn event_to_wire(event: events::Event) -> v1::Event {
    v1::Event {
        cursor: event.cursor,
        time: Some(Timestamp(event.time_ms).to_wire()),
        job_id: event.job_id,
        name: event.name,
        message: event.message,
    }
}
