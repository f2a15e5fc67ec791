//! A process that runs out of memory has to end, so that its lease runs out and another worker goes on.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

const VARIABLES: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];

/// Starts this program again without backtraces, as the same process, if the environment asks for them.
///
/// The standard library makes a backtrace under a lock. If memory runs out meanwhile, it takes the lock again to report that,
/// and waits for itself for ever, instead of ending the process.
pub fn switch_off() {
    if !VARIABLES.iter().any(|name| std::env::var_os(name).is_some_and(|value| value != "0")) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Returns only if it fails.
    let error = command.args(arguments).envs(VARIABLES.map(|name| (name, "0"))).exec();
    eprintln!("warning: out of memory, this process may hang: backtraces cannot be switched off: {error}");
}
