//! Accepts connections, and keeps room for clients whose calls are authorised.
//!
//! A connection is pending until a call over it was authorised. Pending connections have a deadline, and there is a limit of them:
//! when it is reached the oldest one is closed for the next. So neither silent connections nor half-open ones keep a client
//! out, which needs a moment for its first call. Admitted connections stay for as long as their client answers the HTTP/2 pings.

mod connection;
mod limits;
mod table;
mod tls;

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

pub use crate::listener::connection::{Connection, Peer};
pub use crate::listener::limits::{ConnectionLimits, raise_open_files};
use crate::listener::table::ConnectionTable;
pub use crate::listener::tls::{Encrypted, Tls, encrypt};

/// Connections that were told to close and still have their file, at most, when the next one is accepted.
const MAX_CLOSING: usize = 64;
/// Pause after an error of `accept` that the next call would meet again, such as a lack of files.
const PAUSE: Duration = Duration::from_millis(100);
/// Pending connections that are closed when there is a lack of files.
const CLOSED_AT_ONCE: usize = 16;
/// Time between two lines in the log about the same kind of trouble.
const QUIET: Duration = Duration::from_secs(60);

/// Accepts connections from `listener` until `stopping` is cancelled. Its items are never errors.
pub fn accept(
    listener: TcpListener,
    limits: ConnectionLimits,
    stopping: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (connections, receiver) = mpsc::channel(1);
    let table = ConnectionTable::new(limits);
    tokio::spawn(async move {
        tokio::select! {
            () = accept_all(&listener, &table, connections) => {}
            () = report_ended(&table) => {}
            () = stopping.cancelled() => {}
        }
    });
    ReceiverStream::new(receiver)
}

/// Accepts until nobody takes the connections any more.
async fn accept_all(
    listener: &TcpListener,
    table: &ConnectionTable,
    connections: mpsc::Sender<io::Result<Connection>>,
) {
    let mut last_logged: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let Some(entry) = table.enter(address.ip()) else { continue };
                let connection = Connection::new(without_delay(stream), entry);
                if connections.send(Ok(connection)).await.is_err() {
                    return;
                }
                table.wait_for_closing(MAX_CLOSING).await;
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                if last_logged.is_none_or(|logged| logged.elapsed() >= QUIET) {
                    tracing::error!("cannot accept connections: {error}; trying again");
                    last_logged = Some(Instant::now());
                }
                table.displace(CLOSED_AT_ONCE);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Sends small messages at once. Otherwise an answer in two segments waits for the acknowledgement of the first one, which
/// clients delay by 40 ms.
fn without_delay(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        // The peer is gone already: reading says so.
        tracing::debug!("TCP_NODELAY: {error}");
    }
    stream
}

/// Whether an error of `accept` says something of the connection and nothing of the next ones.
fn is_about_one_connection(error: &io::Error) -> bool {
    let one = [Errno::CONNABORTED, Errno::CONNRESET, Errno::INTR, Errno::PERM, Errno::PROTO, Errno::TIMEDOUT];
    Errno::from_io_error(error).is_some_and(|errno| one.contains(&errno))
}

/// Logs what was closed without an authorised call: at once, then at most once a minute.
async fn report_ended(table: &ConnectionTable) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        if let Some(ended) = table.take_ended() {
            tracing::warn!("{ended}");
            tokio::time::sleep(QUIET).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_stream::StreamExt as _;

    use super::*;

    async fn accepting(limits: ConnectionLimits) -> (std::net::SocketAddr, ReceiverStream<io::Result<Connection>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, accept(listener, limits, CancellationToken::new()))
    }

    #[tokio::test]
    async fn accepted_connections_send_without_delay() {
        let (address, mut connections) = accepting(ConnectionLimits::default()).await;
        let _client = TcpStream::connect(address).await.unwrap();
        let connection = connections.next().await.unwrap().unwrap();
        assert!(connection.stream().nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_silent_connection_ends_at_its_deadline_and_an_admitted_one_goes_on() {
        let limits = ConnectionLimits { first_call: Duration::from_millis(50), ..ConnectionLimits::default() };
        let (address, mut connections) = accepting(limits).await;
        for is_admitted in [false, true] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let mut connection = connections.next().await.unwrap().unwrap();
            if is_admitted {
                tonic::transport::server::Connected::connect_info(&connection).admit();
            }
            let mut byte = [0];
            let read = tokio::time::timeout(Duration::from_secs(1), connection.read(&mut byte)).await;
            if is_admitted {
                assert!(read.is_err(), "{read:?}");
                client.write_all(b"x").await.unwrap();
                assert_eq!(connection.read(&mut byte).await.unwrap(), 1);
            } else {
                let ended = read.unwrap().unwrap_err();
                assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
                assert!(connection.write(b"x").await.is_err(), "it stays closed");
            }
        }
    }
}
