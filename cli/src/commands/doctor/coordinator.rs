//! The coordinator: its address, certificates, the token and its role, and the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fivefold_client::{Address, CallError, Connection, Failure, Refusal, RetryPolicy};
use fivefold_common::finding::Finding;
use fivefold_proto::status::Reason;
use fivefold_proto::v1::{ListWorkersRequest, ReleaseLeaseRequest};

/// The longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Clocks further apart than this make displayed times misleading. Leases depend on the coordinator's clock alone.
const MAX_CLOCK_SKEW_SECONDS: i64 = 5;

/// Checks that the coordinator answers and that the token is good: for the commands of a user, or for a worker if this machine
/// `trains`.
pub(super) async fn check(coordinator: &Connection, trains: bool) -> Vec<Finding> {
    let address = coordinator.address();
    let once = coordinator.with_retry_policy(RetryPolicy::interactive(Some(Duration::ZERO)));
    let call = once.call(ListWorkersRequest {}, async |c, r| c.workers().list_workers(r).await);
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Err(_) => vec![Finding::bad(format!(
            "{address} does not answer: check the address in --coordinator, the firewall, and that the coordinator is running"
        ))],
        Ok(Ok(answer)) => {
            let mut findings = roles(address, trains, is_worker(&once).await);
            findings.push(clock(answer.server_time.map(|time| time.seconds)));
            findings
        }
        Ok(Err(CallError::Refused(refusal))) if refusal.reason() == Some(Reason::RoleNotEnough) => {
            vec![worker_token(&once, trains), clock(time_of(&refusal))]
        }
        Ok(Err(error)) => vec![problem(&once, &error)],
    }
}

/// The findings on a token that may list the workers, if one is needed. A user's machine may train too.
fn roles(address: &Address, trains: bool, is_worker: bool) -> Vec<Finding> {
    const NEEDED: &str =
        "fivefold-worker needs one of the role worker (`fivefold-coordinator token create --role worker`)";
    let accepted = || Finding::good(format!("the coordinator at {address} answers, and accepts this machine's calls"));
    match (is_worker, trains) {
        (true, _) => vec![accepted()],
        (false, true) => vec![Finding::bad(format!(
            "the coordinator at {address} answers, and the token is not a worker's: {NEEDED}"
        ))],
        (false, false) => vec![
            accepted(),
            Finding::doubtful(format!("this machine cannot train with the token, which is not a worker's: {NEEDED}")),
        ],
    }
}

/// Whether the token, if one is needed, is a worker's. The call that asks for it names no lease, and changes nothing.
async fn is_worker(once: &Connection) -> bool {
    let request = ReleaseLeaseRequest::default();
    let call = once.call(request, async |c, r| c.workers().release_lease(r).await).await;
    !matches!(call, Err(CallError::Refused(refusal)) if refusal.reason() == Some(Reason::RoleNotEnough))
}

/// Only a worker's token may not list the workers.
fn worker_token(coordinator: &Connection, trains: bool) -> Finding {
    let found = format!("the coordinator at {} answers, and the token is a worker's", coordinator.address());
    if trains {
        return Finding::good(found);
    }
    Finding::doubtful(format!(
        "{found}: fivefold-worker needs it, and other commands need one of the role user \
         (`fivefold-coordinator token create --role user`)"
    ))
}

/// The time of an answer, in seconds since 1970, by its header.
fn time_of(refusal: &Refusal) -> Option<i64> {
    let date = refusal.status().metadata().get("date")?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64)
}

fn problem(coordinator: &Connection, error: &CallError) -> Finding {
    let address = coordinator.address();
    Finding::bad(match error {
        CallError::Unreachable(unreachable) => match &unreachable.failure {
            Failure::Away(problem) => match problem.remedy() {
                Some(remedy) => format!("cannot connect to {address}: {problem}; {remedy}"),
                None => format!("cannot connect to {address}: {problem}"),
            },
            failure => format!("the coordinator at {address} cannot serve a call ({failure}); try again later"),
        },
        CallError::Refused(refusal) if refusal.reason() == Some(Reason::TokenNeeded) => {
            format!("the coordinator at {address} answers, and refuses this machine's calls: {refusal}")
        }
        CallError::Refused(_) | CallError::LeaseLost(_) | CallError::Cancelled => format!("{address}: {error}"),
    })
}

/// Compares this machine's clock with the coordinator's, in seconds since 1970.
fn clock(theirs: Option<i64>) -> Finding {
    let Some(theirs) = theirs else { return Finding::doubtful("the coordinator does not send its time") };
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    match ours - theirs {
        skew if skew.abs() <= MAX_CLOCK_SKEW_SECONDS => Finding::good("the clocks agree"),
        skew => Finding::doubtful(format!(
            "this machine's clock is {} s {} the coordinator's: displayed times are wrong, leases are not affected; \
             synchronise it with NTP (`timedatectl set-ntp true`)",
            skew.abs(),
            if skew > 0 { "ahead of" } else { "behind" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use fivefold_common::finding::Rating;

    use super::*;

    #[test]
    fn a_wrong_clock_is_found() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        assert_eq!(clock(Some(now)).rating, Rating::Good);
        let ahead = clock(Some(now - 100));
        assert!(ahead.rating == Rating::Doubtful && ahead.message.contains("s ahead of"), "{ahead}");
        assert!(clock(Some(now + 3600)).message.contains("s behind"));
        assert_eq!(clock(None).rating, Rating::Doubtful);
    }
}
