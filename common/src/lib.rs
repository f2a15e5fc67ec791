//! The vocabulary and the domain of Fivefold, which trains one network per cross-validation fold: without network, database
//! or tensors.
//!
//! Data flows one way. A data set ([`dataset_file`]) has lists, and images whose files a template names ([`image_files`]). A
//! list of images and their labels ([`manifest`], [`labels`], [`classes`]) is split into stratified folds ([`folds`]). A job set ([`job_set`]) with its settings ([`spec`]) is one job per fold ([`job`]); while a worker runs a
//! job, it reports [`progress`] and stores [`checkpoint`]s and other [`artifact`]s. The out-of-fold scores of all folds
//! ([`scores`]) determine a [`decision_rule`], by default one [`threshold`], which maximises macro F1 ([`macro_f1`]), and the
//! [`report`] with all [`metrics`]. The mean of the folds' scores of the test list becomes the [`submission`].
//!
//! Random choices are functions of a key ([`randomness`]), so that results do not depend on the machine or on
//! interruptions; only the folds use numpy's generator ([`random_state`]), because they equal Python's.
//!
//! ```
//! use fivefold_common::manifest::{FoldTable, Manifest};
//! use fivefold_common::spec::JobSetSpec;
//!
//! let list = "Id,Target\na,0 16\nb,0\nc,16\nd,\n";
//! let spec = JobSetSpec::from_toml("folds = 2\nepochs = 10")?;
//! let train = Manifest::read_labelled_csv("train.csv", &spec, list.as_bytes())?;
//! let folds = FoldTable::split(&spec, &train, None)?;
//! assert_eq!(folds.rows.len(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]

pub mod artifact;
pub mod augmentation;
pub mod checkpoint;
pub mod classes;
pub mod data_set_name;
pub mod dataset_file;
pub mod decision_rule;
pub mod durable_file;
pub mod early_stop;
pub mod eta;
pub mod event;
pub mod finding;
pub mod fold_set;
pub mod folds;
pub mod ids;
pub mod image_files;
pub mod job;
pub mod job_set;
pub mod labels;
pub mod log_line;
pub mod macro_f1;
pub mod manifest;
pub mod metrics;
pub mod network;
pub mod objective;
pub mod one_line;
pub mod paired_test;
pub mod progress;
pub mod random_state;
pub mod randomness;
pub mod report;
pub mod role;
pub mod score_array;
pub mod scores;
pub mod size;
pub mod spec;
pub mod submission;
pub mod threshold;
mod words;

pub use words::UnknownWord;
