//! `DataSetService`: pushed data sets.

use fivefold_common::data_set_name::DataSetName;
use fivefold_common::ids::Digest;
use fivefold_proto::convert::{WireError, digest_from_wire, optional_digest_from_wire, required};
use fivefold_proto::v1;
use fivefold_proto::v1::data_set_service_server::DataSetService;
use tonic::{Request, Response, Status};

use super::{Services, messages};
use crate::app::{self, PushedDataSet};
use crate::queue::DataSetLists;

/// Digests in one call.
const MAX_DIGESTS: usize = 10_000;
const MAX_TOML_BYTES: usize = 1024 * 1024;

fn data_set_name(field: &str, text: &str) -> Result<DataSetName, WireError> {
    text.parse().map_err(|error| WireError::new(field, error))
}

fn pushed(wire: v1::DataSet) -> Result<PushedDataSet, WireError> {
    let name = data_set_name("data_set.name", &wire.name)?;
    if wire.dataset_toml.len() > MAX_TOML_BYTES {
        return Err(WireError::new("data_set.dataset_toml", "it has more than 1 MiB"));
    }
    let manifests = required("data_set.manifests", wire.manifests)?;
    let optional = |file: &str, digest: &str| optional_digest_from_wire(&format!("data_set.manifests.{file}"), digest);
    let lists = DataSetLists {
        train: digest_from_wire("data_set.manifests.train_digest", &manifests.train_digest)?,
        hpa: optional("hpa_digest", &manifests.hpa_digest)?,
        test: optional("test_digest", &manifests.test_digest)?,
        folds: optional("folds_digest", &manifests.folds_digest)?,
    };
    let images = digest_from_wire("data_set.manifests.images_digest", &manifests.images_digest)?;
    Ok(PushedDataSet { name, dataset_toml: wire.dataset_toml, lists, images })
}

#[tonic::async_trait]
impl DataSetService for Services {
    async fn put_data_set(
        &self,
        request: Request<v1::PutDataSetRequest>,
    ) -> Result<Response<v1::PutDataSetResponse>, Status> {
        let pushed = pushed(required("data_set", request.into_inner().data_set)?)?;
        let data_set = app::put_data_set(&self.coordinator, pushed).await?;
        let warnings = app::warnings(&self.coordinator).await;
        Ok(Response::new(v1::PutDataSetResponse { data_set: Some(messages::data_set(data_set)), warnings }))
    }

    async fn get_data_set(
        &self,
        request: Request<v1::GetDataSetRequest>,
    ) -> Result<Response<v1::GetDataSetResponse>, Status> {
        let name = data_set_name("name", &request.into_inner().name)?;
        let data_set = app::data_set(&self.coordinator, &name).await?;
        Ok(Response::new(v1::GetDataSetResponse { data_set: Some(messages::data_set(data_set)) }))
    }

    async fn list_data_sets(
        &self,
        _: Request<v1::ListDataSetsRequest>,
    ) -> Result<Response<v1::ListDataSetsResponse>, Status> {
        let data_sets = app::data_sets(&self.coordinator).await?;
        // The descriptions of many data sets could be more than a message may have.
        let without_text = |data_set| v1::DataSet { dataset_toml: String::new(), ..messages::data_set(data_set) };
        Ok(Response::new(v1::ListDataSetsResponse { data_sets: data_sets.into_iter().map(without_text).collect() }))
    }

    async fn delete_data_set(
        &self,
        request: Request<v1::DeleteDataSetRequest>,
    ) -> Result<Response<v1::DeleteDataSetResponse>, Status> {
        let name = data_set_name("name", &request.into_inner().name)?;
        app::delete_data_set(&self.coordinator, &name).await?;
        Ok(Response::new(v1::DeleteDataSetResponse {}))
    }

    async fn find_missing_artifacts(
        &self,
        request: Request<v1::FindMissingArtifactsRequest>,
    ) -> Result<Response<v1::FindMissingArtifactsResponse>, Status> {
        let digests = request.into_inner().digests;
        if digests.len() > MAX_DIGESTS {
            return Err(WireError::new("digests", format!("there are more than {MAX_DIGESTS}")).into());
        }
        let digests: Vec<Digest> =
            digests.iter().map(|digest| digest_from_wire("digests", digest)).collect::<Result<_, _>>()?;
        let missing = app::missing_artifacts(&self.coordinator, digests).await?;
        let digests = missing.iter().map(Digest::to_string).collect();
        Ok(Response::new(v1::FindMissingArtifactsResponse { digests }))
    }
}
