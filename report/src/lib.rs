//! The report of a cross-validation as one HTML file, which needs no network and no script, and can be printed.
//!
//! [`html`] makes it from the [`Report`], the out-of-fold table behind it, the epochs of the folds and, where the images are at
//! hand, their pictures. [`comparison_html`] puts job sets beside each other. Every figure that is not in the report is computed on the rows of its fit.
#![warn(missing_docs)]

mod calibration;
mod chart;
mod class_chart;
mod class_table;
mod co_occurrence;
mod comparison;
mod comparison_page;
mod confusions;
mod fold_spread;
mod heat_map;
mod learning_curves;
mod mistakes;
mod origin;
mod page;
mod precision_recall;
mod rows;
mod threshold_chart;

use fivefold_common::progress::EpochReport;
use fivefold_common::report::Report;
use fivefold_common::scores::{ScoreTable, Source};
use fivefold_common::spec::Objective;

pub use chart::DrawError;
pub use comparison::{Comparison, FIGURES, Figure, Pair, Side, Untested};
pub use comparison_page::comparison_html;
pub use mistakes::MISTAKES;

/// All that a page shows.
pub struct Content<'a> {
    /// Its title, such as the name of the job set.
    pub title: &'a str,
    /// The report.
    pub report: &'a Report,
    /// The out-of-fold table that the report was made from.
    pub table: &'a ScoreTable,
    /// The epochs of each fold, ascending; may be empty.
    pub curves: &'a [FoldEpochs],
    /// The picture of an image, as PNG.
    pub picture: &'a dyn Fn(Source, &str) -> Picture,
}

/// The epochs of a fold.
#[derive(Debug, Clone)]
pub struct FoldEpochs {
    /// The fold, from 0.
    pub fold: u32,
    /// What the objective of the training is.
    pub objective: Objective,
    /// The epochs, ascending.
    pub epochs: Vec<EpochReport>,
}

/// A picture of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picture {
    /// The bytes of a PNG file.
    Png(Vec<u8>),
    /// None is wanted.
    None,
    /// The image cannot be read, for this reason.
    Unreadable(String),
}

/// The page as HTML.
///
/// # Errors
/// If a chart cannot be drawn.
pub fn html(content: &Content<'_>) -> Result<String, DrawError> {
    Ok(page::page(content)?.into_string())
}
