//! Messages of the coordinator as text and JSON. Pure functions.

pub(crate) mod disk;
pub(crate) mod event;
pub(crate) mod job;
pub(crate) mod job_set;
pub(crate) mod json;
pub(crate) mod report;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod worker;
