//! Messages: any bytes give a checked spec, lease or digest, or an error.
#![no_main]

use fivefold_proto::{SubmitJobSetRequest, convert, v1};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = SubmitJobSetRequest::decode(bytes)
        && let Ok((spec, manifests)) = request.parts()
    {
        if let Ok(spec) = convert::spec_from_wire(spec) {
            spec.check().expect("an accepted spec is within its limits");
        }
        let _ = convert::digest_from_wire("manifests.train_digest", &manifests.train_digest);
        let _ = convert::job_set_id_from_wire(&request.request_id);
    }
    if let Ok(request) = v1::ReportJobRequest::decode(bytes) {
        let _ = convert::lease_from_wire(request.lease);
    }
});
