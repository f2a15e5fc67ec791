//! Pushed data sets, and the segments of their images.

use fivefold_common::data_set_name::DataSetName;
use fivefold_common::ids::Digest;
use sqlx::SqliteConnection;

use super::rows::{self, digest, optional_digest, parsed, size};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{DataSet, DataSetLists, NewDataSet};

struct Row {
    name: String,
    dataset_toml: String,
    train_digest: String,
    hpa_digest: Option<String>,
    test_digest: Option<String>,
    folds_digest: Option<String>,
    images_digest: String,
    image_count: i64,
    size_bytes: i64,
    created_ms: i64,
}

macro_rules! select_data_sets {
    ($which:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            "SELECT name, dataset_toml, train_digest, hpa_digest, test_digest, folds_digest, images_digest, image_count,
                    size_bytes, created_ms
             FROM data_sets " + $which
            $(, $argument)*
        )
    };
}

fn data_set(row: Row) -> Result<DataSet, Error> {
    Ok(DataSet {
        name: parsed(&row.name)?,
        dataset_toml: row.dataset_toml,
        lists: DataSetLists {
            train: digest(&row.train_digest)?,
            hpa: optional_digest(row.hpa_digest.as_deref())?,
            test: optional_digest(row.test_digest.as_deref())?,
            folds: optional_digest(row.folds_digest.as_deref())?,
        },
        images: digest(&row.images_digest)?,
        image_count: rows::size(row.image_count)?,
        size_bytes: size(row.size_bytes)?,
        created: Timestamp(row.created_ms),
    })
}

fn not_found(name: &DataSetName) -> Error {
    Error::NotFound { what: "data set", name: name.to_string() }
}

pub(super) async fn one(connection: &mut SqliteConnection, name: &DataSetName) -> Result<DataSet, Error> {
    let text = name.as_str();
    let row = select_data_sets!("WHERE name = ?", text).fetch_optional(connection).await?;
    data_set(row.ok_or_else(|| not_found(name))?)
}

/// All data sets by name.
pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<DataSet>, Error> {
    let rows = select_data_sets!("ORDER BY name").fetch_all(connection).await?;
    rows.into_iter().map(data_set).collect()
}

/// Stores a data set. It replaces one of the same name.
pub(super) async fn put(connection: &mut SqliteConnection, now: Timestamp, new: &NewDataSet) -> Result<(), Error> {
    let name = new.name.as_str();
    let earlier = sqlx::query_scalar!("DELETE FROM data_sets WHERE name = ? RETURNING images_digest", name);
    let earlier = earlier.fetch_optional(&mut *connection).await?;
    let DataSetLists { train, hpa, test, folds } = new.lists;
    let [train, images] = [train, new.images].map(|digest| digest.to_string());
    let [hpa, test, folds] = [hpa, test, folds].map(|digest: Option<Digest>| digest.map(|digest| digest.to_string()));
    let (image_count, size_bytes) = (rows::size_column(new.image_count)?, rows::size_column(new.size_bytes)?);
    sqlx::query!(
        "INSERT INTO data_sets (name, dataset_toml, train_digest, hpa_digest, test_digest, folds_digest, images_digest,
                                image_count, size_bytes, created_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        name,
        new.dataset_toml,
        train,
        hpa,
        test,
        folds,
        images,
        image_count,
        size_bytes,
        now.0
    )
    .execute(&mut *connection)
    .await?;
    add_segments(&mut *connection, new.images, &new.segments).await?;
    match earlier {
        Some(earlier) => remove_segments(connection, now, &earlier).await,
        None => Ok(()),
    }
}

pub(super) async fn delete(connection: &mut SqliteConnection, now: Timestamp, name: &DataSetName) -> Result<(), Error> {
    let text = name.as_str();
    let images = sqlx::query_scalar!("DELETE FROM data_sets WHERE name = ? RETURNING images_digest", text);
    let images = images.fetch_optional(&mut *connection).await?.ok_or_else(|| not_found(name))?;
    remove_segments(connection, now, &images).await
}

/// Adds the segments of pushed images, unless they are there.
pub(super) async fn add_segments(
    connection: &mut SqliteConnection,
    images: Digest,
    segments: &[Digest],
) -> Result<(), Error> {
    let (images, segments) = (images.to_string(), serde_json::json!(segments).to_string());
    sqlx::query!(
        "INSERT INTO image_segments (images_digest, segment_digest) SELECT ?, value FROM json_each(?) WHERE true
         ON CONFLICT DO NOTHING",
        images,
        segments
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the segments of pushed images, unless a data set or a job set has these images. Segments that nothing refers to any
/// more are kept for as long as other artifacts, and not for as long as those of an unfinished push.
pub(super) async fn remove_segments(
    connection: &mut SqliteConnection,
    now: Timestamp,
    images: &str,
) -> Result<(), Error> {
    let segments = sqlx::query_scalar!(
        "DELETE FROM image_segments WHERE images_digest = ?1
             AND NOT EXISTS (SELECT 1 FROM data_sets WHERE images_digest = ?1)
             AND NOT EXISTS (SELECT 1 FROM job_sets WHERE images_digest = ?1)
         RETURNING segment_digest",
        images
    );
    let segments = serde_json::json!(segments.fetch_all(&mut *connection).await?).to_string();
    sqlx::query!(
        "UPDATE artifacts SET created_ms = min(created_ms, ?) WHERE digest IN (SELECT value FROM json_each(?))",
        now.0,
        segments
    )
    .execute(connection)
    .await?;
    Ok(())
}
