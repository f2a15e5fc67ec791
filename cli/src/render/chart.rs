//! Charts of values by epoch.

use super::braille::Canvas;
use super::page::{Paint, Tone, cut};

/// Characters of a number beside an axis.
const LABEL_WIDTH: usize = 7;

/// Values by epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Series<'a> {
    pub(crate) values: &'a [f64],
    pub(crate) stroke: Stroke,
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stroke {
    Solid,
    Dotted,
}

impl Stroke {
    /// Columns of dots from one dot to the next.
    fn spacing(self) -> usize {
        match self {
            Self::Solid => 1,
            Self::Dotted => 3,
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Solid => Tone::Busy,
            Self::Dotted => Tone::Odd,
        }
    }
}

/// A chart in lines of exactly `width` characters: `title`, then `height` lines with the curves between the lowest and the
/// highest value, then the epochs from 1 to `epoch_count`.
pub(crate) fn chart(
    title: &str,
    series: &[Series<'_>],
    epoch_count: u32,
    (width, height): (usize, usize),
    paint: Paint,
) -> Vec<String> {
    let plot_width = width.saturating_sub(LABEL_WIDTH + 2).max(1);
    let finite = || series.iter().flat_map(|series| series.values).copied().filter(|value| value.is_finite());
    let (low, high) =
        finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let canvases: Vec<Canvas> =
        series.iter().map(|series| curve(*series, (low, high), epoch_count, (plot_width, height))).collect();
    let mut all = Canvas::new(plot_width, height);
    for canvas in &canvases {
        all.add(canvas);
    }
    let mut lines = vec![format!("{:<width$}", cut(&format!("{:>LABEL_WIDTH$}  {title}", ""), width))];
    for line in 0..height {
        let label = match line {
            _ if low > high => String::new(),
            0 => axis_number(high),
            line if line + 1 == height => axis_number(low),
            _ => String::new(),
        };
        let mut text = format!("{label:>LABEL_WIDTH$} │");
        for (column, character) in all.characters(line).enumerate() {
            // Where curves meet, the first one gives the colour.
            let first = canvases.iter().position(|canvas| canvas.has_dots(column, line));
            let tone = first.and_then(|place| series.get(place)).map(|series| series.stroke.tone());
            text += &paint.apply(tone, &character.to_string());
        }
        lines.push(text);
    }
    let last = epoch_count.to_string();
    let axis = plot_width.saturating_sub(1 + last.len());
    lines.push(format!("{:>LABEL_WIDTH$} └1{:─<axis$}{last}", "", ""));
    lines
}

/// A curve in a drawing of its own. A value that is not finite is a gap.
fn curve(
    Series { values, stroke }: Series<'_>,
    (low, high): (f64, f64),
    epoch_count: u32,
    (width, height): (usize, usize),
) -> Canvas {
    let mut canvas = Canvas::new(width, height);
    let (right, bottom) = ((width * 2 - 1) as f64, (height * 4 - 1) as f64);
    let epochs = f64::from(epoch_count.saturating_sub(1).max(1));
    let point = |(epoch, &value): (usize, &f64)| {
        let share = if high > low { (high - value) / (high - low) } else { 0.5 };
        let x = (epoch as f64 / epochs * right).round() as usize;
        value.is_finite().then(|| (x, (share * bottom).round() as usize))
    };
    let mut before = None;
    for point in values.iter().enumerate().map(point) {
        if let Some(point) = point {
            // The epochs themselves are always there.
            canvas.dot(point.0, point.1);
            canvas.line(before.unwrap_or(point), point, stroke.spacing());
        }
        before = point;
    }
    canvas
}

/// `value` in at most seven characters.
fn axis_number(value: f64) -> String {
    let fixed = format!("{value:.4}");
    if fixed.len() <= LABEL_WIDTH { fixed } else { format!("{value:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_its_lowest_and_highest_value_and_its_epochs() {
        let falling: Vec<f64> = (0..10).map(|epoch| 1.0 - f64::from(epoch) * 0.1).collect();
        let rising: Vec<f64> = (0..10).map(|epoch| 0.1 + f64::from(epoch) * 0.05).collect();
        let series =
            [Series { values: &falling, stroke: Stroke::Solid }, Series { values: &rising, stroke: Stroke::Dotted }];
        let lines = chart("loss", &series, 10, (29, 4), Paint::Plain);
        assert_eq!((lines.len(), lines[0].trim(), lines[5].as_str()), (6, "loss", "        └1─────────────────10"));
        assert!(lines[1].starts_with(" 1.0000 │⠑") && lines[1].ends_with(' '), "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() == 29), "{lines:#?}");
        assert!(lines[4].starts_with(" 0.1000 │"), "{lines:#?}");
        // The dotted curve begins at the lower left, where the solid one ends at the lower right.
        assert!(!lines[4].contains("│ ") && !lines[4].ends_with(' '), "{lines:#?}");
    }

    #[test]
    fn odd_curves_are_drawn_as_far_as_possible() {
        let of = |values: &[f64], epoch_count| {
            chart("f1", &[Series { values, stroke: Stroke::Solid }], epoch_count, (20, 3), Paint::Plain).join("\n")
        };
        assert!(!of(&[], 5).contains('.'));
        assert!(of(&[0.5], 1).contains("0.5000"));
        assert!(of(&[0.5, f64::NAN, 0.75], 3).contains("0.7500"));
        assert!(of(&[f64::INFINITY], 3).lines().count() == 5);
        assert!(of(&[123_456.0, 1.5e-9], 2).contains("1.2e5"));
        assert_eq!(axis_number(1.5e-9), "0.0000");
    }

    #[test]
    fn curves_have_their_colours() {
        let series = [Series { values: &[0.5, 1.0], stroke: Stroke::Dotted }];
        assert!(chart("f1", &series, 2, (20, 3), Paint::Coloured)[1].contains("\u{1b}[33m"));
    }
}
