//! Command lines: that of a daemon, which may run a subcommand instead, and what all of them make of environment variables.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::{Command, Parser};

/// Parses the arguments of this process, and ends it with a message if they are wrong.
///
/// Empty environment variables count as unset. The variables of the daemon's arguments count for the daemon alone:
/// where a subcommand is named, none of them is read. Variables of the subcommand's own arguments are read.
pub fn parse<Arguments: Parser>() -> Arguments {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let matches = command_of::<Arguments>(&arguments).get_matches_from(arguments);
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut Arguments::command()).exit())
}

/// The command that `arguments` are parsed by.
fn command_of<Arguments: Parser>(arguments: &[OsString]) -> Command {
    let command = without_empty_variables(Arguments::command());
    let named = arguments.get(1).and_then(|name| command.find_subcommand(name));
    if named.is_some() { without_variables(command) } else { command }
}

/// `command` without the environment variables of its own arguments; those of its subcommands stay.
pub fn without_variables(command: Command) -> Command {
    command.mut_args(|argument| argument.env(Resettable::Reset))
}

/// `command` and its subcommands without the environment variables that are set to nothing.
pub fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|argument| {
        let is_reset = argument.get_env().is_some_and(is_empty);
        if is_reset { argument.env(Resettable::Reset) } else { argument }
    });
    command.mut_subcommands(without_empty_variables)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::{Args, FromArgMatches as _, Subcommand};

    use super::*;

    /// `PATH` is set wherever tests run.
    #[derive(Debug, Parser)]
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    struct Arguments {
        #[command(subcommand)]
        command: Option<Other>,
        #[command(flatten)]
        daemon: Option<Daemon>,
    }

    #[derive(Debug, Args)]
    struct Daemon {
        #[arg(long, env = "PATH")]
        from_environment: PathBuf,
        #[arg(long)]
        required: String,
    }

    #[derive(Debug, Subcommand)]
    enum Other {
        Check {
            #[arg(long, env = "PATH")]
            own: PathBuf,
        },
    }

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let matches = command_of::<Arguments>(&arguments).try_get_matches_from(arguments)?;
        Arguments::from_arg_matches(&matches)
    }

    #[test]
    fn the_daemons_variables_are_its_own() {
        let Arguments { command, daemon } = parsed("program check").unwrap();
        let Some(Other::Check { own }) = command else { panic!("{command:?}") };
        assert!(daemon.is_none() && !own.as_os_str().is_empty());
        let daemon = parsed("program --required x").unwrap().daemon.unwrap();
        assert_eq!((daemon.from_environment, daemon.required.as_str()), (own, "x"));
        assert!(parsed("program").is_err(), "--required is missing");
        assert!(parsed("program --required x check").is_err());
    }
}
