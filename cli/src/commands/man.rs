//! `fivefold man`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use crate::command_line::CommandLine;
use crate::console::notify;

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder of the pages, such as ~/.local/share/man/man1
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes a page for the program and one for each of its commands.
pub(crate) fn run(args: &ManArgs) -> anyhow::Result<()> {
    let folder = &args.out;
    let problem = || format!("cannot write man pages to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(problem)?;
    // The generated command `help` needs no page.
    let command = CommandLine::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, folder).with_context(problem)?;
    notify(&format!(
        "the pages are in {}; `man {}/fivefold.1` shows the first one",
        folder.display(),
        folder.display()
    ));
    Ok(())
}
