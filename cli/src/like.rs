//! The job set that a submission is like: it gives spec, lists and weights where nothing else is given.

use fivefold_client::Connection;
use fivefold_common::artifact::ArtifactKind;
use fivefold_common::spec::JobSetSpec;
use fivefold_proto::convert::{artifact_kind_to_wire, required, spec_from_wire};
use fivefold_proto::v1::{Artifact, GetUploadRequest, Manifests};

use crate::commands::get_job_set;
use crate::image_list::ListFile;
use crate::job_set_name::JobSetName;
use crate::list_source::ListSource;

/// What another job set was submitted with.
pub(crate) struct Like {
    id: String,
    pub(crate) spec: JobSetSpec,
    pub(crate) manifests: Manifests,
    folds_digest: String,
}

impl Like {
    pub(crate) async fn find(name: &JobSetName, coordinator: &Connection) -> anyhow::Result<Like> {
        let id = name.resolve(coordinator).await?;
        let job_set = get_job_set(coordinator, &id).await?;
        let spec = spec_from_wire(required("job_set.spec", job_set.spec)?)?;
        // A name is another job set's: with two of a name, neither could be called by it.
        let spec = JobSetSpec { name: String::new(), ..spec };
        let manifests = required("job_set.manifests", job_set.manifests)?;
        Ok(Like { id: job_set.id, spec, manifests, folds_digest: job_set.folds_digest })
    }

    /// The same without the models that its folds begin from.
    pub(crate) fn without_warm_start(mut self) -> Like {
        self.manifests.warm_start_job_set_id.clear();
        self
    }

    pub(crate) async fn train_list(&self, coordinator: &Connection) -> anyhow::Result<ListFile> {
        self.list("training list", &self.manifests.train_digest, coordinator).await
    }

    /// `None` if the job set has none.
    pub(crate) async fn hpa_list(&self, coordinator: &Connection) -> anyhow::Result<Option<ListFile>> {
        self.optional_list("HPA list", &self.manifests.hpa_digest, coordinator).await
    }

    /// `None` if the job set has none.
    pub(crate) async fn test_list(&self, coordinator: &Connection) -> anyhow::Result<Option<ListFile>> {
        self.optional_list("test list", &self.manifests.test_digest, coordinator).await
    }

    /// The fold of each image.
    pub(crate) async fn folds(&self, coordinator: &Connection) -> anyhow::Result<ListFile> {
        self.list("folds", &self.folds_digest, coordinator).await
    }

    async fn optional_list(
        &self,
        what: &str,
        digest: &str,
        coordinator: &Connection,
    ) -> anyhow::Result<Option<ListFile>> {
        if digest.is_empty() {
            return Ok(None);
        }
        self.list(what, digest, coordinator).await.map(Some)
    }

    /// Downloads a list, so that it is checked with the new settings.
    async fn list(&self, what: &str, digest: &str, coordinator: &Connection) -> anyhow::Result<ListFile> {
        let name = format!("the {what} of {}", self.id);
        ListSource::Held { name, digest: digest.to_owned() }.read(coordinator).await
    }

    /// The digest of the initial weights, which the coordinator keeps for the submission from now on; empty for random ones.
    pub(crate) async fn weights(&self, coordinator: &Connection) -> anyhow::Result<String> {
        let digest = self.manifests.weights_digest.clone();
        if digest.is_empty() {
            return Ok(digest);
        }
        let kind = artifact_kind_to_wire(ArtifactKind::Weights).into();
        let artifact = Artifact { kind, digest: digest.clone(), size_bytes: 0 };
        let request = GetUploadRequest { artifact: Some(artifact), lease: None };
        let held = coordinator.call(request, async |c, r| c.artifacts().get_upload(r).await).await?;
        if !held.complete {
            anyhow::bail!("the initial weights of {} are gone, it was deleted; give them with --weights FILE", self.id);
        }
        Ok(digest)
    }
}
