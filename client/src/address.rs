//! A coordinator's address.

use std::fmt;
use std::str::FromStr;

use tonic::transport::{Endpoint, Uri};

/// The address of a coordinator: `http://HOST:PORT` or `https://HOST:PORT`. Without a scheme it is `http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    text: String,
    uri: Uri,
}

/// Text that is not the address of a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no URL, or one of another scheme.
    #[error("{text:?} is not the address of a coordinator: expected http://HOST:PORT or https://HOST:PORT")]
    Url {
        /// At most 200 characters of the text.
        text: String,
    },
    /// It has no port.
    #[error("{text:?} has no port: expected http://HOST:PORT; coordinators listen on port 7700 by default")]
    Port {
        /// At most 200 characters of the text.
        text: String,
    },
}

impl Address {
    /// The address as text, with its scheme.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether connections to it are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        let host = self.uri.host().unwrap_or_default();
        (host.trim_start_matches('[').trim_end_matches(']'), self.uri.port_u16().unwrap_or_default())
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from(self.uri.clone())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let shown = || text.chars().take(200).collect();
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = url.parse().map_err(|_| AddressError::Url { text: shown() })?;
        let is_host_given = uri.host().is_some_and(|host| !host.is_empty());
        if !matches!(uri.scheme_str(), Some("http" | "https")) || !is_host_given {
            return Err(AddressError::Url { text: shown() });
        }
        if uri.port_u16().is_none() {
            return Err(AddressError::Port { text: shown() });
        }
        Ok(Self { text: url, uri })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let parsed = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(parsed("hub:7700").unwrap(), "http://hub:7700");
        assert_eq!(parsed("http://[::1]:80").unwrap(), "http://[::1]:80");
        assert_eq!(parsed("https://hub:7700").unwrap(), "https://hub:7700");
        for text in ["", "localhost", "ftp://hub:7700", "/path", "http://", "http://hub", "https://hub", "a b", ":7700"]
        {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert!(parsed("http://hub").unwrap_err().to_string().contains("7700 by default"));
    }
}
