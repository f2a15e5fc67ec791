//! How many connections are held, and for how long without a valid call.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files of the coordinator besides connections: the database, the log, uploads and downloads.
const OTHER_FILES: usize = 256;
/// The most connections, however many files may be open.
const MAX_CONNECTIONS: usize = 65_536;
/// The most pending connections, however many there may be in all.
const MAX_PENDING: usize = 4096;

/// The limits of connections. A connection is *pending* until a call over it was authorised; then it is *admitted*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Pending and admitted connections.
    pub total: usize,
    /// Pending connections. The oldest one is closed to make room for the next.
    pub pending: usize,
    /// Pending connections of one address that has had no authorised call in the last hour.
    pub pending_per_address: usize,
    /// Time for TLS handshake, HTTP/2 preface and the first call.
    pub first_call: Duration,
    /// Time between two calls over a connection that stays pending, such as health checks without a token.
    pub idle: Duration,
}

impl ConnectionLimits {
    /// The limits of a process that may open `open_files` files: at least half of the connections are for admitted ones.
    pub fn for_open_files(open_files: usize) -> Self {
        let total = open_files.saturating_sub(OTHER_FILES.min(open_files / 2)).clamp(4, MAX_CONNECTIONS);
        let pending = (total / 2).min(MAX_PENDING);
        Self {
            total,
            pending,
            pending_per_address: pending / 2,
            first_call: Duration::from_secs(10),
            idle: Duration::from_secs(60),
        }
    }
}

/// The limits of a process that may open 1,024 files, as is usual.
impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::for_open_files(1024)
    }
}

/// Raises this process's soft limit of open files to its hard one. Returns the limit that holds.
pub fn raise_open_files() -> usize {
    let count = |limit: Option<u64>| limit.and_then(|files| files.try_into().ok()).unwrap_or(usize::MAX);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return count(current);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::info!("the limit of open files is raised from {} to {}", count(current), count(maximum));
            count(maximum)
        }
        Err(error) => {
            tracing::warn!("the limit of open files stays at {}: {error}", count(current));
            count(current)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_connections_are_for_admitted_ones() {
        for (open_files, total, pending) in
            [(64, 32, 16), (1024, 768, 384), (524_288, 65_536, 4096), (usize::MAX, 65_536, 4096)]
        {
            let limits = ConnectionLimits::for_open_files(open_files);
            assert_eq!((limits.total, limits.pending), (total, pending), "{open_files}");
        }
    }
}
