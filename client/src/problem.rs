//! What a connection error means, and what to do about it.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::{Code, Status};

/// Why the coordinator cannot be reached. The text names the remedy where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionProblem {
    /// The coordinator answered that it is starting or stopping.
    #[error("{0}")]
    NotReady(String),
    /// No program listens at the address.
    #[error("connection refused")]
    ConnectionRefused,
    /// The host has no address.
    #[error("the host name is unknown: {0}")]
    UnknownHost(String),
    /// The host, or the coordinator, did not answer in time.
    #[error("no answer in time")]
    NoAnswer,
    /// The coordinator's certificate is not signed by a trusted authority.
    #[error("its certificate is not signed by an authority trusted here: name the authority's file with --ca-cert")]
    UntrustedIssuer,
    /// The coordinator's certificate is for other host names.
    #[error("its certificate is for another host: {0}")]
    WrongHost(String),
    /// The coordinator's certificate cannot be accepted for another reason.
    #[error("its certificate is not valid: {0}")]
    BadCertificate(String),
    /// The coordinator asks for a client certificate, or does not accept the given one.
    #[error("it does not accept this client's certificate ({0}): see --client-cert and --client-key")]
    ClientCertificate(String),
    /// The address is https, the server's end is http.
    #[error("the server does not use TLS: use http:// in the address")]
    ServerWithoutTls,
    /// The address is http, the server's end is https.
    #[error("the server uses TLS: use https:// in the address")]
    ServerWithTls,
    /// The server speaks HTTP/1, as a web server does, or a proxy.
    #[error("the server at this address speaks HTTP/1, and a coordinator HTTP/2")]
    Http1,
    /// The server is the page of a coordinator, for browsers.
    #[error("this is the page of a coordinator; its gRPC address is usually port 7700")]
    Page,
    /// Any other cause, such as a connection that broke.
    #[error("{0}")]
    Other(String),
}

impl ConnectionProblem {
    /// Whether waiting does not help: somebody has to change the address, a certificate or a file.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::UntrustedIssuer
            | Self::WrongHost(_)
            | Self::BadCertificate(_)
            | Self::ClientCertificate(_)
            | Self::ServerWithoutTls
            | Self::ServerWithTls
            | Self::Page => true,
            // A proxy speaks HTTP/1 too, while its coordinator is away.
            Self::NotReady(_)
            | Self::ConnectionRefused
            | Self::UnknownHost(_)
            | Self::NoAnswer
            | Self::Http1
            | Self::Other(_) => false,
        }
    }

    /// What to do about it; `None` where its text says so itself.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NotReady(_) => Some("try again in a moment"),
            Self::ConnectionRefused => Some(
                "no program listens there: check host and port of the address, and that the coordinator is running",
            ),
            Self::UnknownHost(_) => Some("check the name of the host in the address"),
            Self::NoAnswer => Some("check the address, the firewalls, and that the coordinator's machine is on"),
            Self::WrongHost(_) => Some("use a name that the certificate has, or make one with this name"),
            Self::BadCertificate(_) => Some("make a new certificate for the coordinator"),
            Self::Http1 => Some("check host and port of the address"),
            Self::Other(_) => Some("check that a coordinator of this version listens at the address"),
            Self::UntrustedIssuer
            | Self::ClientCertificate(_)
            | Self::ServerWithoutTls
            | Self::ServerWithTls
            | Self::Page => None,
        }
    }

    /// The problem behind the status of a failed call.
    pub(crate) fn of(status: &Status) -> Self {
        for cause in causes(status) {
            if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                return Self::of_tls(error);
            }
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                match error.kind() {
                    io::ErrorKind::ConnectionRefused => return Self::ConnectionRefused,
                    io::ErrorKind::TimedOut => return Self::NoAnswer,
                    _ if error.to_string().contains("lookup address") => return Self::UnknownHost(error.to_string()),
                    _ => {}
                }
            }
            // After the handshake, the HTTP/2 library passes on the text of a TLS error alone.
            if let Some(alert) = cause.to_string().strip_prefix("received fatal alert: ")
                && CERTIFICATE_ALERTS.iter().any(|known| format!("{known:?}") == alert)
            {
                return Self::ClientCertificate(alert.to_owned());
            }
        }
        match status.code() {
            Code::DeadlineExceeded => Self::NoAnswer,
            _ => Self::Other(words(status)),
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            // The second one comes from an authority with the name of a trusted one and another key.
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Self::UntrustedIssuer
            }
            rustls::Error::InvalidCertificate(
                reason @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
            ) => Self::WrongHost(reason.to_string()),
            rustls::Error::InvalidCertificate(reason) => Self::BadCertificate(reason.to_string()),
            rustls::Error::InvalidMessage(_) => Self::ServerWithoutTls,
            rustls::Error::AlertReceived(alert) if CERTIFICATE_ALERTS.contains(alert) => {
                Self::ClientCertificate(format!("{alert:?}"))
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// What a server answers to a client without a certificate, or with one that it does not accept.
const CERTIFICATE_ALERTS: [AlertDescription; 5] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
];

/// How long a server may take to answer the question what it speaks.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes that are read of its answer.
const MOST_PROBED_BYTES: usize = 4096;

/// The `server` header of a coordinator's page.
const SERVER_OF_PAGE: &str = "\r\nserver: fivefold\r\n";

/// What an unencrypted client of the server at an address did not learn from its failed call: that the server speaks TLS, is a
/// coordinator's page, or speaks HTTP/1. `None` where it does neither.
pub(crate) async fn probe(host: &str, port: u16) -> Option<ConnectionProblem> {
    // A handshake record with an empty message: refused by an alert, whose first byte is 21. A TLS server closes a connection
    // without TLS, often before its alert can be read; this is a record that it reads to the end.
    const EMPTY_HANDSHAKE: [u8; 9] = [22, 3, 1, 0, 4, 1, 0, 0, 0];
    const ALERT: u8 = 21;
    // An HTTP/2 server answers with a frame, whose first byte is that of a small length.
    const OLD_REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
    if beginning(host, port, &EMPTY_HANDSHAKE).await.first() == Some(&ALERT) {
        return Some(ConnectionProblem::ServerWithTls);
    }
    let answer = beginning(host, port, OLD_REQUEST).await;
    match String::from_utf8_lossy(&answer).to_ascii_lowercase() {
        answer if answer.contains(SERVER_OF_PAGE) => Some(ConnectionProblem::Page),
        answer if answer.starts_with('h') => Some(ConnectionProblem::Http1),
        _ => None,
    }
}

/// The beginning of a server's answer, up to the end of an HTTP/1 head. It is empty if the server closes the connection.
async fn beginning(host: &str, port: u16, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let read = async {
        let mut stream = TcpStream::connect((host, port)).await?;
        stream.write_all(request).await?;
        while answer.len() < MOST_PROBED_BYTES && !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            let is_text = answer.first().is_none_or(|first| *first == b'H');
            if !is_text || stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // What came before an error or the limit counts.
    let _ = tokio::time::timeout(PROBE_TIMEOUT, read).await;
    answer
}

/// The chain of causes below a status. An `io::Error` hides the error it was made from; here it is included.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |error| below(*error))
}

fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// The message of a status, with the innermost cause where the message leaves it out.
pub(crate) fn words(status: &Status) -> String {
    let message = status.message();
    match causes(status).last().map(ToString::to_string) {
        Some(cause) if message.is_empty() => cause,
        Some(cause) if !message.contains(&cause) => format!("{message}: {cause}"),
        _ => message.to_owned(),
    }
}
