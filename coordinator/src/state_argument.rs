//! The argument that names a state folder.

use std::path::PathBuf;

/// The state folder of a coordinator.
#[derive(Debug, clap::Args)]
pub(crate) struct StateArgument {
    /// State folder of the coordinator
    #[arg(id = "state", long = "state", env = "FIVEFOLD_STATE", value_name = "DIR")]
    pub(crate) folder: PathBuf,
}
