//! The SQLite file: one writer, several readers. A write is a task of its own, so that a call which is dropped by its client
//! cannot stop a transaction halfway.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, watch};

use crate::error::Error;

/// What a write returns, borrowing its connection.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// The database of one state folder.
#[derive(Debug, Clone)]
pub struct Database {
    writer: Arc<Mutex<Writer>>,
    readers: SqlitePool,
    changes: watch::Sender<u64>,
}

/// The one connection that writes. There is none after a failure, until the next write.
#[derive(Debug)]
struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
}

impl Database {
    /// Opens the file, makes it if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, or is from a newer version.
    pub async fn open(file: &Path) -> Result<Database, Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let first = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        let migrated = sqlx::migrate!("../migrations").run(&first).await;
        first.close().await;
        migrated.map_err(|error| Error::Stored(format!("{}: {error}", file.display())))?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options.clone().read_only(true)).await?;
        let writer = Writer { connection: Some(options.connect().await?), options };
        Ok(Database { writer: Arc::new(Mutex::new(writer)), readers, changes: watch::Sender::new(0) })
    }

    /// Runs `work` in one transaction, which is committed when it returns `Ok`. It runs to its end even if the caller goes
    /// away. Everyone who watches [`Database::changes`] is woken after the commit.
    ///
    /// # Errors
    /// Those of `work`, or of the commit.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let (writer, changes) = (self.writer.clone(), self.changes.clone());
        let task = tokio::spawn(async move {
            let mut writer = writer.lock().await;
            let mut connection = match writer.connection.take() {
                Some(connection) => connection,
                None => writer.options.connect().await?,
            };
            let outcome = transact(&mut connection, work).await;
            // On a full disk SQLite ends the transaction by itself, and the connection would not know: it is not used again.
            if !matches!(outcome, Err(Error::Database(_))) {
                writer.connection = Some(connection);
            }
            if outcome.is_ok() {
                changes.send_modify(|count| *count += 1);
            }
            outcome
        });
        task.await.unwrap_or_else(|error| Err(Error::Stored(format!("a write ended early: {error}"))))
    }

    /// The readers' connections.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Changes with each write.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

async fn transact<T, F>(connection: &mut SqliteConnection, work: F) -> Result<T, Error>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
{
    // IMMEDIATE: a deferred transaction that turns into a write can fail with BUSY at once.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let value = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(value)
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
        let database = Database::open(&folder.path().join("fivefold.sqlite")).await.unwrap();
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
}
