//! The size and shape that images get.

use crate::image_problem::{ImageProblem, MAX_SIDE_PIXELS};
use fivefold_common::spec::ImageFit;

/// How an image gets another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// Not at all: it must have the size.
    Exact,
    /// By averaging areas, like OpenCV's INTER_AREA; a smaller image is refused.
    Area,
    /// By bilinear interpolation between the centres of pixels, like OpenCV's INTER_LINEAR.
    Bilinear,
}

/// The square that images become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Its side in pixels.
    pub size: u32,
    /// How an image gets its size.
    pub scaling: Scaling,
    /// How an image becomes square.
    pub fit: ImageFit,
}

/// What becomes of a side of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Side {
    /// Its length.
    pub(crate) source: u32,
    /// Its length after scaling.
    pub(crate) scaled: u32,
    /// The pixels of the scaled side that are cut off before the first one that is kept.
    pub(crate) skipped: u32,
    /// The black pixels before the first one that is kept.
    pub(crate) margin: u32,
    /// The pixels that are kept.
    pub(crate) kept: u32,
}

impl Target {
    /// Refuses an image that cannot get the size.
    pub(crate) fn check(&self, width: u32, height: u32) -> Result<(), ImageProblem> {
        let expected = self.size;
        if width > MAX_SIDE_PIXELS || height > MAX_SIDE_PIXELS {
            return Err(ImageProblem::TooLarge { width, height });
        }
        if width == 0 || height == 0 {
            return Err(ImageProblem::Damaged(format!("it has {width} x {height} pixels")));
        }
        match self.scaling {
            Scaling::Exact if (width, height) != (expected, expected) => {
                Err(ImageProblem::WrongSize { width, height, expected })
            }
            Scaling::Area if self.sides([width, height]).iter().any(|side| side.scaled > side.source) => {
                Err(ImageProblem::TooSmall { width, height, expected })
            }
            _ => Ok(()),
        }
    }

    /// What becomes of width and height, which are at least 1.
    pub(crate) fn sides(&self, [width, height]: [u32; 2]) -> [Side; 2] {
        let size = self.size;
        // Width and height scaled alike, so that `side` gets the size.
        let scaled_by = |side: u32| {
            [width, height].map(|length| {
                let rounded = (u64::from(length) * u64::from(size) + u64::from(side) / 2) / u64::from(side);
                u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
            })
        };
        let scaled = match self.fit {
            ImageFit::Stretch => [size, size],
            ImageFit::Crop => scaled_by(width.min(height)),
            ImageFit::Pad => scaled_by(width.max(height)),
        };
        let side = |source: u32, scaled: u32| {
            let kept = scaled.min(size);
            Side { source, scaled, skipped: (scaled - kept) / 2, margin: (size - kept) / 2, kept }
        };
        [side(width, scaled[0]), side(height, scaled[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(scaling: Scaling, fit: ImageFit) -> Target {
        Target { size: 100, scaling, fit }
    }

    #[test]
    fn an_image_is_stretched_cropped_or_padded() {
        let sides = |fit| {
            target(Scaling::Area, fit).sides([400, 201]).map(|side| (side.scaled, side.skipped, side.margin, side.kept))
        };
        assert_eq!(sides(ImageFit::Stretch), [(100, 0, 0, 100), (100, 0, 0, 100)]);
        assert_eq!(sides(ImageFit::Crop), [(199, 49, 0, 100), (100, 0, 0, 100)]);
        assert_eq!(sides(ImageFit::Pad), [(100, 0, 0, 100), (50, 0, 25, 50)]);
    }

    #[test]
    fn smaller_images_are_enlarged_by_interpolation_only() {
        let is_refused = |scaling, fit, sides: [u32; 2]| target(scaling, fit).check(sides[0], sides[1]).is_err();
        for (fit, sides, by_area) in [
            (ImageFit::Stretch, [100, 100], false),
            (ImageFit::Stretch, [400, 99], true),
            (ImageFit::Crop, [400, 99], true),
            (ImageFit::Crop, [400, 100], false),
            (ImageFit::Pad, [400, 1], false),
            (ImageFit::Pad, [99, 99], true),
        ] {
            assert_eq!(is_refused(Scaling::Area, fit, sides), by_area, "{fit} {sides:?}");
            assert!(!is_refused(Scaling::Bilinear, fit, sides));
        }
        assert!(is_refused(Scaling::Exact, ImageFit::Stretch, [100, 101]));
        assert!(is_refused(Scaling::Bilinear, ImageFit::Stretch, [9000, 100]));
        assert!(is_refused(Scaling::Bilinear, ImageFit::Stretch, [0, 100]));
    }
}
