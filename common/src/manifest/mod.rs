//! Lists of images as CSV files, their folds, and the training and validation rows of a fold.
//!
//! A list is a [`Manifest`]. [`FoldTable::split`] splits a job set's lists into folds, or [`GivenFolds`] brings a split
//! that was made elsewhere. [`FoldRows::of`] gives the rows of one fold, and [`SplitReport`] has the figures of a split.

mod csv_rows;
mod error;
mod fold_rows;
mod fold_table;
mod given_folds;
mod label_columns;
mod list;
mod split;
mod split_report;

pub use error::{ManifestError, ManifestProblem};
pub use fold_rows::{FoldRows, FoldRowsError, LabelledRow};
pub use fold_table::{FoldRow, FoldTable};
pub use given_folds::{GivenFolds, GivenFoldsError};
pub use list::{GroupColumn, Manifest, ManifestRow, shared_id};
pub use split::{RareLabels, SplitError, rare_labels};
pub use split_report::{GroupReport, SplitReport};
