//! A process that runs out of memory ends, also where backtraces are wanted. It has no other thread, whose own lack of memory
//! might end it: so this is a program without a test harness.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fivefold_worker::backtraces;

const PATIENCE: Duration = Duration::from_secs(60);
/// Set for the process that runs out of memory.
const CHILD: &str = "FIVEFOLD_TEST_OUT_OF_MEMORY";
const ABORTED: i32 = 6;

/// Takes all memory, down to the smallest pieces.
fn fill_memory() -> Vec<Vec<u8>> {
    let (mut held, mut size_bytes) = (Vec::with_capacity(1_000_000), 64_usize << 20);
    while size_bytes > 0 && held.len() < held.capacity() {
        let mut piece = Vec::new();
        match piece.try_reserve_exact(size_bytes) {
            Ok(()) => held.push(piece),
            Err(_) => size_bytes /= 2,
        }
    }
    held
}

fn main() {
    if std::env::var_os(CHILD).is_some() {
        backtraces::switch_off();
        run_out_of_memory();
    }
    a_process_without_memory_ends();
}

fn run_out_of_memory() -> ! {
    let mut errors = Vec::with_capacity(10_000);
    // An error takes a backtrace where they are on. The first one finds that out.
    errors.push(anyhow::anyhow!("the first error"));
    let held = fill_memory();
    while errors.len() < errors.capacity() {
        errors.push(anyhow::anyhow!("an error"));
    }
    panic!("there is memory for {} pieces and {} errors", held.len(), errors.len());
}

fn a_process_without_memory_ends() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 4000000; exec \"$0\""]);
    command.arg(std::env::current_exe().unwrap()).envs([(CHILD, "1"), ("RUST_BACKTRACE", "1")]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the process is still there");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.signal(), Some(ABORTED), "{status}");
}
