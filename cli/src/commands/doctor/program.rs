//! The programs that doctor runs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fivefold_common::one_line::one_line;

/// Where a program is.
#[derive(Debug)]
pub(super) enum Program {
    /// In a file that was named, or is beside this program.
    File(PathBuf),
    /// If anywhere, in a folder of the PATH.
    OnPath(&'static str),
}

impl Program {
    pub(super) fn find(name: &'static str, named: Option<&Path>) -> Self {
        let beside = std::env::current_exe().ok().map(|program| program.with_file_name(name));
        match (named, beside) {
            (Some(named), _) => Self::File(named.to_owned()),
            (None, Some(beside)) if beside.exists() => Self::File(beside),
            _ => Self::OnPath(name),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::OnPath(name) => Path::new(name),
        }
    }
}

/// What a program printed.
pub(super) struct Run {
    pub(super) succeeded: bool,
    pub(super) stdout: String,
    /// Why it failed, in its own words.
    pub(super) problem: String,
}

/// Runs a program to its end.
pub(super) fn run<'a>(program: &Path, arguments: impl IntoIterator<Item = &'a OsStr>) -> std::io::Result<Run> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    // Before its error, a program may have logged something.
    let error = stderr.lines().rev().find_map(|line| line.strip_prefix("error: "));
    let problem = match error {
        Some(error) => error.to_owned(),
        None if !stderr.is_empty() => one_line(&stderr).into_owned(),
        None if !stdout.is_empty() => one_line(&stdout).into_owned(),
        None => output.status.to_string(),
    };
    Ok(Run { succeeded: output.status.success(), stdout, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_program_says_why_it_failed() {
        let failed =
            run(Path::new("sh"), ["-c", "echo started >&2; echo 'error: no disk' >&2; exit 1"].map(OsStr::new));
        let failed = failed.unwrap();
        assert!(!failed.succeeded && failed.problem == "no disk", "{}", failed.problem);
        assert_eq!(run(Path::new("sh"), ["-c", "kill -9 $$"].map(OsStr::new)).unwrap().problem, "signal: 9 (SIGKILL)");
    }
}
