//! `LogService`: what workers say during attempts.

use fivefold_proto::convert::{
    fold_from_wire, job_kind_to_wire, job_set_id_from_wire, lease_from_wire, log_line_from_wire, log_line_to_wire,
};
use fivefold_proto::v1;
use fivefold_proto::v1::log_service_server::LogService;
use tonic::{Request, Response, Status};

use super::Services;
use super::workers::checked_name;
use crate::app;
use crate::queue::{NewLogLines, StoredLogLine};

const MAX_PAGE_SIZE: u32 = 1000;

#[tonic::async_trait]
impl LogService for Services {
    async fn append_log_lines(
        &self,
        request: Request<v1::AppendLogLinesRequest>,
    ) -> Result<Response<v1::AppendLogLinesResponse>, Status> {
        let v1::AppendLogLinesRequest { lease, lines, worker_name } = request.into_inner();
        checked_name("worker_name", &worker_name)?;
        let lines = lines.into_iter().map(log_line_from_wire).collect::<Result<Vec<_>, _>>()?;
        let new = NewLogLines { lease: lease_from_wire(lease)?, worker: worker_name, lines };
        app::append_log(&self.coordinator, new).await?;
        Ok(Response::new(v1::AppendLogLinesResponse {}))
    }

    async fn list_log_lines(
        &self,
        request: Request<v1::ListLogLinesRequest>,
    ) -> Result<Response<v1::ListLogLinesResponse>, Status> {
        let v1::ListLogLinesRequest { job_set_id, fold, after_cursor, page_size } = request.into_inner();
        let id = job_set_id_from_wire(&job_set_id)?;
        let fold = fold.map(fold_from_wire).transpose()?;
        let limit = if page_size == 0 { MAX_PAGE_SIZE } else { page_size.min(MAX_PAGE_SIZE) };
        let lines = app::log(&self.coordinator, &id, fold, after_cursor, limit).await?;
        Ok(Response::new(v1::ListLogLinesResponse { lines: lines.iter().map(stored_line).collect() }))
    }
}

fn stored_line(stored: &StoredLogLine) -> v1::StoredLogLine {
    v1::StoredLogLine {
        cursor: stored.cursor,
        line: Some(log_line_to_wire(&stored.line)),
        kind: job_kind_to_wire(stored.kind).into(),
        fold: stored.fold.0.into(),
        attempt: stored.attempt.0,
        worker_name: stored.worker.clone(),
    }
}
