//! The properties of an ONNX file: what its model is.

use fivefold_common::decision_rule::DecisionRule;

use crate::graph::scores_of;
use crate::proto::StringStringEntryProto;
use crate::trained_model::TrainedModel;

/// What a checkpoint does not say about its model.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// The job set.
    pub job_set: String,
    /// The names of the classes, in the order of the outputs.
    pub classes: Vec<String>,
    /// How the scores become labels.
    pub rule: DecisionRule,
}

/// The properties, all as text: `classes` as a JSON array, numbers as Python and Rust read them. `threshold` is there if all
/// classes have the same, and `thresholds`, as a JSON array, if each has its own; multiclass has neither.
pub(crate) fn properties(model: &TrainedModel, about: &About) -> Vec<StringStringEntryProto> {
    let classes = serde_json::Value::from(about.classes.clone());
    let threshold = match &about.rule {
        DecisionRule::Argmax => None,
        DecisionRule::Threshold { threshold, .. } => Some(("threshold", threshold.to_string())),
        DecisionRule::PerClass { thresholds, .. } => {
            Some(("thresholds", serde_json::Value::from(thresholds.clone()).to_string()))
        }
    };
    let properties = [
        ("job_set", about.job_set.clone()),
        ("fold", model.fold.to_string()),
        ("classes", classes.to_string()),
        ("task", model.spec.task.to_string()),
        ("scores", scores_of(model.spec.task).to_owned()),
        ("model_name", model.spec.model_name.to_string()),
        ("image_size", model.spec.image_size.to_string()),
        ("fivefold_version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let properties = properties.into_iter().chain(threshold);
    properties.map(|(key, value)| StringStringEntryProto { key: key.to_owned(), value }).collect()
}
