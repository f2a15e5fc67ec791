//! Settings that belong together, under a name.

use super::{
    Head, ImageFit, JobSetSpec, LrSchedule, ModelName, Normalization, Optimizer, Resize, SpecError, SpecOverrides,
    ThresholdRule,
};
use crate::threshold::EmptyRows;
use crate::words::words;

words! {
    /// Settings that belong together. Other settings take precedence over those of a preset.
    pub enum Preset, "preset" {
        /// The recipe of the Human Protein Atlas solution: the defaults.
        Hpa,
        /// Spytensor's solution of the same competition, with ResNet50 in place of BNInception.
        Spytensor,
        /// RGB images of any kind and shape, for a network that begins with ImageNet's weights.
        Generic,
    }
}

impl Preset {
    /// What the preset sets.
    pub fn overrides(self) -> SpecOverrides {
        match self {
            Self::Hpa => SpecOverrides::default(),
            Self::Spytensor => SpecOverrides {
                channels: Some(["red", "green", "blue", "yellow"].map(str::to_owned).to_vec()),
                model_name: Some(ModelName::Resnet50),
                head: Some(Head::Linear),
                optimizer: Some(Optimizer::Sgd),
                learning_rate: Some(0.03),
                momentum: Some(0.9),
                weight_decay: Some(1e-4),
                lr_schedule: Some(LrSchedule::Step),
                lr_step_epochs: Some(10),
                lr_factor: Some(0.1),
                batch_size: Some(32),
                epochs: Some(50),
                empty_rows: Some(EmptyRows::Leave),
                threshold: Some(ThresholdRule::Fixed(0.15)),
                ..SpecOverrides::default()
            },
            Self::Generic => SpecOverrides {
                image_size: Some(224),
                resize: Some(Resize::Bilinear),
                fit: Some(ImageFit::Crop),
                normalization: Some(Normalization::Imagenet),
                head: Some(Head::Linear),
                optimizer: Some(Optimizer::Adamw),
                learning_rate: Some(3e-4),
                weight_decay: Some(0.05),
                lr_schedule: Some(LrSchedule::Cosine),
                lr_warmup_epochs: Some(2),
                epochs: Some(30),
                // The learning rate falls to the last epoch.
                early_stop_patience: Some(30),
                tta: Some(1),
                ..SpecOverrides::default()
            },
        }
    }
}

impl SpecOverrides {
    /// Sets the keys of `spec` that have a value in a layer; each layer takes precedence over those before it. A preset counts
    /// less than every layer, and of several the last one counts. The result is not checked.
    ///
    /// # Errors
    /// If a key is missing that the preset does not set and needs.
    pub fn apply_layers(layers: Vec<Self>, spec: &mut JobSetSpec) -> Result<(), SpecError> {
        let preset = layers.iter().filter_map(|layer| layer.preset).next_back();
        if let Some(preset) = preset {
            preset.overrides().apply_to(spec);
        }
        for layer in layers {
            Self { preset: None, ..layer }.apply_to(spec);
        }
        if preset == Some(Preset::Generic) && spec.image_files.is_empty() {
            let problem = "the preset generic needs it, such as images/{id}.jpg".to_owned();
            return Err(SpecError { key: "image_files", problem });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str) -> JobSetSpec {
        JobSetSpec::from_toml(toml).unwrap()
    }

    #[test]
    fn presets_are_possible_and_the_first_is_the_default() {
        assert_eq!(of("preset = \"hpa\""), JobSetSpec::default());
        assert_eq!(of("preset = \"spytensor\"").channel_count(), 4);
        let generic = of("image_files = \"{id}.jpg\"\npreset = \"generic\"\ntta = 5");
        assert_eq!((generic.tta, generic.optimizer, generic.channel_count()), (5, Optimizer::Adamw, 3));
        assert!(
            JobSetSpec::from_toml("preset = \"mine\"").unwrap_err().to_string().contains("hpa, spytensor, generic")
        );
    }

    #[test]
    fn layers_take_precedence_over_those_before_and_all_over_the_preset() {
        let layer = |toml| SpecOverrides::from_toml(toml).unwrap();
        let mut spec = JobSetSpec::default();
        let layers = vec![
            layer("preset = \"generic\"\nepochs = 7\nimage_files = \"{id}_{channel}.png\""),
            layer("epochs = 8\nbatch_size = 4"),
            layer("preset = \"spytensor\"\nseed = 1"),
        ];
        assert_eq!(SpecOverrides::apply_layers(layers, &mut spec), Ok(()));
        assert_eq!((spec.epochs, spec.batch_size, spec.seed, spec.learning_rate), (8, 4, 1, 0.03));
        assert_eq!((spec.resize, spec.channel_count()), (Resize::HpaArea, 4));
    }

    #[test]
    fn the_preset_generic_needs_the_files_of_the_images() {
        let apply = |toml: &[&str]| {
            let layers = toml.iter().map(|toml| SpecOverrides::from_toml(toml).unwrap()).collect();
            SpecOverrides::apply_layers(layers, &mut JobSetSpec::default()).map_err(|error| error.to_string())
        };
        let problem = "image_files: the preset generic needs it, such as images/{id}.jpg";
        assert_eq!(apply(&["preset = \"generic\""]), Err(problem.to_owned()));
        assert_eq!(apply(&["image_files = \"{id}.jpg\"", "preset = \"generic\""]), Ok(()));
        assert_eq!(apply(&["preset = \"generic\"", "preset = \"hpa\""]), Ok(()));
    }
}
