//! TLS over accepted connections, and lines in the log about clients whose handshake fails.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, AlertDescription, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::listener::QUIET;
use crate::listener::connection::{Connection, Peer};

/// Certificates and keys of encrypted connections, in PEM.
#[derive(Clone)]
pub struct Tls {
    /// Certificate of the coordinator, with its chain.
    pub certificate_pem: Vec<u8>,
    /// Private key of the certificate.
    pub key_pem: Vec<u8>,
    /// Authority whose certificates clients must present; `None` if they need none.
    pub client_ca_pem: Option<Vec<u8>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("asks_clients", &self.client_ca_pem.is_some()).finish_non_exhaustive()
    }
}

impl Tls {
    /// The settings of handshakes.
    ///
    /// # Errors
    /// When a certificate or the key cannot be used.
    pub fn server_config(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let chain = certificates(&self.certificate_pem).context("the certificate (--tls-cert)")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key_pem).context("the private key (--tls-key)")?;
        let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let config = match &self.client_ca_pem {
            None => config.with_no_client_auth(),
            Some(pem) => {
                let mut authorities = RootCertStore::empty();
                let found = certificates(pem).context("the authority of clients (--tls-client-ca)")?;
                authorities.add_parsable_certificates(found);
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider).build();
                config.with_client_cert_verifier(verifier.context("the authority of clients (--tls-client-ca)")?)
            }
        };
        let mut config = config.with_single_cert(chain, key).context("the certificate and its private key")?;
        config.alpn_protocols.push(b"h2".to_vec());
        Ok(Arc::new(config))
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    ensure!(!found.is_empty(), "the file holds no certificate");
    Ok(found)
}

/// An encrypted connection.
#[derive(Debug)]
pub struct Encrypted(TlsStream<Connection>);

impl Connected for Encrypted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.0.get_ref().0.connect_info()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The connections of `accepted` whose TLS handshake succeeds. Its items are never errors.
pub fn encrypt(
    mut accepted: ReceiverStream<io::Result<Connection>>,
    config: Arc<ServerConfig>,
) -> ReceiverStream<io::Result<Encrypted>> {
    let (encrypted, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(config);
        let failed = Arc::new(FailedHandshakes::default());
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                connection = accepted.next() => {
                    let Some(Ok(connection)) = connection else { return };
                    let (acceptor, failed, encrypted) = (acceptor.clone(), failed.clone(), encrypted.clone());
                    handshakes.spawn(async move {
                        let client = connection.client();
                        match acceptor.accept(connection).await {
                            Ok(stream) => _ = encrypted.send(Ok(Encrypted(stream))).await,
                            Err(error) => failed.log(client, &error),
                        }
                    });
                }
                Some(_) = handshakes.join_next() => {}
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Why handshakes fail, as far as it says something to whoever runs the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fault {
    /// The client speaks without TLS.
    WithoutTls,
    /// The client does not accept the coordinator's certificate.
    NotAccepted,
    /// The client shows no certificate, and has to.
    NoCertificate,
    /// The client's certificate is not accepted.
    BadCertificate,
    Other,
}

impl Fault {
    /// The fault behind a failed handshake; `None` where the client is silent or gone.
    fn of(error: &io::Error) -> Option<(Self, &rustls::Error)> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let fault = match error {
            rustls::Error::InvalidMessage(_) => Self::WithoutTls,
            rustls::Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::DecryptError,
            ) => Self::NotAccepted,
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertificate(_) => Self::BadCertificate,
            _ => Self::Other,
        };
        Some((fault, error))
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::WithoutTls => "it speaks without TLS, and needs https:// in the coordinator's address",
            Self::NotAccepted => {
                "it does not accept this coordinator's certificate: it needs the certificate's authority (--ca-cert), and \
                 a host name that the certificate has"
            }
            Self::NoCertificate => "it shows no certificate, which --tls-client-ca demands: it needs --client-cert",
            Self::BadCertificate => "its certificate is not accepted: it needs one by the authority of --tls-client-ca",
            Self::Other => "the TLS handshake failed",
        }
    }
}

/// Failed handshakes: of each fault, the first one is logged, then at most one a minute.
#[derive(Debug, Default)]
struct FailedHandshakes {
    /// When each fault was logged last, and how often it occurred since.
    logged: Mutex<HashMap<Fault, (Instant, u64)>>,
}

impl FailedHandshakes {
    fn log(&self, client: Option<SocketAddr>, error: &io::Error) {
        let Some((fault, error)) = Fault::of(error) else { return };
        let Some(unlogged) = self.add(fault) else { return };
        let client = client.map_or("a client".to_owned(), |address| address.to_string());
        let others =
            if unlogged > 0 { format!("; so did {unlogged} more since the last such line") } else { String::new() };
        tracing::warn!("{client} could not connect: {} ({error}){others}", fault.meaning());
    }

    /// Counts a fault. Returns how many were not logged, if this one is to be.
    fn add(&self, fault: Fault) -> Option<u64> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match logged.get_mut(&fault) {
            Some((last, unlogged)) if now - *last < QUIET => {
                *unlogged += 1;
                None
            }
            last => {
                let unlogged = last.map_or(0, |(_, unlogged)| *unlogged);
                logged.insert(fault, (now, 0));
                Some(unlogged)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_fault_is_logged_once_a_minute() {
        let failed = FailedHandshakes::default();
        assert_eq!(failed.add(Fault::WithoutTls), Some(0));
        assert_eq!((failed.add(Fault::WithoutTls), failed.add(Fault::WithoutTls)), (None, None));
        assert_eq!(failed.add(Fault::NotAccepted), Some(0), "another one");
        tokio::time::advance(QUIET).await;
        assert_eq!((failed.add(Fault::WithoutTls), failed.add(Fault::WithoutTls)), (Some(2), None));
    }

    #[test]
    fn silent_clients_are_no_fault() {
        assert_eq!(Fault::of(&io::ErrorKind::UnexpectedEof.into()), None);
        assert_eq!(Fault::of(&io::Error::new(io::ErrorKind::TimedOut, "closed without an authorised call")), None);
        let refused = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        let error = io::Error::new(io::ErrorKind::InvalidData, refused.clone());
        assert_eq!(Fault::of(&error), Some((Fault::NotAccepted, &refused)));
    }
}
