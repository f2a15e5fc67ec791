//! The images of a spec: their channels, and how they get their size.

use super::{Augmentation, ImageFit, JobSetSpec, Normalization, Resize, SpecError};
use crate::augmentation::AugmentationStep;
use crate::image_files::ImageFiles;

impl JobSetSpec {
    /// The number of channels of an image, 1 to 16. That of an invalid description is 3.
    pub fn channel_count(&self) -> usize {
        ImageFiles::of(self).map_or(3, |files| files.content.channel_count())
    }

    /// The steps of `augmentations`; none if it is empty or cannot be read, which the check of the spec finds.
    pub fn augmentation_steps(&self) -> Vec<AugmentationStep> {
        self.augmentations.iter().filter_map(|step| step.parse().ok()).collect()
    }

    /// The rules on images that one entry of the table of keys cannot hold.
    pub(super) fn check_images(&self) -> Result<(), SpecError> {
        let refuse = |key, problem: String| Err(SpecError { key, problem });
        let channels = ImageFiles::of(self)?.content.channel_count();
        if self.normalization == Normalization::Imagenet && channels != 3 {
            let problem = format!("imagenet is for red, green and blue, and the images have {channels} channels");
            return refuse("normalization", problem);
        }
        for step in &self.augmentations {
            if let Err(problem) = step.parse::<AugmentationStep>() {
                return refuse("augmentations", problem);
            }
        }
        if self.augmentation == Augmentation::None && !self.augmentations.is_empty() {
            return refuse("augmentations", "leave them out, or leave out augmentation = none".to_owned());
        }
        if self.resize == Resize::Exact && self.fit != ImageFit::Stretch {
            return refuse("fit", format!("{} needs resize = area or bilinear: exact images are not fitted", self.fit));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_cannot_be_used_are_refused() {
        let message = |toml: &str| JobSetSpec::from_toml(toml).unwrap_err().to_string();
        let grey = "image_files = \"{id}.png\"\nchannels = [\"grey\"]\n";
        assert_eq!(JobSetSpec::from_toml(grey).unwrap().channel_count(), 1);
        assert_eq!(JobSetSpec::default().channel_count(), 3);
        for (toml, wanted) in [
            (format!("{grey}normalization = \"imagenet\""), "normalization: imagenet is for red, green and blue"),
            ("resize = \"exact\"\nfit = \"crop\"".to_owned(), "fit: crop needs resize = area or bilinear"),
            ("image_files = \"a.png\"".to_owned(), "image_files: \"a.png\" lacks {id}"),
            ("augmentations = [\"crop 2\"]".to_owned(), "augmentations: \"crop 2\": expected numbers from 0.01 to 1"),
            ("augmentation = \"none\"\naugmentations = [\"crop 0.5\"]".to_owned(), "augmentations: leave them out"),
            ("resize = \"cubic\"".to_owned(), "expected one of hpa_area, exact, area, bilinear"),
        ] {
            let message = message(&toml);
            assert!(message.contains(wanted), "{toml}: {message}");
        }
    }
}
