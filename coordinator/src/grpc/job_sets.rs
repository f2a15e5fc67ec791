//! `JobSetService`: what users ask for.

use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_proto::convert::{
    WireError, digest_from_wire, epoch_to_wire, fold_from_wire, job_set_id_from_wire, optional_digest_from_wire,
    spec_from_wire,
};
use fivefold_proto::v1::job_set_service_server::JobSetService;
use fivefold_proto::{SubmitJobSetRequest, v1};
use tonic::{Request, Response, Status};

use super::limits::{self, Answers};
use super::{Services, messages, watch};
use crate::access::Caller;
use crate::app::{self, Extension, Prediction, Submission};
use crate::queue::{FitRecord, SubmissionNumber};

const USUAL_PAGE_SIZE: usize = 20;
const MAX_PAGE_SIZE: usize = 100;
const MAX_REQUEST_ID_BYTES: usize = 64;
/// Of an id or a name.
const MAX_TEXT_BYTES: usize = 1000;

impl Services {
    async fn job_set(&self, id: &JobSetId) -> Result<Option<v1::JobSet>, Status> {
        Ok(Some(messages::job_set(&app::job_set(&self.coordinator, id).await?)))
    }
}

fn submission(request: SubmitJobSetRequest) -> Result<Submission, WireError> {
    let request_id = request.request_id.clone();
    if request_id.is_empty() || request_id.len() > MAX_REQUEST_ID_BYTES {
        return Err(WireError::new("request_id", format!("it should have 1 to {MAX_REQUEST_ID_BYTES} characters")));
    }
    // Of the bytes that the client sent: another version of this program would encode the same spec differently.
    let request_digest = Digest::of(&request.content());
    let (spec, manifests) = request.parts()?;
    let spec = spec_from_wire(spec)?;
    Ok(Submission {
        request_id,
        request_digest,
        spec,
        train: digest_from_wire("manifests.train_digest", &manifests.train_digest)?,
        hpa: optional_digest_from_wire("manifests.hpa_digest", &manifests.hpa_digest)?,
        test: optional_digest_from_wire("manifests.test_digest", &manifests.test_digest)?,
        weights: optional_digest_from_wire("manifests.weights_digest", &manifests.weights_digest)?,
        folds: optional_digest_from_wire("manifests.folds_digest", &manifests.folds_digest)?,
        images: optional_digest_from_wire("manifests.images_digest", &manifests.images_digest)?,
        warm_start_of: match manifests.warm_start_job_set_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|error| WireError::new("manifests.warm_start_job_set_id", error))?),
        },
    })
}

#[tonic::async_trait]
impl JobSetService for Services {
    async fn submit_job_set(
        &self,
        request: Request<SubmitJobSetRequest>,
    ) -> Result<Response<v1::SubmitJobSetResponse>, Status> {
        let submission = submission(request.into_inner())?;
        let id = app::submit(&self.coordinator, submission).await?;
        let warnings = app::warnings(&self.coordinator).await;
        Ok(Response::new(v1::SubmitJobSetResponse { job_set: self.job_set(&id).await?, warnings }))
    }

    async fn get_job_set(
        &self,
        request: Request<v1::GetJobSetRequest>,
    ) -> Result<Response<v1::GetJobSetResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        let warnings = app::warnings(&self.coordinator).await;
        Ok(Response::new(v1::GetJobSetResponse { job_set: self.job_set(&id).await?, warnings }))
    }

    async fn resolve_job_set(
        &self,
        request: Request<v1::ResolveJobSetRequest>,
    ) -> Result<Response<v1::ResolveJobSetResponse>, Status> {
        let text = request.into_inner().text;
        if text.is_empty() || text.len() > MAX_TEXT_BYTES {
            return Err(WireError::new("text", format!("it should have 1 to {MAX_TEXT_BYTES} bytes")).into());
        }
        let id = app::resolve(&self.coordinator, &text).await?;
        Ok(Response::new(v1::ResolveJobSetResponse { job_set_id: id.to_string() }))
    }

    async fn list_job_sets(
        &self,
        request: Request<v1::ListJobSetsRequest>,
    ) -> Result<Response<v1::ListJobSetsResponse>, Status> {
        let request = request.into_inner();
        let page_size = match usize::try_from(request.page_size) {
            Ok(0) => USUAL_PAGE_SIZE,
            size => size.unwrap_or(MAX_PAGE_SIZE).min(MAX_PAGE_SIZE),
        };
        let before = match request.page_token.as_str() {
            "" => None,
            token => {
                let number = token.parse().map_err(|_| WireError::new("page_token", "it is not one that was given"))?;
                Some(SubmissionNumber(number))
            }
        };
        let (job_sets, next) = app::job_sets(&self.coordinator, before, page_size).await?;
        Ok(Response::new(v1::ListJobSetsResponse {
            job_sets: job_sets.iter().map(messages::job_set).collect(),
            next_page_token: next.map(|number| number.0.to_string()).unwrap_or_default(),
            warnings: app::warnings(&self.coordinator).await,
        }))
    }

    type WatchJobSetStream = Answers<v1::WatchJobSetResponse>;

    async fn watch_job_set(
        &self,
        request: Request<v1::WatchJobSetRequest>,
    ) -> Result<Response<Self::WatchJobSetStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        app::job_set(&self.coordinator, &id).await?;
        // A slow reader delays its own watch alone.
        let (sender, answers) = limits::answers(self.watches.acquire()?, 1, self.limits.slow);
        tokio::spawn(watch::run(self.clone(), caller, id, request.after_cursor, sender));
        Ok(Response::new(answers))
    }

    async fn list_epoch_metrics(
        &self,
        request: Request<v1::ListEpochMetricsRequest>,
    ) -> Result<Response<v1::ListEpochMetricsResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        let epochs = app::epochs(&self.coordinator, &id, fold_from_wire(request.fold)?).await?;
        Ok(Response::new(v1::ListEpochMetricsResponse { epochs: epochs.iter().map(epoch_to_wire).collect() }))
    }

    async fn fit_trained_folds(
        &self,
        request: Request<v1::FitTrainedFoldsRequest>,
    ) -> Result<Response<v1::FitTrainedFoldsResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        let _permit = self.fits.acquire()?;
        let (fit, job_set) = app::fit_trained_folds(&self.coordinator, &id).await?;
        let fit = FitRecord { fit, created: self.coordinator.clock.now(), fold_results: Vec::new() };
        let (fit, job_set) = (Some(messages::fit(&fit)), Some(messages::job_set(&job_set)));
        Ok(Response::new(v1::FitTrainedFoldsResponse { fit, job_set }))
    }

    async fn finish_job_set(
        &self,
        request: Request<v1::FinishJobSetRequest>,
    ) -> Result<Response<v1::FinishJobSetResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        app::finish(&self.coordinator, &id).await?;
        Ok(Response::new(v1::FinishJobSetResponse { job_set: self.job_set(&id).await? }))
    }

    async fn cancel_job_set(
        &self,
        request: Request<v1::CancelJobSetRequest>,
    ) -> Result<Response<v1::CancelJobSetResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        app::cancel(&self.coordinator, &id).await?;
        Ok(Response::new(v1::CancelJobSetResponse { job_set: self.job_set(&id).await? }))
    }

    async fn pause_job_set(
        &self,
        request: Request<v1::PauseJobSetRequest>,
    ) -> Result<Response<v1::PauseJobSetResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        match request.at_time {
            Some(at) => app::pause_at(&self.coordinator, &id, messages::time(at)).await?,
            None => app::pause(&self.coordinator, &id).await?,
        }
        Ok(Response::new(v1::PauseJobSetResponse { job_set: self.job_set(&id).await? }))
    }

    async fn resume_job_set(
        &self,
        request: Request<v1::ResumeJobSetRequest>,
    ) -> Result<Response<v1::ResumeJobSetResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        app::resume(&self.coordinator, &id).await?;
        Ok(Response::new(v1::ResumeJobSetResponse { job_set: self.job_set(&id).await? }))
    }

    async fn retry_job_set(
        &self,
        request: Request<v1::RetryJobSetRequest>,
    ) -> Result<Response<v1::RetryJobSetResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        let fold = request.fold.map(fold_from_wire).transpose()?;
        app::retry(&self.coordinator, &id, fold).await?;
        Ok(Response::new(v1::RetryJobSetResponse { job_set: self.job_set(&id).await? }))
    }

    async fn retrain_fold(
        &self,
        request: Request<v1::RetrainFoldRequest>,
    ) -> Result<Response<v1::RetrainFoldResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        app::retrain(&self.coordinator, &id, fold_from_wire(request.fold)?).await?;
        Ok(Response::new(v1::RetrainFoldResponse { job_set: self.job_set(&id).await? }))
    }

    async fn extend_job_set(
        &self,
        request: Request<v1::ExtendJobSetRequest>,
    ) -> Result<Response<v1::ExtendJobSetResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        let folds = request.folds.into_iter().map(fold_from_wire).collect::<Result<FoldSet, _>>()?;
        let extension = Extension { epochs: request.epochs, folds: Some(folds).filter(|folds| !folds.is_empty()) };
        let stopped_early = app::extend(&self.coordinator, &id, extension).await?;
        let stopped_early_folds = stopped_early.iter().map(|fold| fold.0.into()).collect();
        Ok(Response::new(v1::ExtendJobSetResponse { job_set: self.job_set(&id).await?, stopped_early_folds }))
    }

    async fn delete_job_set(
        &self,
        request: Request<v1::DeleteJobSetRequest>,
    ) -> Result<Response<v1::DeleteJobSetResponse>, Status> {
        let id = job_set_id_from_wire(&request.into_inner().job_set_id)?;
        app::delete(&self.coordinator, &id).await?;
        Ok(Response::new(v1::DeleteJobSetResponse {}))
    }

    async fn predict_job_set(
        &self,
        request: Request<v1::PredictJobSetRequest>,
    ) -> Result<Response<v1::PredictJobSetResponse>, Status> {
        let request = request.into_inner();
        let id = job_set_id_from_wire(&request.job_set_id)?;
        let test = optional_digest_from_wire("test_digest", &request.test_digest)?;
        let folds = request.folds.into_iter().map(fold_from_wire).collect::<Result<FoldSet, _>>()?;
        let prediction =
            Prediction { test, folds: Some(folds).filter(|folds| !folds.is_empty()), replace: request.replace };
        app::predict(&self.coordinator, &id, prediction).await?;
        Ok(Response::new(v1::PredictJobSetResponse { job_set: self.job_set(&id).await? }))
    }

    async fn get_disk_usage(
        &self,
        _: Request<v1::GetDiskUsageRequest>,
    ) -> Result<Response<v1::GetDiskUsageResponse>, Status> {
        Ok(Response::new(messages::disk_usage(app::disk_usage(&self.coordinator).await?)))
    }
}
