//! The way to a coordinator: encrypted where its address says https, with the token that calls have to show.

use std::fmt;
use std::path::{Path, PathBuf};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

/// A connection whose calls show a token.
pub type Line = InterceptedService<Channel, BearerToken>;

/// Where a client's credentials are.
#[derive(Clone, Default)]
pub struct Credentials {
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// The token itself, where it comes from the environment.
    pub token: Option<String>,
    /// The authority that signed the coordinator's certificate, PEM; without it, those that the system trusts.
    pub ca_cert: Option<PathBuf>,
    /// This client's certificate, PEM.
    pub client_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub client_key: Option<PathBuf>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ca_cert", &self.ca_cert).finish_non_exhaustive()
    }
}

/// Why there is no way to the coordinator.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file that cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Text that is no token.
    #[error(
        "what should be a token is none: it should be the one line that `fivefold-coordinator token create` printed"
    )]
    Token,
    /// A token that everybody on the way could read.
    #[error("the coordinator's address is http, and a token would cross the network unencrypted: use https")]
    TokenInTheOpen,
    /// Certificates that cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(#[from] tonic::transport::Error),
}

/// Adds the token to every call.
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

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| ClientError::File { path: path.to_owned(), error })
}

/// The way to the coordinator at `endpoint`. Nothing is connected before the first call; has to be made inside a tokio runtime.
///
/// # Errors
/// When a file cannot be read or used, or a token would leave this machine unencrypted.
pub fn line(mut endpoint: Endpoint, credentials: &Credentials) -> Result<Line, ClientError> {
    let is_encrypted = endpoint.uri().scheme_str() == Some("https");
    let token = match (&credentials.token_file, &credentials.token) {
        (Some(path), _) => Some(String::from_utf8(read(path)?).map_err(|_| ClientError::Token)?),
        (None, token) => token.clone(),
    };
    let token = match token.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(token) => {
            let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            Some(value)
        }
    };
    if token.is_some() && !is_encrypted && !is_this_machine(endpoint.uri().host().unwrap_or_default()) {
        return Err(ClientError::TokenInTheOpen);
    }
    if is_encrypted {
        let mut tls = ClientTlsConfig::new();
        tls = match &credentials.ca_cert {
            Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
            None => tls.with_native_roots(),
        };
        if let (Some(certificate), Some(key)) = (&credentials.client_cert, &credentials.client_key) {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(InterceptedService::new(endpoint.connect_lazy(), BearerToken(token)))
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(line(Endpoint::from_static(url), &with_token).is_ok(), is_good, "{url}");
            assert!(line(Endpoint::from_static(url), &Credentials::default()).is_ok());
        }
        let bad = Credentials { token: Some("two\nlines".into()), ..Credentials::default() };
        assert!(line(Endpoint::from_static("http://127.0.0.1:7700"), &bad).is_err());
        assert!(!format!("{with_token:?}").contains("ffv1"));
    }
}
