//! `fivefold man`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _};
use serde_json::json;

use crate::command_line::CommandLine;
use crate::console::{OutputFormat, notify, print_json};

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder of the pages, such as ~/.local/share/man/man1
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes a page for the program and one for each of its commands.
pub(crate) fn run(args: &ManArgs, format: OutputFormat) -> anyhow::Result<()> {
    let folder = &args.out;
    let problem = || format!("cannot write man pages to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(problem)?;
    // The generated command `help` needs no page.
    let command = CommandLine::command().disable_help_subcommand(true);
    let pages = page_names(&command, command.get_name());
    clap_mangen::generate_to(command, folder).with_context(problem)?;
    notify(&format!(
        "the pages are in {}; `man {}/fivefold.1` shows the first one",
        folder.display(),
        folder.display()
    ));
    match format {
        OutputFormat::Text => Ok(()),
        OutputFormat::Json => print_json(&json!({ "out": folder, "pages": pages })),
    }
}

/// The names of the pages: `fivefold.1`, `fivefold-pack.1`, `fivefold-pack-verify.1`.
fn page_names(command: &Command, name: &str) -> Vec<String> {
    let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    let below = inner.flat_map(|inner| page_names(inner, &format!("{name}-{}", inner.get_name())));
    std::iter::once(format!("{name}.1")).chain(below).collect()
}
