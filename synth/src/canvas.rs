//! A grey image made of soft shapes.

/// A square image. Brightness 0 is black and 1 white; shapes add up, and the sum is clamped at the end.
#[derive(Debug, Clone)]
pub(crate) struct Canvas {
    size: usize,
    pixels: Vec<f32>,
}

impl Canvas {
    pub(crate) fn new(size: u32) -> Self {
        let size = size as usize;
        Self { size, pixels: vec![0.0; size * size] }
    }

    /// One byte per pixel, row by row.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.pixels.iter().map(|&value| (value.clamp(0.0, 1.0) * 255.0).round() as u8).collect()
    }

    /// Adds `brightness(x, y)` to the pixels of the square with half side `radius` around a point.
    fn add(&mut self, (x, y): (f64, f64), radius: f64, brightness: impl Fn(f64, f64) -> f64) {
        let range = |center: f64| {
            let last = self.size as f64 - 1.0;
            ((center - radius).floor().clamp(0.0, last) as usize, (center + radius).ceil().clamp(0.0, last) as usize)
        };
        let ((left, right), (top, bottom)) = (range(x), range(y));
        for row in top..=bottom {
            for column in left..=right {
                self.pixels[row * self.size + column] += brightness(column as f64, row as f64) as f32;
            }
        }
    }

    /// A round spot, brightest in the middle.
    pub(crate) fn spot(&mut self, center: (f64, f64), radius: f64, brightness: f64) {
        let radius = radius.max(0.6);
        self.add(center, radius * 2.5, |x, y| {
            let squared = (x - center.0).powi(2) + (y - center.1).powi(2);
            brightness * (-squared / (radius * radius)).exp()
        });
    }

    /// A stroke.
    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), width: f64, brightness: f64) {
        let width = width.max(0.5);
        let middle = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length_squared = (dx * dx + dy * dy).max(1e-9);
        self.add(middle, length_squared.sqrt() / 2.0 + 2.5 * width, |x, y| {
            let along = (((x - from.0) * dx + (y - from.1) * dy) / length_squared).clamp(0.0, 1.0);
            let squared = (x - from.0 - along * dx).powi(2) + (y - from.1 - along * dy).powi(2);
            brightness * (-squared / (width * width)).exp()
        });
    }

    /// An area, given by the signed distance to its edge in pixels, negative inside.
    pub(crate) fn area(
        &mut self,
        center: (f64, f64),
        radius: f64,
        brightness: f64,
        distance: impl Fn(f64, f64) -> f64,
    ) {
        self.add(center, radius, |x, y| brightness / (1.0 + (2.0 * distance(x, y)).exp()));
    }

    /// The edge of such an area.
    pub(crate) fn edge(
        &mut self,
        center: (f64, f64),
        radius: f64,
        width: f64,
        brightness: f64,
        distance: impl Fn(f64, f64) -> f64,
    ) {
        let width = width.max(0.6);
        self.add(center, radius, |x, y| brightness * (-(distance(x, y) / width).powi(2)).exp());
    }
}
