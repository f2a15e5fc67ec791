//! Browsers that have logged in. A session stands for a token, and ends with it or with the coordinator.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::access;

/// Sessions at a time; the oldest one ends for a further one.
const LIMIT: usize = 1000;

#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    inner: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    /// By the hash of the session's id, which only the browser knows.
    sessions: HashMap<blake3::Hash, Session>,
    opened: u64,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    token: blake3::Hash,
    number: u64,
}

impl Sessions {
    /// Opens a session for a token and returns its id.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(super) fn open(&self, token: blake3::Hash) -> Result<String, getrandom::Error> {
        let id = access::random_hex()?;
        let mut open = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if open.sessions.len() >= LIMIT {
            let oldest = open.sessions.iter().min_by_key(|(_, session)| session.number).map(|(id, _)| *id);
            oldest.map(|id| open.sessions.remove(&id));
        }
        open.opened += 1;
        let number = open.opened;
        open.sessions.insert(blake3::hash(id.as_bytes()), Session { token, number });
        Ok(id)
    }

    /// The token that a session stands for.
    pub(super) fn token(&self, id: &str) -> Option<blake3::Hash> {
        let open = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        open.sessions.get(&blake3::hash(id.as_bytes())).map(|session| session.token)
    }

    pub(super) fn close(&self, id: &str) {
        let mut open = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        open.sessions.remove(&blake3::hash(id.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_session_ends_for_a_further_one() {
        let sessions = Sessions::default();
        let token = access::token_hash("a token");
        let ids: Vec<String> = (0..=LIMIT).map(|_| sessions.open(token).unwrap()).collect();
        assert_eq!(sessions.token(&ids[0]), None);
        assert_eq!(sessions.token(&ids[1]), Some(token));
        sessions.close(&ids[1]);
        assert_eq!(sessions.token(&ids[1]), None);
        assert_eq!(sessions.token("made up"), None);
    }
}
