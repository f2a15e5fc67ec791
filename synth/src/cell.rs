//! Cells as in fluorescence microscopy: nuclei in blue, microtubules in red, the endoplasmic reticulum in yellow, and the
//! labelled protein in green.

use std::f64::consts::TAU;

use fivefold_common::labels::Labels;
use fivefold_common::randomness::Stream;

use crate::canvas::Canvas;

/// The four channels of one image.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) red: Canvas,
    pub(crate) green: Canvas,
    pub(crate) blue: Canvas,
    pub(crate) yellow: Canvas,
}

/// Draws the image of one row, `size` pixels a side.
pub(crate) fn draw(size: u32, labels: &Labels, stream: &mut Stream) -> Picture {
    let mut picture = Picture {
        red: Canvas::new(size),
        green: Canvas::new(size),
        blue: Canvas::new(size),
        yellow: Canvas::new(size),
    };
    // Small images show one cell, large ones up to nine.
    let per_side = (f64::from(size) / 110.0).round().clamp(1.0, 3.0) as u32;
    let tile = f64::from(size) / f64::from(per_side);
    for row in 0..per_side {
        for column in 0..per_side {
            let mut place = |index: u32| tile * (f64::from(index) + 0.5 + stream.between(-0.06, 0.06));
            let center = (place(column), place(row));
            let cell = Cell::new(center, tile, stream);
            cell.draw_structure(&mut picture, stream);
            for label in labels.iter() {
                cell.draw_protein(label, &mut picture.green, stream);
            }
        }
    }
    picture
}

/// The outline of a cell: a wavy ellipse around an elliptic nucleus. Lengths are in pixels, angles in radians.
pub(crate) struct Cell {
    pub(crate) center: (f64, f64),
    pub(crate) nucleus: (f64, f64),
    /// Half axes of the cell.
    cell_axes: (f64, f64),
    /// Half axes of the nucleus.
    nucleus_axes: (f64, f64),
    /// Rotation of the nucleus.
    angle: f64,
    /// Phases of the membrane's two waves.
    wobble: [f64; 2],
    /// The unit of widths: a 64th of the side of the cell's tile.
    pub(crate) unit: f64,
}

impl Cell {
    fn new(center: (f64, f64), tile: f64, stream: &mut Stream) -> Self {
        let radius = tile * stream.between(0.40, 0.46);
        let (stretch, nucleus_radius) = (stream.between(0.9, 1.1), tile * stream.between(0.17, 0.20));
        let nucleus_stretch = stream.between(0.85, 1.18);
        let mut offset = || stream.between(-0.03, 0.03) * tile;
        let nucleus = (center.0 + offset(), center.1 + offset());
        Self {
            center,
            nucleus,
            cell_axes: (radius * stretch, radius / stretch),
            nucleus_axes: (nucleus_radius * nucleus_stretch, nucleus_radius / nucleus_stretch),
            angle: stream.between(0.0, TAU),
            wobble: [stream.between(0.0, TAU), stream.between(0.0, TAU)],
            unit: tile / 64.0,
        }
    }

    /// A radius that contains the cell.
    pub(crate) fn reach(&self) -> f64 {
        1.4 * self.cell_axes.0.max(self.cell_axes.1)
    }

    /// Approximate signed distance to the edge of the nucleus; negative inside.
    pub(crate) fn nucleus_distance(&self, x: f64, y: f64) -> f64 {
        let (u, v) = turned(x - self.nucleus.0, y - self.nucleus.1, -self.angle);
        let (a, b) = self.nucleus_axes;
        (((u / a).powi(2) + (v / b).powi(2)).sqrt() - 1.0) * a.min(b)
    }

    /// Approximate signed distance to the cell's membrane; negative inside.
    pub(crate) fn cell_distance(&self, x: f64, y: f64) -> f64 {
        let (dx, dy) = (x - self.center.0, y - self.center.1);
        let around = dy.atan2(dx);
        let wobble = 1.0 + 0.05 * (3.0 * around + self.wobble[0]).sin() + 0.03 * (5.0 * around + self.wobble[1]).sin();
        let (a, b) = self.cell_axes;
        (((dx / a).powi(2) + (dy / b).powi(2)).sqrt() / wobble - 1.0) * a.min(b)
    }

    /// A random point in the nucleus, at most the share `most` of the way to its edge.
    pub(crate) fn in_nucleus(&self, most: f64, stream: &mut Stream) -> (f64, f64) {
        let (around, far) = (stream.between(0.0, TAU), most * stream.unit().sqrt());
        let (u, v) =
            turned(far * self.nucleus_axes.0 * around.cos(), far * self.nucleus_axes.1 * around.sin(), self.angle);
        (self.nucleus.0 + u, self.nucleus.1 + v)
    }

    /// The point at `share` of the way from the nucleus (0) to the membrane (1), in direction `around`.
    pub(crate) fn in_cytoplasm(&self, share: f64, around: f64) -> (f64, f64) {
        let inner = 1.15 * (self.nucleus_axes.0 + self.nucleus_axes.1) / 2.0;
        let outer = 0.92 * (self.cell_axes.0 + self.cell_axes.1) / 2.0;
        let far = inner + share * (outer - inner);
        (self.nucleus.0 + far * around.cos(), self.nucleus.1 + far * around.sin())
    }

    /// A random point in the cytoplasm.
    pub(crate) fn somewhere_in_cytoplasm(&self, stream: &mut Stream) -> (f64, f64) {
        let (share, around) = (stream.between(0.1, 0.95), stream.between(0.0, TAU));
        self.in_cytoplasm(share, around)
    }

    /// Draws everything but the protein.
    fn draw_structure(&self, picture: &mut Picture, stream: &mut Stream) {
        let (reach, unit) = (self.reach(), self.unit);
        picture.blue.area(self.nucleus, reach, 0.65, |x, y| self.nucleus_distance(x, y));
        for _ in 0..6 {
            let brightness = stream.between(0.05, 0.15);
            picture.blue.spot(self.in_nucleus(0.8, stream), 2.0 * unit, brightness);
        }
        for _ in 0..26 {
            let around = stream.between(0.0, TAU);
            let bend = around + stream.between(-0.35, 0.35);
            let brightness = stream.between(0.15, 0.35);
            let middle = self.in_cytoplasm(0.5, (around + bend) / 2.0);
            picture.red.line(self.in_cytoplasm(0.0, around), middle, 0.6 * unit, brightness);
            picture.red.line(middle, self.in_cytoplasm(1.0, bend), 0.5 * unit, brightness);
        }
        picture.red.area(self.center, reach, 0.10, |x, y| self.cell_distance(x, y));
        let nucleus_width = self.nucleus_axes.0 + self.nucleus_axes.1;
        picture
            .yellow
            .edge(self.nucleus, reach, 0.4 * nucleus_width, 0.45, |x, y| self.nucleus_distance(x, y) - 3.0 * unit);
        for _ in 0..20 {
            let brightness = stream.between(0.05, 0.15);
            picture.yellow.spot(self.somewhere_in_cytoplasm(stream), 1.5 * unit, brightness);
        }
    }
}

/// The vector (x, y) rotated by `angle`.
fn turned(x: f64, y: f64, angle: f64) -> (f64, f64) {
    (x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{List, stream};

    #[test]
    fn every_protein_looks_as_before() {
        let mut hasher = blake3::Hasher::new();
        for label in 0..28 {
            let labels = Labels::from_indices([label]).unwrap();
            let picture = draw(64, &labels, &mut stream(1, List::Train, u64::from(label)));
            for canvas in [picture.red, picture.green, picture.blue, picture.yellow] {
                hasher.update(&canvas.to_bytes());
            }
        }
        assert_eq!(
            hasher.finalize().to_hex().as_str(),
            "fe4fbab46049f5171e3f97a578ec1371413f7610a6c9245b7d6a4b5e404d1698"
        );
    }
}
