//! The rules on the task, its loss and its threshold.

use super::{ClassWeights, JobSetSpec, Loss, SpecError, Task, ThresholdRule};
use crate::threshold::EmptyRows;

impl JobSetSpec {
    /// The rules on task, loss and threshold that one entry of the table of keys cannot hold.
    pub(super) fn check_task(&self) -> Result<(), SpecError> {
        let refuse = |key, problem: String| Err(SpecError { key, problem });
        let (task, loss) = (self.task, self.loss);
        if loss.task() != task {
            let (other, suited) = (loss.task(), task.default_loss());
            return refuse("loss", format!("{loss} is for task = {other}: with task = {task} use loss = {suited}"));
        }
        if self.label_smoothing > 0.0 && loss != Loss::CrossEntropy {
            return refuse("label_smoothing", format!("it needs loss = cross_entropy, not {loss}"));
        }
        if self.class_weights != ClassWeights::None && !matches!(loss, Loss::Bce | Loss::CrossEntropy) {
            return refuse("class_weights", format!("they need loss = bce or cross_entropy, not {loss}"));
        }
        if let ClassWeights::Given(weights) = &self.class_weights
            && weights.len() != self.class_count()
        {
            let problem = format!("{} weights for {} classes", weights.len(), self.class_count());
            return refuse("class_weights", problem);
        }
        if task == Task::Multiclass {
            let reason = "with task = multiclass the highest score decides: leave it out";
            if self.threshold != ThresholdRule::Global {
                return refuse("threshold", reason.to_owned());
            }
            if self.empty_rows != EmptyRows::Argmax {
                return refuse("empty_rows", reason.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SpecOverrides;

    #[test]
    fn a_task_brings_its_loss() {
        let loss = |text: &str| JobSetSpec::from_toml(text).map(|spec| spec.loss);
        assert_eq!(loss("task = \"multiclass\""), Ok(Loss::CrossEntropy));
        assert_eq!(loss("task = \"multilabel\"\nloss = \"focal\""), Ok(Loss::Focal));
        // A loss that fits stays.
        let mut spec = JobSetSpec { loss: Loss::SoftF1, ..JobSetSpec::default() };
        SpecOverrides::from_toml("task = \"multilabel\"").unwrap().apply_to(&mut spec);
        assert_eq!(spec.loss, Loss::SoftF1);
        SpecOverrides::from_toml("task = \"multiclass\"").unwrap().apply_to(&mut spec);
        assert_eq!((spec.loss, spec.check()), (Loss::CrossEntropy, Ok(())));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let multiclass = "task = \"multiclass\"\n";
        for (text, wanted) in [
            (
                "loss = \"cross_entropy\"",
                "loss: cross_entropy is for task = multiclass: with task = multilabel use loss = bce",
            ),
            (
                "task = \"multiclass\"\nloss = \"focal\"",
                "loss: focal is for task = multilabel: with task = multiclass use loss = cross_entropy",
            ),
            ("label_smoothing = 0.1", "label_smoothing: it needs loss = cross_entropy, not bce"),
            (
                "loss = \"focal\"\nclass_weights = \"balanced\"",
                "class_weights: they need loss = bce or cross_entropy, not focal",
            ),
            (&format!("{multiclass}threshold = 0.5"), "threshold: with task = multiclass the highest score decides"),
            (&format!("{multiclass}empty_rows = \"leave\""), "empty_rows: with task = multiclass the highest score"),
        ] {
            let message = JobSetSpec::from_toml(text).unwrap_err().to_string();
            assert!(message.starts_with(wanted), "{text}: {message}");
        }
        let smooth = format!("{multiclass}label_smoothing = 0.1\nclass_weights = \"balanced\"");
        assert!(JobSetSpec::from_toml(&smooth).is_ok());
    }
}
