//! `fivefold-coordinator token`: makes, lists and revokes tokens, also while a coordinator runs on the same state.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use fivefold_common::one_line::is_one_line;
use fivefold_common::role::Role;
use fivefold_coordinator::access::{new_token, token_hash};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::database::Database;
use fivefold_coordinator::queue::tokens;
use fivefold_coordinator::state_folder;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token and prints it, this once; from the first one on, nobody gets in without
    Create {
        /// The state folder
        #[arg(long, env = "FIVEFOLD_STATE", value_name = "DIR")]
        state: PathBuf,
        /// What it is called, such as the machine or the person that has it
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it allows
        #[arg(long, value_name = "ROLE", value_parser = role_parser())]
        role: Role,
    },
    /// Shows the tokens' names and roles
    List {
        /// The state folder
        #[arg(long, env = "FIVEFOLD_STATE", value_name = "DIR")]
        state: PathBuf,
    },
    /// Ends a token
    Revoke {
        /// The state folder
        #[arg(long, env = "FIVEFOLD_STATE", value_name = "DIR")]
        state: PathBuf,
        /// What it is called
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
        TokenCommand::Create { state, name, role } => {
            ensure!(
                (1..=100).contains(&name.len()) && is_one_line(&name),
                "a token's name has 1 to 100 printable characters"
            );
            let database = Database::open(&state_folder::make(&state)?).await?;
            let token = new_token().context("the system has no randomness")?;
            let (hash, now) = (token_hash(&token), Timestamp::now());
            let stored = name.clone();
            database
                .write(move |c| {
                    Box::pin(async move { tokens::insert(c, now, &stored, role.word(), hash.as_bytes()).await })
                })
                .await?;
            eprintln!(
                "{name} may act as {}. The token is not stored: keep it in a file that only its owner reads.",
                role.word()
            );
            println!("{token}");
        }
        TokenCommand::List { state } => {
            let database = Database::open(&state_folder::database_file(&state)?).await?;
            for token in tokens::all(database.readers()).await? {
                let ended = if token.revoked_ms.is_some() { "  revoked" } else { "" };
                println!("{:<24} {:<10}{ended}", token.name, token.role);
            }
        }
        TokenCommand::Revoke { state, name } => {
            let database = Database::open(&state_folder::database_file(&state)?).await?;
            let (now, revoked) = (Timestamp::now(), name.clone());
            database.write(move |c| Box::pin(async move { tokens::revoke(c, now, &revoked).await })).await?;
            println!("{name} gets in no more");
        }
    }
    Ok(())
}
