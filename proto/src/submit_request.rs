//! `SubmitJobSetRequest` with its parts as the client encoded them.

use bytes::Bytes;
use prost::Message as _;

use crate::convert::{WireError, required};
use crate::v1;

/// The message `fivefold.v1.SubmitJobSetRequest`. On the wire, a message and a field of bytes look the same; as bytes the parts
/// can be hashed as they were sent. Decoded and encoded again they would lose the fields that only a newer version knows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubmitJobSetRequest {
    /// Chosen by the caller, 1 to 64 characters; the same for repeats of a request.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// An encoded [`v1::JobSetSpec`].
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub spec: Option<Bytes>,
    /// Encoded [`v1::Manifests`].
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub manifests: Option<Bytes>,
}

impl SubmitJobSetRequest {
    /// The request of these parts.
    pub fn new(request_id: impl Into<String>, spec: &v1::JobSetSpec, manifests: &v1::Manifests) -> Self {
        let (spec, manifests) = (spec.encode_to_vec().into(), manifests.encode_to_vec().into());
        Self { request_id: request_id.into(), spec: Some(spec), manifests: Some(manifests) }
    }

    /// The decoded parts.
    ///
    /// # Errors
    /// If one is not set or cannot be decoded.
    pub fn parts(&self) -> Result<(v1::JobSetSpec, v1::Manifests), WireError> {
        let spec = required("spec", self.spec.clone())?;
        let manifests = required("manifests", self.manifests.clone())?;
        let spec = v1::JobSetSpec::decode(spec).map_err(|error| WireError::new("spec", error))?;
        let manifests = v1::Manifests::decode(manifests).map_err(|error| WireError::new("manifests", error))?;
        Ok((spec, manifests))
    }

    /// Everything but the request id, as the client encoded it.
    pub fn content(&self) -> Vec<u8> {
        [&self.spec, &self.manifests].into_iter().flatten().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use fivefold_common::spec::JobSetSpec;

    use super::*;
    use crate::convert::spec_to_wire;

    #[test]
    fn parts_survive_and_fields_of_newer_versions_stay_in_the_content() {
        let spec = spec_to_wire(&JobSetSpec::default());
        let manifests = v1::Manifests { train_digest: "0".repeat(64), ..Default::default() };
        let request = SubmitJobSetRequest::new("r", &spec, &manifests);
        let sent = SubmitJobSetRequest::decode(request.encode_to_vec().as_slice()).unwrap();
        assert_eq!(sent.parts(), Ok((spec.clone(), manifests.clone())));

        // Field 1000, a varint, of a version to come.
        let mut newer = spec.encode_to_vec();
        newer.extend([0xc0, 0x3e, 7]);
        let newer = SubmitJobSetRequest { spec: Some(newer.into()), ..sent.clone() };
        assert_eq!(newer.parts(), Ok((spec, manifests)));
        assert_ne!(newer.content(), sent.content());

        let unset = SubmitJobSetRequest { spec: None, ..sent.clone() };
        assert_eq!(unset.parts().unwrap_err().field, "spec");
        let broken = SubmitJobSetRequest { manifests: Some(Bytes::from_static(&[0xff])), ..sent };
        assert_eq!(broken.parts().unwrap_err().field, "manifests");
    }
}
