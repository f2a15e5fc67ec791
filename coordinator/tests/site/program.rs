//! The coordinator program as a process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

pub(crate) const COORDINATOR: &str = env!("CARGO_BIN_EXE_fivefold-coordinator");

/// A coordinator process. Dropping it kills it.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) url: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts `command` with the arguments of a coordinator. The error is its log.
    pub(crate) fn start(mut command: Command, state: &Path) -> Result<Program, String> {
        command.args(["--listen", "127.0.0.1:0", "--state"]).arg(state).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = Vec::new();
        loop {
            let Some(Ok(line)) = lines.next() else {
                assert!(!child.wait().unwrap().success(), "it exited with success and did not listen: {log:?}");
                return Err(log.concat());
            };
            log.push(line.clone());
            if let Some((_, url)) = line.split_once("listening on ") {
                let log = Arc::new(Mutex::new(log));
                let more = log.clone();
                std::thread::spawn(move || {
                    lines.map_while(Result::ok).for_each(|line| more.lock().unwrap().push(line))
                });
                return Ok(Program { child, url: url.trim().to_owned(), log });
            }
        }
    }

    /// The lines logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
