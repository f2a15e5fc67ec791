//! Tokens.

use sqlx::SqliteConnection;

use super::rows::parsed;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{NewToken, Token};

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Token>, Error> {
    let rows = sqlx::query!("SELECT name, role, hash, revoked_ms FROM tokens ORDER BY name");
    let mut tokens = Vec::new();
    for row in rows.fetch_all(connection).await? {
        let hash = row.hash.try_into().map_err(|_| Error::Stored(format!("the hash of token {:?}", row.name)))?;
        tokens.push(Token {
            name: row.name,
            role: parsed(&row.role)?,
            hash: blake3::Hash::from_bytes(hash),
            revoked: row.revoked_ms.map(Timestamp),
        });
    }
    Ok(tokens)
}

pub(super) async fn create(connection: &mut SqliteConnection, now: Timestamp, token: &NewToken) -> Result<(), Error> {
    let taken = sqlx::query_scalar!("SELECT id FROM tokens WHERE name = ?", token.name);
    if taken.fetch_optional(&mut *connection).await?.is_some() {
        return Err(Error::WrongState(format!("there is a token {:?} already: choose another name", token.name)));
    }
    let (role, hash) = (token.role.word(), token.hash.as_bytes().as_slice());
    sqlx::query!(
        "INSERT INTO tokens (name, role, hash, created_ms) VALUES (?, ?, ?, ?)",
        token.name,
        role,
        hash,
        now.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn revoke(connection: &mut SqliteConnection, now: Timestamp, name: &str) -> Result<(), Error> {
    let revoked = sqlx::query!("UPDATE tokens SET revoked_ms = coalesce(revoked_ms, ?) WHERE name = ?", now.0, name);
    if revoked.execute(connection).await?.rows_affected() == 0 {
        return Err(Error::NotFound { what: "token", name: name.to_owned() });
    }
    Ok(())
}
