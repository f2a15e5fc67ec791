//! A disk that does not do what it should: files torn by a crash, a folder that cannot be written, writes that come up short.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use fivefold_common::ids::Digest;
use fivefold_common::role::Role;
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::queue::sqlite::{Durability, SqliteQueue};
use fivefold_coordinator::queue::{NewToken, Queue as _};
use fivefold_coordinator::state_folder;
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::site::program::{COORDINATOR, Program};
use crate::site::{Site, spec};

mod site;

/// SQLite's write-ahead log: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.
const WAL_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const PAGE_BYTES: usize = 4096;

async fn write_row(queue: &SqliteQueue, number: usize) {
    let token = NewToken { name: format!("row-{number}"), role: Role::User, hash: blake3::hash(&number.to_le_bytes()) };
    queue.create_token(Timestamp(number as i64), token).await.unwrap();
}

/// The rows of a database that is opened as after a crash, in their order.
async fn rows_after_a_crash(file: &Path) -> Vec<String> {
    let queue = SqliteQueue::open(file, Durability::Disk).await.unwrap();
    let mut reader = SqliteConnectOptions::new().filename(file).read_only(true).connect().await.unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut reader).await.unwrap();
    assert_eq!(sound, "ok");
    let names = sqlx::query_scalar("SELECT name FROM tokens ORDER BY id").fetch_all(&mut reader).await.unwrap();
    // It takes writes, too.
    write_row(&queue, 1_000_000).await;
    names
}

#[tokio::test]
async fn a_torn_file_leaves_what_was_committed_before_it() {
    const ROWS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fivefold.sqlite");
    let queue = SqliteQueue::open(&file, Durability::Disk).await.unwrap();
    for number in 0..ROWS {
        write_row(&queue, number).await;
    }
    let (main, wal) =
        (std::fs::read(&file).unwrap(), std::fs::read(folder.path().join("fivefold.sqlite-wal")).unwrap());
    let expected: Vec<String> = (0..ROWS).map(|number| format!("row-{number}")).collect();
    let reopen = async |name: String, main: &[u8], wal: &[u8]| {
        let file = folder.path().join(&name).join("fivefold.sqlite");
        std::fs::create_dir(folder.path().join(&name)).unwrap();
        std::fs::write(&file, main).unwrap();
        std::fs::write(file.with_extension("sqlite-wal"), wal).unwrap();
        rows_after_a_crash(&file).await
    };

    // Cut off anywhere: whole transactions up to there, and never fewer with more of the file.
    let mut most = 0;
    for length in (0..wal.len()).step_by(1531).chain([wal.len()]) {
        let rows = reopen(format!("cut-{length}"), &main, &wal[..length]).await;
        assert_eq!(rows, expected[..rows.len()], "after {length} bytes");
        assert!(rows.len() >= most, "after {length} bytes");
        most = rows.len();
    }
    assert_eq!(most, ROWS);

    // The last page written in part, over what had been there.
    for kept in [0, 1, 511, PAGE_BYTES / 2, PAGE_BYTES - 1] {
        let mut torn = wal.clone();
        let from = wal.len() - PAGE_BYTES + kept;
        torn[from..].fill(0x5a);
        let rows = reopen(format!("torn-{kept}"), &main, &torn).await;
        assert_eq!(rows, expected[..rows.len()]);
        assert!(rows.len() >= ROWS - 1, "only the last transaction is lost, and it was never acknowledged");
    }

    // A page of the database itself that was being written from the log: the log still has it.
    let frame = wal.len() - PAGE_BYTES - FRAME_HEADER_BYTES;
    assert_eq!((frame - WAL_HEADER_BYTES) % (PAGE_BYTES + FRAME_HEADER_BYTES), 0);
    let page = u32::from_be_bytes(*wal[frame..].first_chunk().unwrap()) as usize;
    let mut torn = main.clone();
    torn.resize(torn.len().max(page * PAGE_BYTES), 0);
    torn[page * PAGE_BYTES - PAGE_BYTES / 2..page * PAGE_BYTES].fill(0x5a);
    assert_eq!(reopen("torn-page".into(), &torn, &wal).await, expected);
}

const NOBODY: u32 = 65534;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The program as somebody for whom permissions hold: root may write everywhere.
fn unprivileged(folder: &Path) -> Command {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        return Command::new(COORDINATOR);
    }
    // A copy that everybody can reach.
    let program = folder.join("coordinator");
    std::fs::copy(COORDINATOR, &program).unwrap();
    set_mode(folder, 0o755);
    set_mode(&program, 0o755);
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(NOBODY);
    command
}

fn owned_by_nobody_else(path: &Path) {
    // Fails for everybody but root, who is the one that has to.
    let _ = chown(path, Some(NOBODY), Some(NOBODY));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named_and_work_goes_on_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    owned_by_nobody_else(&state);
    set_mode(&state, 0o555);
    let Err(said) = Program::start(unprivileged(folder.path()), &state) else { panic!("it started") };
    assert!(said.contains("Permission denied") && said.contains(&state.display().to_string()), "{said}");

    set_mode(&state, 0o755);
    let program = Program::start(unprivileged(folder.path()), &state).unwrap();
    let site = Site::of_program(program.url.clone()).await;
    let id = site.submit("r1", &spec()).await.unwrap().id;
    for sub_folder in ["artifacts", "uploads"] {
        set_mode(&state.join(sub_folder), 0o555);
    }
    let bytes = b"a checkpoint";
    let upload = || site.upload_from(v1::ArtifactKind::Checkpoint, bytes, Digest::of(bytes), 0);
    let refused = upload().await.unwrap_err();
    assert!(has_reason(&refused, Reason::Internal) && refused.message().contains("uploads"), "{refused:?}");
    // The queue is another file, and goes on.
    site.register("w").await;
    assert!(site.acquire("w", "a", 10).await.is_some());
    for sub_folder in ["artifacts", "uploads"] {
        set_mode(&state.join(sub_folder), 0o755);
    }
    upload().await.unwrap();
    assert_eq!(site.job_set(&id).await.jobs.len(), 3);
}

#[tokio::test]
async fn an_upload_that_fills_the_disk_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), 60).await;
    let bytes = b"a checkpoint";
    let digest = Digest::of(bytes);
    let upload = || site.upload_from(v1::ArtifactKind::Checkpoint, bytes, digest, 0);
    // Its folders are there when it answers.
    site.register("w").await;
    // Every write to this device finds the disk full.
    let part = folder.path().join("uploads").join(format!("{digest}.part"));
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let full = upload().await.unwrap_err();
    assert!(has_reason(&full, Reason::Exhausted) && full.message().contains("disk is full"), "{full:?}");
    std::fs::remove_file(&part).unwrap();
    upload().await.unwrap();
    site.stop().await;
}

/// The program with files of `blocks` of 512 bytes at most: longer writes come up short, then fail.
fn with_short_writes(blocks: u32) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""), COORDINATOR]);
    command
}

#[tokio::test]
async fn short_writes_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    // 1 MB, or 2 where the shell counts otherwise.
    let program = Program::start(with_short_writes(2048), &state).unwrap();
    let site = Site::of_program(program.url.clone()).await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let (kind, digest) = (v1::ArtifactKind::Checkpoint, Digest::of(&bytes));
    let refused = site.upload_from(kind, &bytes, digest, 0).await.unwrap_err();
    assert!(refused.message().contains("uploads"), "{refused:?}");

    // The log of the database grows with each, until it may not.
    let mut acknowledged = Vec::new();
    let refused = loop {
        match site.submit(&format!("r{}", acknowledged.len()), &spec()).await {
            Ok(job_set) => acknowledged.push(job_set.id),
            Err(refused) => break refused,
        }
        assert!(acknowledged.len() < 2000, "the limit does not hold");
    };
    let is_said = [Reason::Internal, Reason::Exhausted, Reason::Unavailable].map(|reason| has_reason(&refused, reason));
    assert!(is_said.contains(&true), "{refused:?}");
    assert!(!acknowledged.is_empty());
    drop(program);

    let program = Program::start(Command::new(COORDINATOR), &state).unwrap();
    let site = Site::of_program(program.url.clone()).await;
    for id in &acknowledged {
        assert_eq!(site.job_set(id).await.jobs.len(), 3, "{id}");
    }
    // What came before the limit is held, and the upload goes on from there.
    let artifact = v1::Artifact { kind: kind.into(), digest: digest.to_string(), size_bytes: bytes.len() as u64 };
    let held = v1::GetUploadRequest { artifact: Some(artifact), lease: None };
    let held = site.artifacts.clone().get_upload(held).await.unwrap().into_inner();
    assert!(!held.complete && held.offset_bytes > 0);
    site.upload_from(kind, &bytes, digest, held.offset_bytes as usize).await.unwrap();
    assert_eq!(site.download(&digest.to_string()).await, bytes);
    drop(program);
    state_folder::check(&state).await.unwrap();
}
