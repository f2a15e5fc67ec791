//! A TCP proxy between workers and coordinator, which can cut or stall all connections.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The state of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Stalled,
}

/// A proxy. It ends with the runtime that started it.
#[derive(Debug)]
pub struct Proxy {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    flow: watch::Sender<Flow>,
    cuts: Arc<watch::Sender<u32>>,
}

impl Proxy {
    /// Starts a proxy of the server at `http://ADDRESS`.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(server_url: &str) -> anyhow::Result<Proxy> {
        let server: SocketAddr = server_url.trim_start_matches("http://").parse().context("the server's address")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (flow, flowing) = watch::channel(Flow::Open);
        let cuts = Arc::new(watch::Sender::new(0));
        let cutting = cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // If the server is down, the client's connection is closed.
                let Ok(server) = TcpStream::connect(server).await else { continue };
                if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
                    continue;
                }
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                for (from, to) in [(from_client, to_server), (from_server, to_client)] {
                    let (flowing, mut cut) = (flowing.clone(), cutting.subscribe());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = pass_on(from, to, flowing) => {}
                            _ = cut.changed() => {}
                        }
                    });
                }
            }
        });
        Ok(Proxy { url, flow, cuts })
    }

    /// Closes every connection, even in the middle of a message.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Stalls all traffic until [`Proxy::go_on`]. Connections stay open.
    pub fn stall(&self) {
        self.flow.send_replace(Flow::Stalled);
    }

    /// Resumes all traffic.
    pub fn go_on(&self) {
        self.flow.send_replace(Flow::Open);
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flowing: watch::Receiver<Flow>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let open = flowing.wait_for(|flow| *flow == Flow::Open).await.is_ok();
        if !open || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
