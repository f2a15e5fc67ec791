//! Random changes of training images, one after the other, as users list them.
//!
//! A step is a text: its name, the range of its values, and its probability, as in `rotate -10..10 p=0.3`.
//!
//! | step | values | a single number x | p, unless given |
//! |---|---|---|---|
//! | `crop` | side of a square, as a share of the image's | x..1 | 1 |
//! | `quarter_turn` | none; 0 to 3 turns, equally likely | | 1 |
//! | `flip_left_right`, `flip_top_bottom` | none | | 0.5 |
//! | `rotate`, `shear` | degrees | -x..x | 1 |
//! | `shift` | share of the side, for both directions | -x..x | 1 |
//! | `scale` | magnification | 1-x..1+x | 1 |
//! | `brightness` | what is added to pixels of 0 to 1 | -x..x | 1 |
//! | `contrast` | factor of pixels | 1-x..1+x | 1 |
//! | `noise` | deviation of normal noise, for pixels of 0 to 1 | 0..x | 1 |
//! | `erase` | sides of a black rectangle, as shares of the image's | 0..x | 1 |

use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::words::words;

/// The most steps of an augmentation.
pub(crate) const MOST_STEPS: usize = 30;

words! {
    /// What a step changes.
    pub enum Change, "step" {
        /// A square is cut out and enlarged.
        Crop,
        /// Quarter turns counter-clockwise.
        QuarterTurn,
        /// Left and right are exchanged.
        FlipLeftRight,
        /// Top and bottom are exchanged.
        FlipTopBottom,
        /// A rotation counter-clockwise, about the centre.
        Rotate,
        /// A tilt of vertical lines, about the centre.
        Shear,
        /// A shift to the right and down.
        Shift,
        /// A magnification about the centre.
        Scale,
        /// A number is added to every pixel.
        Brightness,
        /// Every pixel is multiplied by a number.
        Contrast,
        /// A normal random number is added to every pixel.
        Noise,
        /// A rectangle becomes black.
        Erase,
    }
}

/// A step of an augmentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AugmentationStep {
    /// What it changes.
    pub change: Change,
    /// The least value that is drawn; 0 for steps without values.
    pub from: f64,
    /// The bound of the values.
    pub to: f64,
    /// How likely it is for an image.
    pub probability: f64,
}

/// The possible values of a step, and the range that a single number means.
type Values = (RangeInclusive<f64>, fn(f64) -> [f64; 2]);

impl Change {
    /// `None` for steps without values.
    fn values(self) -> Option<Values> {
        let around_zero: fn(f64) -> [f64; 2] = |x| [-x, x];
        let around_one: fn(f64) -> [f64; 2] = |x| [1.0 - x, 1.0 + x];
        let up_to: fn(f64) -> [f64; 2] = |x| [0.0, x];
        match self {
            Self::QuarterTurn | Self::FlipLeftRight | Self::FlipTopBottom => None,
            Self::Crop => Some((0.01..=1.0, |x| [x, 1.0])),
            Self::Rotate => Some((-180.0..=180.0, around_zero)),
            Self::Shear => Some((-60.0..=60.0, around_zero)),
            Self::Shift => Some((-0.5..=0.5, around_zero)),
            Self::Scale => Some((0.1..=10.0, around_one)),
            Self::Brightness => Some((-1.0..=1.0, around_zero)),
            Self::Contrast => Some((0.0..=10.0, around_one)),
            Self::Noise | Self::Erase => Some((0.0..=1.0, up_to)),
        }
    }

    fn usual_probability(self) -> f64 {
        match self {
            Self::FlipLeftRight | Self::FlipTopBottom => 0.5,
            _ => 1.0,
        }
    }
}

impl FromStr for AugmentationStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let change: Change = words.next().unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
        let (mut probability, mut values) = (change.usual_probability(), None);
        for word in words {
            match word.strip_prefix("p=") {
                Some(number) => {
                    let p = number.parse().ok().filter(|p| (0.0..=1.0).contains(p));
                    probability = p.ok_or_else(|| format!("{text:?}: p should be a number from 0 to 1"))?;
                }
                None if word.starts_with('=') => {
                    return Err(format!("{text:?}: write the values without `=`, such as {change} 0.1..0.2 p=0.5"));
                }
                None if values.is_none() => values = Some(word),
                None => return Err(format!("{text:?}: {word:?} is not expected after the values")),
            }
        }
        let [from, to] = match (change.values(), values) {
            (None, None) => [0.0, 0.0],
            (None, Some(word)) => return Err(format!("{text:?}: {change} has no values, such as {word:?}")),
            (Some(_), None) => return Err(format!("{text:?}: {change} lacks its values, such as {change} 0.1..0.2")),
            (Some((limits, of_single)), Some(word)) => {
                let range = match word.split_once("..") {
                    Some((from, to)) => from.parse().ok().zip(to.parse().ok()).map(|(from, to)| [from, to]),
                    None => word.parse().ok().map(of_single),
                };
                if let (Some([from, to]), Some((first, second))) = (range, word.split_once(".."))
                    && from > to
                {
                    return Err(format!("{text:?}: {first} is above {second}: write {change} {second}..{first}"));
                }
                let is_possible = |[from, to]: &[f64; 2]| from <= to && limits.contains(from) && limits.contains(to);
                range
                    .filter(is_possible)
                    .ok_or_else(|| format!("{text:?}: expected numbers from {} to {}", limits.start(), limits.end()))?
            }
        };
        Ok(Self { change, from, to, probability })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_values_and_a_probability() {
        for (text, change, from, to, probability) in [
            ("crop 0.5", Change::Crop, 0.5, 1.0, 1.0),
            ("quarter_turn p=0.2", Change::QuarterTurn, 0.0, 0.0, 0.2),
            ("flip_left_right", Change::FlipLeftRight, 0.0, 0.0, 0.5),
            ("rotate 10 p=0.3", Change::Rotate, -10.0, 10.0, 0.3),
            ("rotate p=0.3 -10..5", Change::Rotate, -10.0, 5.0, 0.3),
            ("scale 0.25", Change::Scale, 0.75, 1.25, 1.0),
            ("noise 0.05", Change::Noise, 0.0, 0.05, 1.0),
        ] {
            assert_eq!(text.parse(), Ok(AugmentationStep { change, from, to, probability }), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_step_is_said() {
        for (text, wanted) in [
            ("twist 3", "unknown step \"twist\": expected one of crop, quarter_turn"),
            ("", "unknown step \"\""),
            ("rotate", "rotate lacks its values"),
            ("quarter_turn 2", "quarter_turn has no values, such as \"2\""),
            ("rotate 10 20", "\"20\" is not expected"),
            ("rotate 200", "expected numbers from -180 to 180"),
            ("rotate 20..10", "\"rotate 20..10\": 20 is above 10: write rotate 10..20"),
            ("rotate 10..-10 p=0.3", "10 is above -10: write rotate -10..10"),
            ("rotate = -10..10", "write the values without `=`, such as rotate 0.1..0.2 p=0.5"),
            ("crop nan", "expected numbers from 0.01 to 1"),
            ("crop 0.5 p=2", "p should be a number from 0 to 1"),
        ] {
            let message = text.parse::<AugmentationStep>().unwrap_err();
            assert!(message.contains(wanted), "{text}: {message}");
        }
    }
}
