//! A client of a Fivefold coordinator.
//!
//! A [`Connection`] is one HTTP/2 connection that is opened with the first call and again whenever it breaks. Calls are
//! made through the generated clients of [`fivefold_proto::v1`]; [`Connection::call`] repeats a call as its [`RetryPolicy`]
//! says. [`Transfers`] moves artifacts in both directions and resumes where a connection broke.
//!
//! ```no_run
//! use fivefold_client::{Connection, Credentials, RetryPolicy};
//! use fivefold_common::artifact::ArtifactKind;
//! use fivefold_proto::v1::ListWorkersRequest;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let address = "https://hub.example.org:7700".parse()?;
//! let credentials = Credentials { token_file: Some("worker.token".into()), ..Credentials::default() };
//! let connection = Connection::new(&address, &credentials, RetryPolicy::unattended(), "example/1.0")?;
//! let answer = connection.call(ListWorkersRequest {}, async |c, r| c.workers().list_workers(r).await).await?;
//! println!("{} workers", answer.workers.len());
//!
//! let weights = connection.transfers().upload(ArtifactKind::Weights, "resnet50.safetensors".into()).await?;
//! println!("the coordinator holds {}", weights.digest);
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! [`CallError`] says whether a call was refused, the lease it named is lost, or the coordinator could not be reached in
//! time. [`ConnectionProblem`] says why a connection fails and what to do about it.
//!
//! # Cancellation
//!
//! Dropping a future of this crate cancels it. [`Connection::with_cancellation`] does the same for every call of a connection
//! with one token.
#![warn(missing_docs)]

mod address;
mod connection;
mod credentials;
mod download;
mod failure;
mod problem;
mod random_id;
mod retry;
mod transfers;
mod upload;

pub use address::{Address, AddressError};
pub use connection::{Connection, Notice, Observer};
pub use credentials::{AuthorizedChannel, BearerToken, Credentials, CredentialsError, authorized_channel};
pub use download::Fetched;
pub use failure::{CallError, Failure, Refusal, Unreachable};
pub use problem::ConnectionProblem;
pub use random_id::random_id;
pub use retry::{DiskFull, Retries, RetryPolicy};
pub use transfers::{ProgressCallback, TransferError, TransferProgress, Transfers};
pub use upload::Source;
