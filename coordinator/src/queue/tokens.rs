//! The tokens that were made and not revoked.

use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;

/// A token as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// What it is called.
    pub name: String,
    /// `user`, `worker` or `read-only`.
    pub role: String,
    /// BLAKE3 of the token, 32 bytes.
    pub hash: Vec<u8>,
    /// When it was made.
    pub created_ms: i64,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
}

/// Every token that was ever made, by name.
///
/// # Errors
/// When the database fails.
pub async fn all(executor: impl SqliteExecutor<'_>) -> Result<Vec<TokenRow>, Error> {
    let rows = sqlx::query_as!(TokenRow, "SELECT name, role, hash, created_ms, revoked_ms FROM tokens ORDER BY name");
    Ok(rows.fetch_all(executor).await?)
}

/// Stores a new token.
///
/// # Errors
/// When its name is taken.
pub async fn insert(
    connection: &mut SqliteConnection,
    now: Timestamp,
    name: &str,
    role: &str,
    hash: &[u8],
) -> Result<(), Error> {
    let taken = sqlx::query_scalar!("SELECT id FROM tokens WHERE name = ?", name).fetch_optional(&mut *connection);
    if taken.await?.is_some() {
        return Err(Error::WrongState(format!("there is a token {name:?} already: choose another name")));
    }
    sqlx::query!("INSERT INTO tokens (name, role, hash, created_ms) VALUES (?, ?, ?, ?)", name, role, hash, now.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Revokes a token.
///
/// # Errors
/// When there is none of that name.
pub async fn revoke(connection: &mut SqliteConnection, now: Timestamp, name: &str) -> Result<(), Error> {
    let revoked = sqlx::query!("UPDATE tokens SET revoked_ms = coalesce(revoked_ms, ?) WHERE name = ?", now.0, name);
    if revoked.execute(connection).await?.rows_affected() == 0 {
        return Err(Error::NotFound { what: "token", name: name.to_owned() });
    }
    Ok(())
}
