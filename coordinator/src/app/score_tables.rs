//! Score tables between the check of a result and the step that uses it, so that each is read once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use fivefold_common::ids::{Digest, Fold};
use fivefold_common::manifest::LabelledRow;
use fivefold_common::scores::ScoreTable;

use super::{Coordinator, blocking};
use crate::error::Error;

/// The most scores that are held: 500,000 rows of 28 classes, some 100 MB. The tables of the Human Protein Atlas's five
/// folds have 105,000 rows.
const MAX_SCORES: usize = 500_000 * 28;

type Held = VecDeque<(Digest, Arc<ScoreTable>)>;

/// The newest tables that were checked and not used yet. A table that is not here is read from its blob.
#[derive(Debug, Clone, Default)]
pub struct ScoreTables {
    tables: Arc<Mutex<Held>>,
}

impl ScoreTables {
    fn get(&self, digest: Digest) -> Option<Arc<ScoreTable>> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.iter().find(|(held, _)| *held == digest).map(|(_, table)| table.clone())
    }

    fn insert(&self, digest: Digest, table: Arc<ScoreTable>) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|(held, _)| *held != digest);
        tables.push_back((digest, table));
        while tables.iter().map(|(_, table)| table.rows.len() * table.class_count).sum::<usize>() > MAX_SCORES {
            tables.pop_front();
        }
    }

    fn remove(&self, digest: Digest) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|(held, _)| *held != digest);
    }
}

/// Checks that a blob is a score table with exactly the expected rows, in their order, and holds it until it is used.
pub(super) async fn check_scores(
    coordinator: &Coordinator,
    digest: Digest,
    class_count: usize,
    fold: Fold,
    expected: Vec<LabelledRow>,
) -> Result<(), Error> {
    let table = read(coordinator, digest, class_count, fold, expected).await?;
    coordinator.score_tables.insert(digest, table);
    Ok(())
}

/// Reads a score table with exactly the expected rows, in their order.
pub(super) async fn read_scores(
    coordinator: &Coordinator,
    digest: Digest,
    class_count: usize,
    fold: Fold,
    expected: Vec<LabelledRow>,
) -> Result<ScoreTable, Error> {
    Ok(Arc::unwrap_or_clone(read(coordinator, digest, class_count, fold, expected).await?))
}

/// Takes a score table with exactly the expected rows, in their order.
pub(super) async fn take_scores(
    coordinator: &Coordinator,
    digest: Digest,
    class_count: usize,
    fold: Fold,
    expected: Vec<LabelledRow>,
) -> Result<ScoreTable, Error> {
    let table = read(coordinator, digest, class_count, fold, expected).await?;
    coordinator.score_tables.remove(digest);
    Ok(Arc::unwrap_or_clone(table))
}

async fn read(
    coordinator: &Coordinator,
    digest: Digest,
    class_count: usize,
    fold: Fold,
    expected: Vec<LabelledRow>,
) -> Result<Arc<ScoreTable>, Error> {
    let name = format!("score table of fold {fold}");
    let held = coordinator.score_tables.get(digest);
    let bytes = match held {
        Some(_) => None,
        None => Some(coordinator.blobs.read(digest).await?),
    };
    blocking(move || {
        let table = match (held, bytes) {
            (Some(table), _) => table,
            (None, bytes) => {
                let table = ScoreTable::read_csv(&name, bytes.unwrap_or_default().as_ref());
                Arc::new(table.map_err(|error| Error::BadContent(error.to_string()))?)
            }
        };
        compare(&name, &table, class_count, fold, &expected)?;
        Ok(table)
    })
    .await
}

/// Refuses a table whose rows are not the expected ones.
fn compare(
    name: &str,
    table: &ScoreTable,
    class_count: usize,
    fold: Fold,
    expected: &[LabelledRow],
) -> Result<(), Error> {
    if table.class_count != class_count {
        let found = table.class_count;
        let problem = format!("{name}: it has the scores of {found} classes, where {class_count} are expected");
        return Err(Error::BadContent(problem));
    }
    for (place, (row, expected)) in table.rows.iter().zip(expected).enumerate() {
        let same = row.id == expected.id && row.source == expected.source && row.target == expected.labels;
        if !same || row.fold != fold {
            return Err(Error::BadContent(format!(
                "{name}: row {} is {}/{} of fold {} with labels {:?}, where {}/{} with labels {:?} is expected",
                place + 1,
                row.source,
                row.id,
                row.fold,
                row.target.to_string(),
                expected.source,
                expected.id,
                expected.labels.to_string()
            )));
        }
    }
    if table.rows.len() != expected.len() {
        let (found, expected) = (table.rows.len(), expected.len());
        return Err(Error::BadContent(format!("{name}: {found} rows, where {expected} are expected")));
    }
    Ok(())
}
