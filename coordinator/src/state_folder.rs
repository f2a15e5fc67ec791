//! A state folder from the outside: how it is made, whether it is whole, and a copy of it that is.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use fivefold_common::durable_file;
use fivefold_common::ids::Digest;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

const DATABASE_FILE: &str = "fivefold.sqlite";

/// What was found in a state folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Blobs that the database names.
    pub blobs: usize,
    /// What would lose something: each is a sentence.
    pub problems: Vec<String>,
    /// What only takes up room.
    pub orphans: Vec<String>,
}

/// Makes the folder and its database's file where they are not there yet, for their owner's eyes alone, and returns the file's
/// path. The file belongs to whoever the folder belongs to: root may make a token before the service's user has written anything.
///
/// # Errors
/// When they cannot be made.
pub fn make(state: &Path) -> anyhow::Result<PathBuf> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.with_context(|| format!("cannot make the state folder {}", state.display()))?;
    let path = state.join(DATABASE_FILE);
    match make_file(state, &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {}", path.display()))
        }
        _ => Ok(path),
    }
}

fn make_file(state: &Path, path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let folder = fs::metadata(state)?;
    if file.metadata()?.uid() == 0 && folder.uid() != 0 {
        chown(path, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

/// The path of the database's file.
///
/// # Errors
/// When it is not there.
pub fn database_file(state: &Path) -> anyhow::Result<PathBuf> {
    let file = state.join(DATABASE_FILE);
    ensure!(file.exists(), "{} is no state folder of a coordinator: it has no {DATABASE_FILE}", state.display());
    Ok(file)
}

async fn open_read_only(state: &Path) -> anyhow::Result<SqliteConnection> {
    let file = database_file(state)?;
    let options = SqliteConnectOptions::new().filename(&file).read_only(true);
    options.connect().await.with_context(|| format!("cannot open {}", file.display()))
}

async fn named_blobs(connection: &mut SqliteConnection) -> anyhow::Result<Vec<(String, u64)>> {
    let rows = sqlx::query!("SELECT digest, size_bytes FROM artifacts ORDER BY digest").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.digest, row.size_bytes as u64)).collect())
}

/// Looks whether the database is sound, every blob that it names is there whole, and every foreign key leads somewhere. Reads
/// every byte. A coordinator may be running; what it uploads meanwhile may count as an orphan.
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
        findings.problems.push(format!("the database: {dangling} rows name something that is not there"));
    }
    let named = named_blobs(&mut connection).await?;
    findings.blobs = named.len();
    let folder = state.join("artifacts");
    let mut held: HashSet<String> = HashSet::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        held.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    for (digest, size_bytes) in named {
        if !held.remove(&digest) {
            findings.problems.push(format!("artifact {digest} is missing"));
            continue;
        }
        let path = folder.join(&digest);
        let mut hasher = blake3::Hasher::new();
        let read = File::open(&path).and_then(|file| hasher.update_reader(file).map(|_| ()));
        read.with_context(|| path.display().to_string())?;
        if hasher.count() != size_bytes || Digest::from(hasher.finalize()).to_string() != digest {
            findings.problems.push(format!("artifact {digest} is damaged"));
        }
    }
    findings.orphans = held.into_iter().collect();
    findings.orphans.sort();
    Ok(findings)
}

/// Copies a state folder, whose coordinator may be running, to `out`, which must not be there yet. The copy is of one moment, and
/// a coordinator can be started on it. Blobs are hard links where the file system allows it, since they never change.
///
/// # Errors
/// When something cannot be read or written; then there is no `out`.
pub async fn back_up(state: &Path, out: &Path) -> anyhow::Result<usize> {
    ensure!(!out.exists(), "{} is there already: name a new folder", out.display());
    let mut connection = open_read_only(state).await?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let unfinished = tempfile::Builder::new().prefix(".fivefold-backup-").tempdir_in(parent)?;
    let (from, to) = (state.join("artifacts"), unfinished.path().join("artifacts"));
    fs::create_dir_all(&to)?;
    // Once before the database's moment, for checkpoints that are deleted after it; once after it, for what came in between.
    for (digest, _) in named_blobs(&mut connection).await? {
        copy_blob(&from.join(&digest), &to.join(&digest)).with_context(|| digest)?;
    }
    let copy = unfinished.path().join(DATABASE_FILE);
    let name = copy.to_str().context("the folder's name is not UTF-8")?;
    sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await.context("copying the database")?;
    let named = named_blobs(&mut open_read_only(unfinished.path()).await?).await?;
    for (digest, _) in &named {
        copy_blob(&from.join(digest), &to.join(digest)).with_context(|| digest.clone())?;
        ensure!(to.join(digest).exists(), "artifact {digest} is missing in {}", state.display());
    }
    let wanted: HashSet<&str> = named.iter().map(|(digest, _)| digest.as_str()).collect();
    for entry in fs::read_dir(&to)? {
        let entry = entry?;
        if !wanted.contains(entry.file_name().to_string_lossy().as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    File::open(&copy)?.sync_all()?;
    File::open(&to)?.sync_all()?;
    durable_file::rename(unfinished.path(), out)?;
    // Nothing is left to delete.
    let _ = unfinished.keep();
    Ok(named.len())
}

/// Copies a blob unless it is there already, or is not at its old place any more.
fn copy_blob(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotFound) => {
            Ok(())
        }
        Err(_) => {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()
        }
        Ok(()) => Ok(()),
    }
}
