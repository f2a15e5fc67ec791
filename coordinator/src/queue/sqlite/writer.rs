//! The SQLite file: one writer, several readers. Writes that wait for the disk at the same time are committed together: each
//! has its own savepoint, and none is answered before all are on the disk. A write runs to its end even if its caller goes
//! away, so that a call which is dropped by its client cannot stop a transaction halfway.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Acquire as _, ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Error;

/// How many writes are committed together at most.
const MOST_WRITES: usize = 256;

/// A write under way, borrowing its connection.
type Write<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// The versions of the schema.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// What is wrong with a database of a version that this program does not know.
pub(crate) fn newer_schema(file: &Path, version: i64) -> String {
    format!("{} is of a newer version of Fivefold, with schema {version}: start that version", file.display())
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Until the disk has it.
    Disk,
    /// Until the operating system has it: a crash of the machine may lose it. For tests.
    System,
}

/// The database of one state folder.
#[derive(Debug, Clone)]
pub(super) struct Database {
    writes: mpsc::UnboundedSender<Box<dyn WaitingWrite>>,
    readers: SqlitePool,
    changes: watch::Sender<u64>,
}

impl Database {
    /// Opens the file, makes it if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, or is from a newer version.
    pub(super) async fn open(file: &Path, durability: Durability) -> Result<Database, Error> {
        let synchronous = match durability {
            Durability::Disk => SqliteSynchronous::Full,
            Durability::System => SqliteSynchronous::Off,
        };
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let first = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        let migrated = MIGRATIONS.run(&first).await;
        first.close().await;
        migrated.map_err(|error| match error {
            MigrateError::VersionMissing(version) => Error::Stored(newer_schema(file, version)),
            error => Error::Stored(format!("{}: {error}", file.display())),
        })?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options.clone().read_only(true)).await?;
        let (writes, waiting) = mpsc::unbounded_channel();
        let changes = watch::Sender::new(0);
        tokio::spawn(write_all(options, waiting, changes.clone()));
        Ok(Database { writes, readers, changes })
    }

    /// Runs `work`, and commits what it did when it returns `Ok`. Everyone who watches [`Database::changes`] is woken after the
    /// commit.
    ///
    /// # Errors
    /// Those of `work`, or of the commit.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Write<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let ended_early = || Error::EndedEarly("a write");
        self.writes.send(Box::new(Waiting { work: Some(work), outcome: None, answer })).map_err(|_| ended_early())?;
        answered.await.unwrap_or_else(|_| Err(ended_early()))
    }

    /// The readers' connections.
    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Changes with each write.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A write that waits for its turn.
trait WaitingWrite: Send {
    /// Does it, and says whether what it did is to be kept.
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> Pin<Box<dyn Future<Output = bool> + Send + 'c>>;

    /// Tells its caller what became of it; `failure` is that of the commit.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Waiting<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, Error>>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> WaitingWrite for Waiting<T, F>
where
    T: Send,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Write<'c, T> + Send,
{
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> Pin<Box<dyn Future<Output = bool> + Send + 'c>> {
        Box::pin(async {
            if let Some(work) = self.work.take() {
                self.outcome = Some(work(connection).await);
            }
            self.outcome.as_ref().is_some_and(Result::is_ok)
        })
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let outcome = match (self.outcome, failure) {
            // Its own failure says more than the commit's.
            (Some(Err(error)), _) | (_, Some(error)) => Err(error),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => return,
        };
        // The caller may have gone away.
        let _ = self.answer.send(outcome);
    }
}

/// Takes writes as they come, until no database is left to send any.
async fn write_all(
    options: SqliteConnectOptions,
    mut waiting: mpsc::UnboundedReceiver<Box<dyn WaitingWrite>>,
    changes: watch::Sender<u64>,
) {
    let mut connection = None;
    let mut writes = Vec::new();
    while waiting.recv_many(&mut writes, MOST_WRITES).await > 0 {
        let (options, batch) = (options.clone(), std::mem::take(&mut writes));
        let held = connection.take();
        // A task of its own: a write that panics takes its batch with it, and no later one.
        let done = tokio::spawn(async move { commit_together(options, held, batch).await });
        // After a failure there is none: on a full disk SQLite ends the transaction by itself, which the connection would not
        // know. The next batch opens a new one.
        connection = done.await.ok().flatten();
        changes.send_modify(|count| *count += 1);
    }
}

/// Runs the writes in one transaction and answers them. Returns the connection if it may be used again.
async fn commit_together(
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    mut batch: Vec<Box<dyn WaitingWrite>>,
) -> Option<SqliteConnection> {
    let connected = match connection {
        Some(connection) => Ok(connection),
        None => options.connect().await,
    };
    let committed = match connected {
        Ok(mut connection) => transact(&mut connection, &mut batch).await.map(|()| connection),
        Err(error) => Err(error),
    };
    for write in batch {
        write.answer(committed.as_ref().err().map(commit_failure));
    }
    committed.ok()
}

async fn transact(connection: &mut SqliteConnection, batch: &mut [Box<dyn WaitingWrite>]) -> Result<(), sqlx::Error> {
    // IMMEDIATE: a deferred transaction that turns into a write can fail with BUSY at once.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for write in batch {
        let mut savepoint = transaction.begin().await?;
        if write.run(&mut savepoint).await {
            savepoint.commit().await?;
        } else {
            savepoint.rollback().await?;
        }
    }
    transaction.commit().await
}

/// What each of the writes that were to be committed together is told. All of them may be tried again.
fn commit_failure(error: &sqlx::Error) -> Error {
    if is_full(error) {
        return Error::Exhausted(format!("the coordinator's disk is full ({error}); free some space, then try again"));
    }
    tracing::error!("the database could not commit: {error}");
    Error::Unavailable(format!("the database could not commit: {error}"))
}

/// SQLITE_FULL: the disk has no room for the database.
fn is_full(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "13")
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        if is_full(&error) {
            Error::Exhausted(format!("database: {error}"))
        } else {
            Error::Database(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fill(connection: &mut SqliteConnection) -> Result<(), Error> {
        for number in 0..1000 {
            let insert =
                sqlx::query("INSERT INTO artifacts (digest, kind, size_bytes, created_ms) VALUES (?, 'oof', 1, 1)");
            insert.bind(format!("{number:064}")).execute(&mut *connection).await?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn writes_go_on_after_the_disk_was_full() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("fivefold.sqlite"), Durability::Disk).await.unwrap();
        let write = database.write(|c| {
            Box::pin(async move {
                sqlx::raw_sql("PRAGMA max_page_count = 1").execute(&mut *c).await?;
                fill(c).await
            })
        });
        let full = write.await.unwrap_err();
        assert!(full.to_string().contains("full"), "{full}");
        database.write(|c| Box::pin(fill(c))).await.unwrap();
        let held = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM artifacts");
        assert_eq!(held.fetch_one(database.readers()).await.unwrap(), 1000);
    }

    #[tokio::test]
    async fn a_write_that_fails_takes_nothing_of_its_neighbours_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("fivefold.sqlite"), Durability::Disk).await.unwrap();
        let writes = (0..50).map(|number: i64| {
            let database = database.clone();
            tokio::spawn(async move {
                let write = database.write(move |c| {
                    Box::pin(async move {
                        let insert =
                            "INSERT INTO artifacts (digest, kind, size_bytes, created_ms) VALUES (?, 'oof', 1, 1)";
                        sqlx::query(insert).bind(number.to_string()).execute(&mut *c).await?;
                        if number % 5 == 0 { Err(Error::WrongState("no".into())) } else { Ok(number) }
                    })
                });
                (number, write.await)
            })
        });
        for write in writes.collect::<Vec<_>>() {
            let (number, outcome) = write.await.unwrap();
            assert_eq!(outcome.is_ok(), number % 5 != 0);
        }
        let held = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM artifacts");
        assert_eq!(held.fetch_one(database.readers()).await.unwrap(), 40);

        // One that panics is answered too, and the next one is done.
        let panicked = database.write(|_| -> Write<'_, ()> { panic!("a fault of ours") }).await;
        assert!(panicked.unwrap_err().to_string().contains("ended early"));
        database.write(|c| Box::pin(fill(c))).await.unwrap();
    }
}
