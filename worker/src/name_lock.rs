//! The lock on a worker's name: one process of a machine works for a coordinator under a name.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use anyhow::Context as _;
use fivefold_common::ids::Digest;
use fivefold_proto::v1;

/// A name that is held until this is dropped or the process ends, however it ends: an abstract Unix socket, which the system
/// closes with its process. All users of the machine share its address space; containers with a network of their own do not.
#[derive(Debug)]
pub struct NameLock {
    id: String,
    taken_centiseconds: u64,
    _socket: UnixDatagram,
}

impl NameLock {
    /// Takes the lock on a name; `None` if another process of this machine has it. `coordinator` is the address.
    ///
    /// # Errors
    /// When the system makes no socket, or does not say how long it has been up.
    pub fn try_take(coordinator: &str, name: &str) -> anyhow::Result<Option<Self>> {
        let held = Digest::of(format!("{coordinator}\n{name}").as_bytes());
        let address = SocketAddr::from_abstract_name(format!("fivefold-worker-{held}")).context("the name's lock")?;
        let socket = match UnixDatagram::bind_addr(&address) {
            Ok(socket) => socket,
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot lock the name {name}")),
        };
        let id = Digest::of(format!("{}\n{held}", machine()?).as_bytes()).to_string();
        Ok(Some(Self { id, taken_centiseconds: uptime_centiseconds()?, _socket: socket }))
    }

    /// The lock as a message.
    pub fn to_wire(&self) -> v1::NameLock {
        v1::NameLock { id: self.id.clone(), taken_centiseconds: self.taken_centiseconds }
    }
}

/// Identifies the machine since its start, and the network in which its abstract sockets are known.
fn machine() -> anyhow::Result<String> {
    let boot = read("/proc/sys/kernel/random/boot_id")?;
    let network = std::fs::read_link("/proc/self/ns/net").context("cannot read /proc/self/ns/net")?;
    Ok(format!("{} {}", boot.trim(), network.display()))
}

fn uptime_centiseconds() -> anyhow::Result<u64> {
    let text = read("/proc/uptime")?;
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok());
    let seconds = seconds.context("/proc/uptime has no number of seconds")?;
    Ok((seconds * 100.0).round() as u64)
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(Path::new(path)).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_holder_per_coordinator() {
        // Of this test alone: other processes see it too.
        let coordinator = format!("http://test-{}", std::process::id());
        let first = NameLock::try_take(&coordinator, "w").unwrap().unwrap();
        assert!(NameLock::try_take(&coordinator, "w").unwrap().is_none());
        let elsewhere = NameLock::try_take(&format!("{coordinator}:1"), "w").unwrap().unwrap();
        assert_ne!(first.to_wire().id, elsewhere.to_wire().id);
        let before = first.to_wire();
        drop(first);
        let again = NameLock::try_take(&coordinator, "w").unwrap().unwrap().to_wire();
        assert_eq!(again.id, before.id);
        assert!(again.taken_centiseconds >= before.taken_centiseconds && before.taken_centiseconds > 0);
    }
}
