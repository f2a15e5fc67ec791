//! `fivefold-coordinator token`: creates, lists and revokes tokens, even while a coordinator uses the state folder.

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use fivefold_common::one_line::is_one_line;
use fivefold_common::role::Role;
use fivefold_coordinator::access::{new_token, token_hash};
use fivefold_coordinator::clock::{Clock as _, SystemClock};
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use fivefold_coordinator::queue::{NewToken, Queue as _};
use fivefold_coordinator::state_folder;

use crate::state_argument::StateArgument;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token and print it, once. With the first token, every call needs one
    Create {
        #[command(flatten)]
        state: StateArgument,
        /// Name of the token, such as the machine or the person who gets it
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What the token allows: `user` to submit, change and fetch job sets, `worker` to take and work on leases,
        /// `read-only` to watch
        #[arg(long, value_name = "ROLE", value_parser = role_parser())]
        role: Role,
    },
    /// List the names and roles of all tokens
    List(StateArgument),
    /// Revoke a token
    Revoke {
        #[command(flatten)]
        state: StateArgument,
        /// Name of the token
        #[arg(value_name = "NAME")]
        name: String,
    },
}

fn role_parser() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.iter().map(|role| role.word())).try_map(|word| word.parse::<Role>())
}

/// Runs the command.
pub(crate) async fn run(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { state, name, role } => create(&state, &name, role).await,
        TokenCommand::List(state) => list(&state).await,
        TokenCommand::Revoke { state, name } => revoke(&state, name).await,
    }
}

async fn create(state: &StateArgument, name: &str, role: Role) -> anyhow::Result<()> {
    let is_name = (1..=100).contains(&name.len()) && is_one_line(name);
    ensure!(is_name, "the name of a token has 1 to 100 printable characters");
    let is_new = state_folder::database_file(&state.folder).is_err();
    let queue = SqliteQueue::open(&state_folder::create(&state.folder)?, Durability::Disk).await?;
    if is_new {
        let folder = state.folder.display();
        eprintln!(
            "{folder} is a new state folder: if a coordinator runs already, it has another one, and this token is not for it"
        );
    }
    let is_first = queue.tokens().await?.is_empty();
    let token = new_token().context("the system gave no random bytes")?;
    let new = NewToken { name: name.to_owned(), role, hash: token_hash(&token) };
    queue.create_token(SystemClock.now(), new).await?;
    if is_first {
        eprintln!(
            "this is the first token: from now on every call needs one, also after it is revoked; workers and users without \
             one are refused"
        );
    }
    eprintln!(
        "token {name} created with the role {role}; only its hash is stored, so keep this line in a private file:"
    );
    println!("{token}");
    Ok(())
}

async fn list(state: &StateArgument) -> anyhow::Result<()> {
    let queue = SqliteQueue::open(&state_folder::database_file(&state.folder)?, Durability::Disk).await?;
    for token in queue.tokens().await? {
        let revoked = if token.revoked.is_some() { "  revoked" } else { "" };
        println!("{:<24} {:<10}{revoked}", token.name, token.role.word());
    }
    Ok(())
}

async fn revoke(state: &StateArgument, name: String) -> anyhow::Result<()> {
    let queue = SqliteQueue::open(&state_folder::database_file(&state.folder)?, Durability::Disk).await?;
    queue.revoke_token(SystemClock.now(), &name).await?;
    println!("token {name} revoked");
    Ok(())
}
