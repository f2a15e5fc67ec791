//! The exclusive right to create or delete a blob.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use fivefold_common::ids::Digest;

use crate::error::Error;

/// The claims of one coordinator.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    claimed: Arc<Mutex<HashSet<Digest>>>,
}

impl Claims {
    /// Claims a blob. Until the last clone of the claim is dropped, nobody else creates or deletes the blob or its row.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it is claimed already.
    pub fn claim(&self, digest: Digest) -> Result<Claim, Error> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(digest) {
            return Err(Error::Unavailable(format!("another upload of {digest} is under way: try again")));
        }
        Ok(Claim { inner: Arc::new(ClaimInner { digest, claims: self.clone() }) })
    }
}

#[derive(Debug, Clone)]
pub struct Claim {
    inner: Arc<ClaimInner>,
}

impl Claim {
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }
}

#[derive(Debug)]
struct ClaimInner {
    digest: Digest,
    claims: Claims,
}

impl Drop for ClaimInner {
    fn drop(&mut self) {
        self.claims.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}
