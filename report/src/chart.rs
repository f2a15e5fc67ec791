//! What all charts have in common: their size, colours and axes.

use std::fmt::Display;
use std::io;
use std::ops::Range;

use maud::{Markup, PreEscaped, html};
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    Cartesian2d, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, LineSeries, RGBColor, SVGBackend, ShapeStyle,
};
use plotters::style::{Color as _, IntoFont as _, TextStyle};

/// A chart that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("a chart cannot be drawn: {0}")]
pub struct DrawError(String);

impl From<DrawingAreaErrorKind<io::Error>> for DrawError {
    fn from(error: DrawingAreaErrorKind<io::Error>) -> Self {
        Self(error.to_string())
    }
}

/// A chart with two axes of numbers.
pub(crate) type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
/// A drawing in pixels.
pub(crate) type Canvas<'b> = DrawingArea<SVGBackend<'b>, Shift>;

pub(crate) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(crate) const FAINT: RGBColor = RGBColor(0xbb, 0xbb, 0xbb);
pub(crate) const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
pub(crate) const ORANGE: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
/// Colours of series, which people with a colour vision deficiency can tell apart. By Okabe and Ito, "Color Universal Design".
const SERIES: [RGBColor; 7] = [
    BLUE,
    ORANGE,
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    INK,
];

/// The size of a chart with two axes, in pixels.
const SIZE: (u32, u32) = (560, 320);
const FONT: (&str, i32) = ("sans-serif", 12);

/// The colour of a series by its number.
pub(crate) fn series_colour(number: usize) -> RGBColor {
    SERIES[number % SERIES.len()]
}

/// The text of a chart.
pub(crate) fn text_style() -> TextStyle<'static> {
    FONT.into_font().color(&INK)
}

/// The axes of a chart.
pub(crate) struct Axes<'a> {
    pub(crate) x_title: &'a str,
    pub(crate) y_title: &'a str,
    pub(crate) x: Range<f64>,
    pub(crate) y: Range<f64>,
}

/// A chart with two axes, on which `draw` puts its series.
pub(crate) fn plane(
    axes: &Axes<'_>,
    draw: impl FnOnce(&mut Plane<'_, '_>) -> Result<(), DrawError>,
) -> Result<Markup, DrawError> {
    canvas(SIZE, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(52)
            .build_cartesian_2d(axes.x.clone(), axes.y.clone())?;
        chart
            .configure_mesh()
            .x_desc(axes.x_title)
            .y_desc(axes.y_title)
            .axis_style(INK)
            .light_line_style(FAINT.mix(0.25))
            .bold_line_style(FAINT.mix(0.5))
            .label_style(text_style())
            .axis_desc_style(text_style())
            .draw()?;
        draw(&mut chart)
    })
}

/// A drawing of `size` pixels.
pub(crate) fn canvas(
    size: (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> Result<(), DrawError>,
) -> Result<Markup, DrawError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&root)?;
        root.present()?;
    }
    Ok(PreEscaped(svg))
}

/// Draws a line through `points` on a chart.
pub(crate) fn line(
    chart: &mut Plane<'_, '_>,
    points: impl IntoIterator<Item = (f64, f64)>,
    style: impl Into<ShapeStyle>,
) -> Result<(), DrawError> {
    chart.draw_series(LineSeries::new(points, style))?;
    Ok(())
}

/// A line of a colour, so many pixels wide.
pub(crate) fn stroke(colour: RGBColor, width: u32) -> ShapeStyle {
    colour.stroke_width(width)
}

/// A chart with a title and what it shows, and the colours of its series.
pub(crate) fn figure(title: &str, about: &str, keys: &[(RGBColor, String)], chart: &Markup) -> Markup {
    html! {
        figure {
            h3 { (title) }
            div.chart role="img" aria-label=(format!("{title}. {about}")) { (chart) }
            @if !keys.is_empty() {
                p.keys { @for (colour, name) in keys { span { i style=(format!("background:{}", css(*colour))) {} (name) } } }
            }
            figcaption { (about) }
        }
    }
}

fn css(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// A text of at most `most_chars`, with an ellipsis where it was cut.
pub(crate) fn cut(text: &str, most_chars: usize) -> String {
    if text.chars().count() <= most_chars {
        return text.to_owned();
    }
    text.chars().take(most_chars.saturating_sub(1)).chain(['…']).collect()
}

/// A number with so many decimals, or a dash.
pub(crate) fn number(value: Option<impl Display>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_cut() {
        let drawn = figure("<b>", "of & for", &[(BLUE, "<i>".to_owned())], &html! {}).into_string();
        assert!(drawn.contains("<h3>&lt;b&gt;</h3>") && drawn.contains("of &amp; for") && drawn.contains("&lt;i&gt;"));
        assert!(drawn.contains("#0072b2"), "{drawn}");
        assert_eq!((cut("Nucleoplasm", 11), cut("Nucleoplasm", 5)), ("Nucleoplasm".to_owned(), "Nucl…".to_owned()));
    }

    #[test]
    fn a_chart_is_one_svg_with_its_axes() {
        let axes = Axes { x_title: "recall", y_title: "precision", x: 0.0..1.0, y: 0.0..1.0 };
        let svg = plane(&axes, |chart| line(chart, [(0.0, 1.0), (1.0, 0.5)], stroke(BLUE, 2))).unwrap().into_string();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(svg.contains("recall") && svg.contains("precision") && svg.contains("polyline"), "{svg}");
    }
}
