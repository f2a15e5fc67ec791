//! The connections that are open, and which of them are closed to make room.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::listener::limits::ConnectionLimits;

/// An address is known for this long after its last authorised call on a new connection.
const KNOWN: Duration = Duration::from_secs(3600);
/// The most addresses that are known or counted at a time.
const MAX_ADDRESSES: usize = 10_000;

/// The open connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ConnectionTable {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: ConnectionLimits,
    state: Mutex<State>,
    /// Notified when a connection was closed.
    closed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers of connections, in the order of their arrival.
    next_number: u64,
    /// Open connections, those that are being closed included.
    open: usize,
    /// Connections that were told to close and are still open.
    closing: HashSet<u64>,
    pending_count: usize,
    /// By address, then by number: the first one is the oldest. An entry's token tells its connection to close.
    pending: HashMap<IpAddr, BTreeMap<u64, CancellationToken>>,
    /// When a connection of the address was admitted last.
    known: HashMap<IpAddr, Instant>,
    ended: Ended,
}

/// Connections that were closed without an authorised call, since they were last reported.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// After the time for the first call.
    late: u64,
    /// To make room for newer ones.
    displaced: u64,
    /// At once, since all places were taken by admitted ones.
    refused: u64,
    by_address: HashMap<IpAddr, u64>,
}

/// A connection of the table, from its acceptance to its end.
#[derive(Debug)]
pub(super) struct Entry {
    number: u64,
    address: IpAddr,
    admitted: AtomicBool,
    deadline: Mutex<Instant>,
    /// Cancelled to make room.
    displaced: CancellationToken,
    table: ConnectionTable,
}

impl ConnectionTable {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let inner = Inner { limits, state: Mutex::default(), closed: Notify::new() };
        Self { inner: Arc::new(inner) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a new connection, and tells an older pending one to close where there is no room. `None` when every place is taken
    /// by an admitted one.
    pub(super) fn enter(&self, ip: IpAddr) -> Option<Arc<Entry>> {
        let (limits, address) = (&self.inner.limits, network_of(ip));
        let mut state = self.state();
        let pending_limit = if state.is_known(address) { limits.pending } else { limits.pending_per_address };
        if state.pending.get(&address).is_some_and(|pending| pending.len() >= pending_limit) {
            state.displace_oldest_of(address);
        } else if state.pending_count >= limits.pending || state.open - state.closing.len() >= limits.total {
            match state.heaviest() {
                Some(heaviest) => state.displace_oldest_of(heaviest),
                None => {
                    state.ended.refused += 1;
                    state.ended.count(address);
                    return None;
                }
            }
        }
        let number = state.next_number;
        let displaced = CancellationToken::new();
        state.next_number += 1;
        state.open += 1;
        state.pending_count += 1;
        state.pending.entry(address).or_default().insert(number, displaced.clone());
        let deadline = Mutex::new(Instant::now() + limits.first_call);
        Some(Arc::new(Entry {
            number,
            address,
            admitted: AtomicBool::new(false),
            deadline,
            displaced,
            table: self.clone(),
        }))
    }

    /// Tells the oldest `count` pending connections to close.
    pub(super) fn displace(&self, count: usize) {
        let mut state = self.state();
        for _ in 0..count {
            let Some(address) = state.heaviest() else { return };
            state.displace_oldest_of(address);
        }
    }

    /// Waits until at most `most` connections that were told to close are still open.
    pub(super) async fn wait_for_closing(&self, most: usize) {
        loop {
            let closed = self.inner.closed.notified();
            if self.state().closing.len() <= most {
                return;
            }
            closed.await;
        }
    }

    /// Takes what is to be reported of connections that were closed, if there is anything.
    pub(super) fn take_ended(&self) -> Option<Ended> {
        let mut state = self.state();
        if state.known.len() > MAX_ADDRESSES {
            state.known.retain(|_, admitted| admitted.elapsed() < KNOWN);
        }
        (state.ended != Ended::default()).then(|| std::mem::take(&mut state.ended))
    }
}

impl State {
    fn is_known(&self, address: IpAddr) -> bool {
        self.known.get(&address).is_some_and(|admitted| admitted.elapsed() < KNOWN)
    }

    /// The address whose oldest pending connection is closed next: one that is not known, with the most of them.
    fn heaviest(&self) -> Option<IpAddr> {
        let weight = |(address, pending): &(&IpAddr, &BTreeMap<u64, _>)| {
            (!self.is_known(**address), pending.len(), Reverse(pending.first_key_value().map(|(number, _)| *number)))
        };
        self.pending.iter().max_by_key(weight).map(|(address, _)| *address)
    }

    fn displace_oldest_of(&mut self, address: IpAddr) {
        let oldest = self.pending.get(&address).and_then(|pending| pending.first_key_value());
        let Some(number) = oldest.map(|(number, _)| *number) else { return };
        if let Some(displaced) = self.take_pending(address, number) {
            displaced.cancel();
            self.closing.insert(number);
            self.ended.displaced += 1;
            self.ended.count(address);
        }
    }

    /// Takes a connection out of the pending ones, if it is one of them.
    fn take_pending(&mut self, address: IpAddr, number: u64) -> Option<CancellationToken> {
        let pending = self.pending.get_mut(&address)?;
        let displaced = pending.remove(&number)?;
        if pending.is_empty() {
            self.pending.remove(&address);
        }
        self.pending_count -= 1;
        Some(displaced)
    }
}

impl Ended {
    fn count(&mut self, address: IpAddr) {
        if self.by_address.len() < MAX_ADDRESSES || self.by_address.contains_key(&address) {
            *self.by_address.entry(address).or_default() += 1;
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { late, displaced, refused, by_address } = self;
        let total = late + displaced + refused;
        write!(f, "closed {total} connections without an authorised call: {late} at their deadline, ")?;
        write!(f, "{displaced} to make room for newer ones, {refused} for lack of room")?;
        match by_address.iter().max_by_key(|(_, count)| **count) {
            Some((address, count)) => write!(f, "; most came from {address} ({count})"),
            None => Ok(()),
        }
    }
}

impl Entry {
    pub(super) fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Keeps the connection open: a call over it was authorised. One that was told to close a moment ago closes all the same.
    pub(super) fn admit(&self) {
        if self.is_admitted() {
            return;
        }
        let mut state = self.table.state();
        if state.take_pending(self.address, self.number).is_some() {
            state.known.insert(self.address, Instant::now());
            self.admitted.store(true, Ordering::Relaxed);
        }
    }

    /// Gives a pending connection time for its next call.
    pub(super) fn extend(&self) {
        let deadline = Instant::now() + self.table.inner.limits.idle;
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn deadline(&self) -> Instant {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the connection has to be closed; for ever if it is admitted meanwhile.
    pub(super) async fn must_close(self: Arc<Self>) {
        loop {
            let deadline = self.deadline();
            tokio::select! {
                () = self.displaced.cancelled() => return,
                () = tokio::time::sleep_until(deadline) => {}
            }
            if self.deadline() != deadline {
                continue;
            }
            if self.expire() {
                return;
            }
            std::future::pending::<()>().await;
        }
    }

    /// Marks a pending connection as one that is being closed. False for any other one.
    fn expire(&self) -> bool {
        let mut state = self.table.state();
        let was_pending = state.take_pending(self.address, self.number).is_some();
        if was_pending {
            state.closing.insert(self.number);
            state.ended.late += 1;
            state.ended.count(self.address);
        }
        was_pending
    }

    /// Gives the place back: the connection is closed.
    pub(super) fn leave(&self) {
        let mut state = self.table.state();
        state.open -= 1;
        state.closing.remove(&self.number);
        state.take_pending(self.address, self.number);
        drop(state);
        self.table.inner.closed.notify_waiters();
    }
}

/// What counts as one address: an IPv4 address, or the /64 network of an IPv6 address, of which a host may have any number.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        total: 6,
        pending: 4,
        pending_per_address: 2,
        first_call: Duration::from_secs(10),
        idle: Duration::from_secs(60),
    };

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn is_told_to_close(entry: &Entry) -> bool {
        entry.displaced.is_cancelled()
    }

    #[tokio::test]
    async fn the_oldest_pending_connection_of_the_heaviest_address_makes_room() {
        let table = ConnectionTable::new(LIMITS);
        let first: Vec<_> = (0..3).map(|_| table.enter(ip(1)).unwrap()).collect();
        assert_eq!(first.iter().map(|entry| is_told_to_close(entry)).collect::<Vec<_>>(), [true, false, false]);
        let other: Vec<_> = [2, 3, 4].map(|last| table.enter(ip(last)).unwrap()).into();
        assert!(is_told_to_close(&first[1]) && !is_told_to_close(&first[2]), "four at most");
        assert!(!other.iter().any(|entry| is_told_to_close(entry)));
        // All have one: the oldest one goes, unless its address is known.
        first[2].admit();
        let again = table.enter(ip(1)).unwrap();
        let _last = table.enter(ip(5)).unwrap();
        assert!(is_told_to_close(&other[0]) && !is_told_to_close(&again) && !is_told_to_close(&first[2]));

        let ended = table.take_ended().unwrap().to_string();
        assert!(ended.contains("closed 3 ") && ended.ends_with("most came from 10.0.0.1 (2)"), "{ended}");
        assert_eq!(table.take_ended(), None);
    }

    #[tokio::test]
    async fn admitted_connections_are_never_closed_to_make_room() {
        let table = ConnectionTable::new(LIMITS);
        let admitted: Vec<_> = (0..6).map(|_| table.enter(ip(1)).unwrap()).collect();
        for entry in &admitted {
            entry.admit();
        }
        // The first two were displaced before they were admitted, and are not gone yet.
        let told = admitted.iter().filter(|entry| is_told_to_close(entry)).count();
        assert_eq!((told, admitted.iter().filter(|entry| entry.is_admitted()).count()), (4, 2));
        for entry in admitted.iter().filter(|entry| is_told_to_close(entry)) {
            entry.leave();
        }
        let more: Vec<_> = (0..4).map(|_| table.enter(ip(1)).unwrap()).collect();
        for entry in &more {
            entry.admit();
        }
        assert!(more.iter().all(|entry| entry.is_admitted()), "its address is known: four may be pending");
        assert!(table.enter(ip(2)).is_none());
        more[0].leave();
        assert!(table.enter(ip(2)).is_some());
        assert!(table.take_ended().unwrap().to_string().contains("1 for lack of room"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_closes_without_a_call_and_stays_with_an_authorised_one() {
        let table = ConnectionTable::new(LIMITS);
        let began = Instant::now();
        let (silent, refused, admitted) =
            (table.enter(ip(1)).unwrap(), table.enter(ip(1)).unwrap(), table.enter(ip(2)).unwrap());
        refused.extend();
        admitted.admit();
        silent.clone().must_close().await;
        assert_eq!(began.elapsed().as_secs(), 10);
        refused.clone().must_close().await;
        assert_eq!(began.elapsed().as_secs(), 60);
        assert!(tokio::time::timeout(Duration::from_secs(3600), admitted.must_close()).await.is_err());
        assert!(table.take_ended().unwrap().to_string().contains("2 at their deadline"));

        let waiting = table.wait_for_closing(0);
        silent.leave();
        refused.leave();
        waiting.await;
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!((network("::ffff:10.0.0.1"), network("10.0.0.1")), ("10.0.0.1".into(), "10.0.0.1".into()));
    }
}
