//! The flags of the connection to the coordinator.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fivefold_client::{Address, Connection, Credentials, Notice, RetryPolicy};
use fivefold_common::one_line::one_line;

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
    /// How long to wait for a coordinator that is away, in seconds [default: forever]
    #[arg(long, global = true, value_name = "N")]
    wait_seconds: Option<u64>,
    /// File with the token; FIVEFOLD_TOKEN may hold the token itself (other users of this machine can read flags)
    #[arg(long, global = true, env = "FIVEFOLD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the coordinator's certificate [default: the system's authorities]
    #[arg(long, global = true, env = "FIVEFOLD_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// PEM file of your certificate, if the coordinator asks for one
    #[arg(long, global = true, env = "FIVEFOLD_CLIENT_CERT", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, global = true, env = "FIVEFOLD_CLIENT_KEY", value_name = "FILE")]
    client_key: Option<PathBuf>,
}

impl ConnectionArgs {
    /// The connection. Must be called within a tokio runtime.
    pub(crate) fn connection(&self) -> anyhow::Result<Connection> {
        let credentials = Credentials {
            token_file: self.token_file.clone(),
            token: std::env::var("FIVEFOLD_TOKEN").ok(),
            ca_cert: self.ca_cert.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        };
        let policy = RetryPolicy::interactive(self.wait_seconds.map(Duration::from_secs));
        let user_agent = concat!("fivefold/", env!("CARGO_PKG_VERSION"));
        let connection = Connection::new(&self.coordinator, &credentials, policy, user_agent)?;
        Ok(connection.with_observer(|notice| say_on_stderr(&notice_text(notice))))
    }
}

/// A notice of a connection, for the terminal.
pub(crate) fn notice_text(notice: &Notice<'_>) -> String {
    let text = notice.to_string();
    match notice {
        Notice::Retrying { .. } => format!("{}, Ctrl-C stops", one_line(&text)),
        Notice::Recovered { .. } => text,
    }
}

pub(crate) fn say_on_stderr(text: &str) {
    eprintln!("fivefold: {text}");
}
