//! An accepted connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;

use crate::listener::table::Entry;

/// A TCP connection that ends with an error when it has to be closed. It wraps the socket itself, below TLS and HTTP/2, so that
/// neither a handshake nor a preface outlasts the deadline.
pub struct Connection {
    stream: TcpStream,
    entry: Arc<Entry>,
    state: State,
}

enum State {
    /// No call was authorised yet. The future completes when the connection has to be closed.
    Pending(Pin<Box<dyn Future<Output = ()> + Send>>),
    Admitted,
    Closed,
}

/// The connection of a call. Handlers find it among the request's extensions.
#[derive(Debug, Clone)]
pub struct Peer {
    entry: Arc<Entry>,
}

impl Peer {
    /// Keeps the connection open: a call over it was authorised.
    pub fn admit(&self) {
        self.entry.admit();
    }

    /// Gives a connection that is not admitted time for its next call.
    pub fn extend(&self) {
        self.entry.extend();
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream, entry: Arc<Entry>) -> Self {
        let state = State::Pending(Box::pin(entry.clone().must_close()));
        Self { stream, entry, state }
    }

    /// The address of the client; `None` where it is gone.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    #[cfg(test)]
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The socket, unless the connection has to be closed.
    fn socket(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if let State::Pending(must_close) = &mut self.state {
            if self.entry.is_admitted() {
                self.state = State::Admitted;
            } else if must_close.as_mut().poll(context).is_ready() {
                self.state = State::Closed;
            }
        }
        match self.state {
            State::Pending(_) | State::Admitted => Ok(Pin::new(&mut self.stream)),
            State::Closed => Err(io::Error::new(io::ErrorKind::TimedOut, "closed without an authorised call")),
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.entry.leave();
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { entry: self.entry.clone() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.socket(context)?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket(context)?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
