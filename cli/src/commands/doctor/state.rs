//! The coordinator's state folder, as the coordinator looks at it when it starts.

use std::ffi::OsStr;
use std::path::Path;

use fivefold_common::finding::Finding;

use super::machine;
use super::program::{Program, Run, run};

/// Whether a coordinator can start on the folder, and the space on its disk.
pub(super) fn check(folder: &Path) -> Vec<Finding> {
    let program = Program::find("fivefold-coordinator", None);
    let arguments = [OsStr::new("check"), OsStr::new("--quick"), OsStr::new("--state"), folder.as_os_str()];
    match run(program.path(), arguments) {
        Ok(Run { succeeded: true, .. }) => vec![machine::state(folder)],
        Ok(Run { problem, .. }) => vec![Finding::bad(format!("a coordinator cannot start here: {problem}"))],
        Err(error) => {
            let unknown = Finding::doubtful(format!(
                "{} cannot be checked without fivefold-coordinator ({error}); build it, and put it beside this program",
                folder.display()
            ));
            vec![unknown, machine::state(folder)]
        }
    }
}
