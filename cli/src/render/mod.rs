//! Messages of the coordinator as text and JSON. Pure functions.

pub(crate) mod braille;
pub(crate) mod chart;
pub(crate) mod comparison;
pub(crate) mod data_set;
pub(crate) mod dataset;
pub(crate) mod disk;
pub(crate) mod epoch_history;
pub(crate) mod event;
pub(crate) mod fold_table;
pub(crate) mod job;
pub(crate) mod job_set;
pub(crate) mod json;
pub(crate) mod log_line;
pub(crate) mod page;
pub(crate) mod report;
pub(crate) mod sparkline;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod view;
pub(crate) mod worker;
