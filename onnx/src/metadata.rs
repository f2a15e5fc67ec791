//! The properties of an ONNX file: what its model is.

use crate::proto::StringStringEntryProto;
use crate::trained_model::TrainedModel;

/// What a checkpoint does not say about its model.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// The job set.
    pub job_set: String,
    /// The names of the classes, in the order of the outputs.
    pub classes: Vec<String>,
    /// The threshold that was fitted for all classes.
    pub threshold: f64,
}

/// The properties, all as text: `classes` as a JSON array, numbers as Python and Rust read them.
pub(crate) fn properties(model: &TrainedModel, about: &About) -> Vec<StringStringEntryProto> {
    let classes = serde_json::Value::from(about.classes.clone());
    let properties = [
        ("job_set", about.job_set.clone()),
        ("fold", model.fold.to_string()),
        ("classes", classes.to_string()),
        ("threshold", about.threshold.to_string()),
        ("model_name", model.spec.model_name.to_string()),
        ("image_size", model.spec.image_size.to_string()),
        ("fivefold_version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    properties.into_iter().map(|(key, value)| StringStringEntryProto { key: key.to_owned(), value }).collect()
}
