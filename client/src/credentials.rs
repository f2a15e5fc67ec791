//! Tokens and certificates.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

/// A channel whose calls carry a token.
pub type AuthorizedChannel = InterceptedService<Channel, BearerToken>;

/// What a client identifies itself with, and whom it trusts.
#[derive(Clone, Default)]
pub struct Credentials {
    /// File with the token. Takes precedence over `token`.
    pub token_file: Option<PathBuf>,
    /// The token itself, as from an environment variable. An empty one is none.
    pub token: Option<String>,
    /// PEM file with the authority that signed the coordinator's certificate; without it, the authorities of this system.
    pub ca_cert: Option<PathBuf>,
    /// PEM file with this client's certificate, for coordinators that ask for one.
    pub client_cert: Option<PathBuf>,
    /// PEM file with the private key of `client_cert`.
    pub client_key: Option<PathBuf>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ca_cert", &self.ca_cert).finish_non_exhaustive()
    }
}

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The token file has no token in it.
    #[error("{} is empty: expected the line printed by `fivefold-coordinator token create`", path.display())]
    EmptyTokenFile {
        /// The file.
        path: PathBuf,
    },
    /// The token file holds something else, such as a key.
    #[error("{} holds no token: expected the line printed by `fivefold-coordinator token create`", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// A token has characters that tokens do not have.
    #[error("not a valid token: expected the line printed by `fivefold-coordinator token create`")]
    Token,
    /// The connection would not be encrypted.
    #[error("the coordinator's address is http, and the token would cross the network unencrypted: use https")]
    UnencryptedToken,
    /// The file of the authority has no certificate in it, as when it is the private key.
    #[error("{} holds no certificate: expected the PEM file of the authority that signed the coordinator's certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A client certificate without its key, or a key without its certificate.
    #[error("a client certificate and its private key belong together: give both or none")]
    HalfIdentity,
    /// The certificates or the key cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(String),
}

/// Adds a token to every call.
#[derive(Clone)]
pub struct BearerToken(Option<MetadataValue<Ascii>>);

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "BearerToken(..)" } else { "BearerToken(none)" })
    }
}

impl Interceptor for BearerToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A channel to `endpoint` with `credentials`, for callers that need neither retries nor transfers. Connects with the first
/// call. Must be called within a tokio runtime.
///
/// # Errors
/// When a file cannot be read or used, or a token would leave this machine unencrypted.
pub fn authorized_channel(
    mut endpoint: Endpoint,
    credentials: &Credentials,
) -> Result<AuthorizedChannel, CredentialsError> {
    let is_encrypted = endpoint.uri().scheme_str() == Some("https");
    let token = bearer_token(credentials)?;
    if token.0.is_some() && !is_encrypted && !is_loopback(endpoint.uri().host().unwrap_or_default()) {
        return Err(CredentialsError::UnencryptedToken);
    }
    if is_encrypted {
        endpoint =
            endpoint.tls_config(tls_config(credentials)?).map_err(|error| CredentialsError::Tls(words(&error)))?;
    }
    Ok(InterceptedService::new(endpoint.connect_lazy(), token))
}

fn bearer_token(credentials: &Credentials) -> Result<BearerToken, CredentialsError> {
    let no_token = || match &credentials.token_file {
        Some(path) => CredentialsError::NoToken { path: path.clone() },
        None => CredentialsError::Token,
    };
    let text = match (&credentials.token_file, &credentials.token) {
        (Some(path), _) => {
            let text = String::from_utf8(read(path)?).map_err(|_| no_token())?;
            // Editors on Windows begin a file with a byte order mark.
            let text = text.trim_start_matches('\u{feff}').trim().to_owned();
            if text.is_empty() {
                return Err(CredentialsError::EmptyTokenFile { path: path.clone() });
            }
            text
        }
        (None, Some(token)) => token.trim().to_owned(),
        (None, None) => String::new(),
    };
    if text.is_empty() {
        return Ok(BearerToken(None));
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {text}").parse().map_err(|_| no_token())?;
    value.set_sensitive(true);
    Ok(BearerToken(Some(value)))
}

fn tls_config(credentials: &Credentials) -> Result<ClientTlsConfig, CredentialsError> {
    let mut tls = ClientTlsConfig::new();
    tls = match &credentials.ca_cert {
        Some(path) => {
            let pem = read(path)?;
            if !CertificateDer::pem_slice_iter(&pem).any(|certificate| certificate.is_ok()) {
                return Err(CredentialsError::NoCertificate { path: path.clone() });
            }
            tls.ca_certificate(Certificate::from_pem(pem))
        }
        None => tls.with_native_roots(),
    };
    match (&credentials.client_cert, &credentials.client_key) {
        (Some(certificate), Some(key)) => Ok(tls.identity(Identity::from_pem(read(certificate)?, read(key)?))),
        (None, None) => Ok(tls),
        _ => Err(CredentialsError::HalfIdentity),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    std::fs::read(path).map_err(|error| CredentialsError::File { path: path.to_owned(), error })
}

/// An error's message with the cause that it leaves out.
fn words(error: &tonic::transport::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &'static str, credentials: &Credentials) -> Option<String> {
        authorized_channel(Endpoint::from_static(url), credentials).err().map(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_token_does_not_leave_the_machine_unencrypted() {
        let with_token = Credentials { token: Some("ffv1_0".into()), ..Credentials::default() };
        for (url, is_good) in [
            ("http://127.0.0.1:7700", true),
            ("http://localhost:7700", true),
            ("http://[::1]:7700", true),
            ("http://10.0.0.1:7700", false),
            ("http://hub:7700", false),
        ] {
            assert_eq!(refusal(url, &with_token).is_none(), is_good, "{url}");
            assert_eq!(refusal(url, &Credentials::default()), None);
        }
        assert!(!format!("{with_token:?}").contains("ffv1"));
    }

    #[tokio::test]
    async fn tokens_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let file = |text: &[u8]| {
            let path = folder.path().join("token");
            std::fs::write(&path, text).unwrap();
            refusal("http://localhost:7700", &Credentials { token_file: Some(path), ..Credentials::default() })
        };
        assert_eq!(file(b"ffv1_0\r\n"), None);
        assert_eq!(file(b"\xef\xbb\xbfffv1_0\n"), None);
        assert!(file(b" \n").unwrap().contains("token is empty"));
        assert!(file(b"\xff\xfe").unwrap().contains("/token holds no token: expected the line printed by"));
        assert!(file(b"two\nlines").unwrap().contains("/token holds no token"));
        let typed = Credentials { token: Some("two\nlines".into()), ..Credentials::default() };
        assert!(refusal("http://localhost:7700", &typed).unwrap().contains("not a valid token"));
        let missing = Credentials { token_file: Some("/nowhere/token".into()), ..Credentials::default() };
        assert!(refusal("http://localhost:7700", &missing).unwrap().contains("cannot read /nowhere/token"));
    }

    #[tokio::test]
    async fn certificates_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("hub.key");
        std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        let no_authority = Credentials { ca_cert: Some(key.clone()), ..Credentials::default() };
        assert!(refusal("https://hub:7700", &no_authority).unwrap().contains("hub.key holds no certificate"));
        let half = Credentials { client_key: Some(key), ..Credentials::default() };
        assert!(refusal("https://hub:7700", &half).unwrap().contains("belong together"));
    }
}
