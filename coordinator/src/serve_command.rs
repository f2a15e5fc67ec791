//! The coordinator itself: its arguments and signals.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use fivefold_coordinator::listener::{ConnectionLimits, raise_open_files};
use fivefold_coordinator::web::WebAddress;
use fivefold_coordinator::{Config, Exposure, Tls};
use fivefold_program::log::LogFormat;
use fivefold_program::number::whole_number;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Address to listen on, as HOST:PORT; port 0 takes a free port
    #[arg(long, env = "FIVEFOLD_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7700", value_parser = host_and_port)]
    listen: String,
    /// Address of the page for browsers of this machine, or `off` [default: 127.0.0.1:7701 if --listen is on this machine and the
    /// port is free, otherwise off]
    #[arg(long, env = "FIVEFOLD_WEB", value_name = "ADDR", value_parser = web_address)]
    web: Option<WebAddress>,
    /// Folder of the queue and of all uploads; it is created if it does not exist
    #[arg(long, env = "FIVEFOLD_STATE", value_name = "DIR")]
    state: PathBuf,
    /// Seconds without a report after which a job is taken from its worker
    #[arg(long, env = "FIVEFOLD_LEASE_SECONDS", value_name = "N", default_value_t = 60, value_parser = whole_number::<u32>(1..=86_400))]
    lease_seconds: u32,
    /// Seconds without progress after which a job is taken from a worker that still reports, or 0 for no limit. After a
    /// quarter of them the job is marked as stalled
    #[arg(long, env = "FIVEFOLD_STALL_SECONDS", value_name = "N", default_value_t = 1800, value_parser = whole_number::<u32>(..))]
    stall_seconds: u32,
    /// Days after which job sets that have ended are deleted with their results, or 0 for never
    #[arg(long, env = "FIVEFOLD_RETAIN_DAYS", value_name = "N", default_value_t = 0, value_parser = whole_number::<u32>(0..=36_500))]
    retain_days: u32,
    /// Certificate chain for encrypted connections (PEM)
    #[arg(long, env = "FIVEFOLD_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, env = "FIVEFOLD_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Require client certificates that this authority signed (PEM)
    #[arg(long, env = "FIVEFOLD_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Listen on an address of the network without encryption or without tokens
    #[arg(long)]
    insecure: bool,
    /// Format of the log on standard error
    #[arg(long, env = "FIVEFOLD_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Where the page usually is.
const USUAL_WEB: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7701);

fn web_address(text: &str) -> Result<WebAddress, String> {
    match text {
        "off" => Ok(WebAddress::Off),
        address => address
            .parse()
            .map(WebAddress::At)
            .map_err(|_| "expected an address of this machine with a port, such as 127.0.0.1:7701, or off".to_owned()),
    }
}

/// Serves until the process is asked to stop.
pub(crate) async fn run(arguments: ServeArguments) -> anyhow::Result<()> {
    let stopping = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let asked = stopping.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        tracing::info!("stopping");
        asked.cancel();
    });
    let listener = listen(&arguments.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls {
            certificate_pem: read(certificate)?,
            key_pem: read(key)?,
            client_ca_pem: arguments.tls_client_ca.as_deref().map(read).transpose()?,
        }),
        _ => None,
    };
    let config = Config {
        lease_seconds: arguments.lease_seconds,
        stall_seconds: arguments.stall_seconds,
        retain_days: arguments.retain_days,
        tls,
        exposure: if arguments.insecure { Exposure::Insecure } else { Exposure::Guarded },
        connections: ConnectionLimits::for_open_files(raise_open_files()),
        web: match arguments.web {
            Some(address) => address,
            // The page does not ask for client certificates.
            None if listener.local_addr()?.ip().is_loopback() && arguments.tls_client_ca.is_none() => {
                WebAddress::IfFree(USUAL_WEB)
            }
            None => WebAddress::Off,
        },
        ..Config::new(&arguments.state)
    };
    fivefold_coordinator::run(config, listener, stopping).await
}

/// Listens on the first address of a host that can be listened on; IPv4 ones come first, as clients expect of `localhost`.
async fn listen(host_and_port: &str) -> io::Result<TcpListener> {
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host(host_and_port).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    TcpListener::bind(&addresses[..]).await
}

/// Checks that there are a host and a port.
fn host_and_port(text: &str) -> Result<String, String> {
    let is_valid = text.parse::<SocketAddr>().is_ok()
        || text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok());
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("expected HOST:PORT, such as 127.0.0.1:7700 or localhost:7700".into())
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_hosts_can_be_listened_on() {
        for good in ["127.0.0.1:0", "[::1]:0", "localhost:0", "0.0.0.0:7700"] {
            assert_eq!(host_and_port(good).unwrap(), good);
        }
        for bad in ["", "localhost", ":7700", "::1:7700", "localhost:99999", "7700"] {
            assert!(host_and_port(bad).unwrap_err().contains("HOST:PORT"), "{bad}");
        }
        let listener = listen("localhost:0").await.unwrap();
        assert_eq!(listener.local_addr().unwrap().ip(), std::net::Ipv4Addr::LOCALHOST);
        assert!(listen("host.invalid:0").await.is_err());
    }
}
