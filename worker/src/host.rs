//! Facts of this machine, and signals to its processes.

use std::io;

use rustix::process::{Pid, Signal, kill_process};

/// The host's name; `worker` where it is not text.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_str().unwrap_or_default().trim().to_owned();
    if name.is_empty() { "worker".into() } else { name }
}

/// Asks a process to terminate (SIGTERM).
///
/// # Errors
/// When there is no such process, or it belongs to another user.
pub fn terminate(process_id: u32) -> io::Result<()> {
    let pid = i32::try_from(process_id).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, Signal::TERM)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_name() {
        let expected = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(host_name(), expected.trim());
        assert!(terminate(0).is_err());
    }
}
