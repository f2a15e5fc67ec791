//! Creates, verifies and copies a state folder: the database, and the artifacts by their digests.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use fivefold_common::durable_file;
use fivefold_common::ids::Digest;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

use crate::queue::sqlite::{MIGRATIONS, newer_schema};

const DATABASE_FILE: &str = "fivefold.sqlite";
/// How many snapshots a backup takes at most. Each leaves less to copy, and less time for an artifact to be deleted.
const SNAPSHOTS: u32 = 10;

/// The result of [`check`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Artifacts in the database.
    pub artifacts: usize,
    /// Damage, a sentence each.
    pub problems: Vec<String>,
    /// Files without a row in the database.
    pub unreferenced: Vec<String>,
}

/// Creates the folder and an empty database file if they do not exist, readable by their owner only, and returns the file's
/// path. The file gets the owner of the folder: root may create a token before the service has started for the first time.
///
/// # Errors
/// When one of them cannot be created, or the folder has other files.
pub fn create(state: &Path) -> anyhow::Result<PathBuf> {
    refuse_other_folder(state)?;
    let created = DirBuilder::new().recursive(true).mode(0o700).create(state);
    created.with_context(|| format!("cannot create the state folder {}", state.display()))?;
    let path = state.join(DATABASE_FILE);
    match create_file(state, &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot create {}", path.display()))
        }
        _ => Ok(path),
    }
}

/// Refuses what can neither be nor become a state folder.
fn refuse_other_folder(state: &Path) -> anyhow::Result<()> {
    let shown = state.display();
    ensure!(!state.exists() || state.is_dir(), "{shown} is no folder: name the state folder, or a new one");
    if let Some(other) = other_file(state) {
        bail!(
            "{shown} is not a state folder: it has no {DATABASE_FILE}, and it has {other}; name the state folder, or a new one"
        );
    }
    Ok(())
}

/// Finds what would keep a coordinator from starting on a folder, which need not exist. Nothing is changed.
///
/// # Errors
/// When it is something else than a state folder, of a newer version, or cannot be read.
pub async fn check_start(state: &Path) -> anyhow::Result<()> {
    refuse_other_folder(state)?;
    let file = state.join(DATABASE_FILE);
    // Before the first start it is not there, or empty.
    if fs::metadata(&file).map_or(0, |metadata| metadata.len()) == 0 {
        return Ok(());
    }
    let mut connection = open_read_only(state).await?;
    let read = sqlx::query_scalar::<_, i64>("SELECT version FROM _sqlx_migrations").fetch_all(&mut connection).await;
    let versions = read.with_context(|| format!("cannot read {}", file.display()))?;
    match versions.into_iter().find(|version| !MIGRATIONS.version_exists(*version)) {
        Some(version) => bail!("{}", newer_schema(&file, version)),
        None => Ok(()),
    }
}

/// The name of a file in a folder that is not a state folder yet; `None` where there is none. A new disk has `lost+found`.
fn other_file(state: &Path) -> Option<String> {
    if state.join(DATABASE_FILE).exists() {
        return None;
    }
    let names = fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).find(|name| name != "lost+found")
}

fn create_file(state: &Path, path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let folder = fs::metadata(state)?;
    if file.metadata()?.uid() == 0 && folder.uid() != 0 {
        chown(path, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

/// The path of the database file.
///
/// # Errors
/// When it does not exist.
pub fn database_file(state: &Path) -> anyhow::Result<PathBuf> {
    let file = state.join(DATABASE_FILE);
    ensure!(file.exists(), "{} is not a state folder: it has no {DATABASE_FILE}", state.display());
    Ok(file)
}

async fn open_read_only(state: &Path) -> anyhow::Result<SqliteConnection> {
    let file = database_file(state)?;
    let options = SqliteConnectOptions::new().filename(&file).read_only(true);
    options.connect().await.with_context(|| format!("cannot open {}", file.display()))
}

/// Digests and sizes in bytes of all artifacts in the database.
async fn stored_artifacts(connection: &mut SqliteConnection) -> anyhow::Result<Vec<(String, u64)>> {
    let rows = sqlx::query!("SELECT digest, size_bytes FROM artifacts ORDER BY digest").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.digest, row.size_bytes as u64)).collect())
}

/// Verifies the database, its foreign keys and every byte of every artifact. A coordinator may be running; its uploads under way
/// may count as unreferenced.
///
/// # Errors
/// When the folder cannot be read.
pub async fn check(state: &Path) -> anyhow::Result<Findings> {
    let mut connection = open_read_only(state).await?;
    let mut findings = Findings::default();
    for line in sqlx::query_scalar::<_, String>("PRAGMA integrity_check").fetch_all(&mut connection).await? {
        if line != "ok" {
            findings.problems.push(format!("the database: {line}"));
        }
    }
    let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await?.len();
    if dangling > 0 {
        findings.problems.push(format!("the database: {dangling} rows refer to missing rows"));
    }
    let stored = stored_artifacts(&mut connection).await?;
    findings.artifacts = stored.len();
    let folder = state.join("artifacts");
    let mut files = HashSet::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        files.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    for (digest, size_bytes) in stored {
        if !files.remove(&digest) {
            findings.problems.push(format!("artifact {digest} is missing"));
        } else if !is_whole(&folder.join(&digest), &digest, size_bytes)? {
            findings.problems.push(format!("artifact {digest} is damaged"));
        }
    }
    findings.unreferenced = files.into_iter().collect();
    findings.unreferenced.sort();
    Ok(findings)
}

/// Whether a file has this size and digest.
fn is_whole(path: &Path, digest: &str, size_bytes: u64) -> anyhow::Result<bool> {
    let mut hasher = blake3::Hasher::new();
    let read = File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hasher.count() == size_bytes && Digest::from(hasher.finalize()).to_string() == digest)
}

/// Copies a state folder to `out`, which must not exist, and returns the number of artifacts. The coordinator may be running: the
/// copy is a snapshot of one moment. Artifacts never change, so they are hard links where the file system allows it.
///
/// # Errors
/// When something cannot be read or written; then `out` does not exist.
pub async fn back_up(state: &Path, out: &Path) -> anyhow::Result<usize> {
    ensure!(!out.exists(), "{} already exists: name a new folder", out.display());
    let mut connection = open_read_only(state).await?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let unfinished = tempfile::Builder::new().prefix(".fivefold-backup-").tempdir_in(parent)?;
    let (from, to) = (state.join("artifacts"), unfinished.path().join("artifacts"));
    fs::create_dir_all(&to)?;
    // Once before the snapshot, for checkpoints that are deleted after it, and once after it, for those added in between.
    for (digest, _) in stored_artifacts(&mut connection).await? {
        copy_artifact(&from, &to, &digest)?;
    }
    let snapshot = unfinished.path().join(DATABASE_FILE);
    let mut stored = copy_database(&mut connection, &snapshot).await?;
    for tries in 1.. {
        for (digest, _) in &stored {
            copy_artifact(&from, &to, digest)?;
        }
        let Some((missing, _)) = stored.iter().find(|(digest, _)| !to.join(digest).exists()) else { break };
        ensure!(tries < SNAPSHOTS, "artifact {missing} is missing in {}", state.display());
        // It was superseded and deleted after the snapshot, so a newer snapshot does not name it.
        fs::remove_file(&snapshot)?;
        stored = copy_database(&mut connection, &snapshot).await?;
    }
    let wanted: HashSet<&str> = stored.iter().map(|(digest, _)| digest.as_str()).collect();
    for entry in fs::read_dir(&to)? {
        let entry = entry?;
        if !wanted.contains(entry.file_name().to_string_lossy().as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    for written in [&snapshot, &to] {
        File::open(written)?.sync_all().with_context(|| format!("cannot sync {}", written.display()))?;
    }
    durable_file::rename(unfinished.path(), out)?;
    // Nothing is left to delete.
    let _ = unfinished.keep();
    Ok(stored.len())
}

/// Copies the database to the new file `snapshot`, as of one moment. Returns digests and sizes of its artifacts.
async fn copy_database(connection: &mut SqliteConnection, snapshot: &Path) -> anyhow::Result<Vec<(String, u64)>> {
    let name = snapshot.to_str().context("the name of the folder is not UTF-8")?;
    sqlx::query("VACUUM INTO ?").bind(name).execute(connection).await.context("cannot copy the database")?;
    let copy = snapshot.parent().unwrap_or(Path::new("."));
    stored_artifacts(&mut open_read_only(copy).await?).await
}

/// Copies an artifact between two folders unless it was copied before, or was deleted meanwhile.
fn copy_artifact(from: &Path, to: &Path, digest: &str) -> anyhow::Result<()> {
    let (from, to) = (from.join(digest), to.join(digest));
    match fs::hard_link(&from, &to) {
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => Ok(()),
        Err(_) => {
            let copied = fs::copy(&from, &to).and_then(|_| File::open(&to)?.sync_all());
            copied.with_context(|| format!("cannot copy {}", from.display()))
        }
        Ok(()) => Ok(()),
    }
}
