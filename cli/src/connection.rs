//! The flags of the connection to the coordinator.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fivefold_client::{Address, Connection, Credentials, Notice, RetryPolicy};
use fivefold_program::number::whole_number;

use crate::console::{explain, notify};

#[derive(Debug, Args)]
#[command(next_help_heading = "Coordinator")]
pub(crate) struct ConnectionArgs {
    /// Address of the coordinator
    #[arg(
        long,
        global = true,
        env = "FIVEFOLD_COORDINATOR",
        value_name = "URL",
        default_value = "http://127.0.0.1:7700"
    )]
    coordinator: Address,
    /// Longest wait for a coordinator that cannot be reached [default: no limit]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = whole_number::<u64>(..))]
    wait_seconds: Option<u64>,
    /// File with the token; takes precedence over FIVEFOLD_TOKEN, which may hold the token itself (other users of this
    /// machine can read flags)
    #[arg(long, global = true, env = "FIVEFOLD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the coordinator's certificate [default: the system's authorities]
    #[arg(long, global = true, env = "FIVEFOLD_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// PEM file of this client's certificate, if the coordinator requires one
    #[arg(long, global = true, env = "FIVEFOLD_CLIENT_CERT", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// PEM file of the private key of --client-cert
    #[arg(long, global = true, env = "FIVEFOLD_CLIENT_KEY", value_name = "FILE")]
    client_key: Option<PathBuf>,
}

impl ConnectionArgs {
    /// The connection, which opens with the first call. Its notices go to stderr. Must be called within a tokio runtime.
    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        let credentials = Credentials {
            token_file: self.token_file.clone(),
            token: std::env::var("FIVEFOLD_TOKEN").ok(),
            ca_cert: self.ca_cert.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        };
        let policy = RetryPolicy::interactive(self.wait_seconds.map(Duration::from_secs));
        let user_agent = concat!("fivefold/", env!("CARGO_PKG_VERSION"));
        explain(|| format!("coordinator {}, {}", self.coordinator, self.token_words()));
        let connection = Connection::new(&self.coordinator, &credentials, policy, user_agent)?;
        Ok(connection.with_observer(|notice| notify(&notice_text(notice))))
    }

    fn token_words(&self) -> String {
        match &self.token_file {
            Some(file) => format!("token of {}", file.display()),
            None if std::env::var_os("FIVEFOLD_TOKEN").is_some_and(|token| !token.is_empty()) => {
                "token of FIVEFOLD_TOKEN".into()
            }
            None => "without a token".into(),
        }
    }
}

/// A notice as a sentence for the terminal.
pub(crate) fn notice_text(notice: &Notice<'_>) -> String {
    match notice {
        Notice::Retrying { .. } => format!("{notice}; press Ctrl-C to stop"),
        Notice::Recovered { .. } => notice.to_string(),
    }
}
