//! Cells as a fluorescence microscope shows them: nuclei in blue, microtubules in red, the endoplasmic reticulum in yellow, and
//! in green the protein, where its labels say it is.

use std::f64::consts::TAU;

use fivefold_common::labels::Labels;
use fivefold_common::randomness::Stream;

use crate::synth::canvas::Canvas;

/// The four pictures of one field of view.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) red: Canvas,
    pub(crate) green: Canvas,
    pub(crate) blue: Canvas,
    pub(crate) yellow: Canvas,
}

/// Draws the cells of one row.
pub(crate) fn draw(size: u32, labels: Labels, stream: &mut Stream) -> Picture {
    let mut picture = Picture {
        red: Canvas::new(size),
        green: Canvas::new(size),
        blue: Canvas::new(size),
        yellow: Canvas::new(size),
    };
    // Small pictures show one cell, large ones up to nine.
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

/// One cell's outline: a wobbly ellipse with an elliptic nucleus inside.
struct Cell {
    center: (f64, f64),
    nucleus: (f64, f64),
    /// Half axes of cell and nucleus, in pixels.
    cell_axes: (f64, f64),
    nucleus_axes: (f64, f64),
    angle: f64,
    wobble: [f64; 2],
    /// The unit of widths: a 64th of the tile's side.
    unit: f64,
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

    fn reach(&self) -> f64 {
        1.4 * self.cell_axes.0.max(self.cell_axes.1)
    }

    /// Signed distance from the nucleus's edge, about, in pixels; negative inside.
    fn nucleus_distance(&self, x: f64, y: f64) -> f64 {
        let (u, v) = turned(x - self.nucleus.0, y - self.nucleus.1, -self.angle);
        let (a, b) = self.nucleus_axes;
        (((u / a).powi(2) + (v / b).powi(2)).sqrt() - 1.0) * a.min(b)
    }

    /// The same for the cell's membrane.
    fn cell_distance(&self, x: f64, y: f64) -> f64 {
        let (dx, dy) = (x - self.center.0, y - self.center.1);
        let around = dy.atan2(dx);
        let wobble = 1.0 + 0.05 * (3.0 * around + self.wobble[0]).sin() + 0.03 * (5.0 * around + self.wobble[1]).sin();
        let (a, b) = self.cell_axes;
        (((dx / a).powi(2) + (dy / b).powi(2)).sqrt() / wobble - 1.0) * a.min(b)
    }

    /// A point in the nucleus, `most` of the way to its edge at most.
    fn in_nucleus(&self, most: f64, stream: &mut Stream) -> (f64, f64) {
        let (around, far) = (stream.between(0.0, TAU), most * stream.unit().sqrt());
        let (u, v) =
            turned(far * self.nucleus_axes.0 * around.cos(), far * self.nucleus_axes.1 * around.sin(), self.angle);
        (self.nucleus.0 + u, self.nucleus.1 + v)
    }

    /// A point between nucleus (0) and membrane (1), in direction `around`.
    fn in_cytoplasm(&self, share: f64, around: f64) -> (f64, f64) {
        let inner = 1.15 * (self.nucleus_axes.0 + self.nucleus_axes.1) / 2.0;
        let outer = 0.92 * (self.cell_axes.0 + self.cell_axes.1) / 2.0;
        let far = inner + share * (outer - inner);
        (self.nucleus.0 + far * around.cos(), self.nucleus.1 + far * around.sin())
    }

    fn somewhere_in_cytoplasm(&self, stream: &mut Stream) -> (f64, f64) {
        let (share, around) = (stream.between(0.1, 0.95), stream.between(0.0, TAU));
        self.in_cytoplasm(share, around)
    }

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

    /// Adds what a protein of this label looks like.
    fn draw_protein(&self, label: u8, green: &mut Canvas, stream: &mut Stream) {
        let (reach, unit) = (self.reach(), self.unit);
        let around = stream.between(0.0, TAU);
        let nucleus = |x: f64, y: f64| self.nucleus_distance(x, y);
        let cell = |x: f64, y: f64| self.cell_distance(x, y);
        match label {
            // Nucleoplasm
            0 => green.area(self.nucleus, reach, 0.55, nucleus),
            // Nuclear membrane
            1 => green.edge(self.nucleus, reach, 1.1 * unit, 0.9, nucleus),
            // Nucleoli
            2 => self.spots_in_nucleus(green, stream, 3, 0.55, 2.6 * unit, 0.9),
            // Nucleoli fibrillar center
            3 => {
                let middle = self.in_nucleus(0.2, stream);
                for turn in 0..5 {
                    let direction = around + f64::from(turn) * TAU / 5.0;
                    let spot = (middle.0 + 2.6 * unit * direction.cos(), middle.1 + 2.6 * unit * direction.sin());
                    green.spot(spot, 0.9 * unit, 0.95);
                }
            }
            // Nuclear speckles
            4 => self.spots_in_nucleus(green, stream, 16, 0.85, 1.0 * unit, 0.75),
            // Nuclear bodies
            5 => self.spots_in_nucleus(green, stream, 4, 0.8, 1.3 * unit, 1.0),
            // Endoplasmic reticulum
            6 => green.edge(self.nucleus, reach, 5.0 * unit, 0.55, |x, y| nucleus(x, y) - 4.0 * unit),
            // Golgi apparatus: a clump of ribbons at one side of the nucleus
            7 => {
                for ribbon in 0..6 {
                    let from =
                        self.in_cytoplasm(0.08 + 0.05 * f64::from(ribbon % 3), around + stream.between(-0.5, 0.2));
                    let to = self.in_cytoplasm(0.12 + 0.05 * f64::from(ribbon % 3), around + stream.between(0.0, 0.6));
                    green.line(from, to, 1.1 * unit, 0.75);
                }
            }
            // Peroxisomes
            8 => self.spots_in_cytoplasm(green, stream, 60, 0.7 * unit, 0.7),
            // Endosomes
            9 => self.spots_in_cytoplasm(green, stream, 14, 1.3 * unit, 0.8),
            // Lysosomes: rings
            10 => self.rings_in_cytoplasm(green, stream, 9, 1.8 * unit),
            // Intermediate filaments: bundles around the nucleus
            11 => {
                for ring in 0..4 {
                    let far = (2.0 + 3.0 * f64::from(ring)) * unit;
                    green.edge(self.nucleus, reach, 0.7 * unit, 0.55, |x, y| nucleus(x, y) - far);
                }
            }
            // Actin filaments: parallel fibres across the cell
            12 => {
                for fibre in -4..=4 {
                    let side = f64::from(fibre) * 5.0 * unit;
                    let (dx, dy) = (around.cos(), around.sin());
                    let half = (24.0 * unit * (1.0 - (side / (28.0 * unit)).powi(2)).max(0.05).sqrt()).max(1.0);
                    let middle = (self.center.0 - side * dy, self.center.1 + side * dx);
                    let end = |sign: f64| (middle.0 + sign * half * dx, middle.1 + sign * half * dy);
                    green.line(end(-1.0), end(1.0), 0.7 * unit, 0.65);
                }
            }
            // Focal adhesion sites: dashes at the rim
            13 => {
                for dash in 0..16 {
                    let direction = around + f64::from(dash) * TAU / 16.0;
                    green.line(self.in_cytoplasm(0.8, direction), self.in_cytoplasm(1.0, direction), 1.0 * unit, 0.85);
                }
            }
            // Microtubules: rays
            14 => self.rays(green, stream, 24, (0.0, 1.0), 0.55),
            // Microtubule ends: the outer parts of rays
            15 => self.rays(green, stream, 30, (0.85, 1.0), 0.9),
            // Cytokinetic bridge: a bar out of the cell
            16 => {
                let out = (self.nucleus.0 + reach * around.cos(), self.nucleus.1 + reach * around.sin());
                green.line(self.in_cytoplasm(0.7, around), out, 1.8 * unit, 0.95);
            }
            // Mitotic spindle: fibres between two poles through the nucleus
            17 => {
                let pole = |sign: f64| {
                    let far = sign * 9.0 * unit;
                    (self.nucleus.0 + far * around.cos(), self.nucleus.1 + far * around.sin())
                };
                for fibre in -3..=3 {
                    let side = f64::from(fibre) * 2.2 * unit;
                    let middle = (self.nucleus.0 - side * around.sin(), self.nucleus.1 + side * around.cos());
                    green.line(pole(-1.0), middle, 0.8 * unit, 0.6);
                    green.line(middle, pole(1.0), 0.8 * unit, 0.6);
                }
            }
            // Microtubule organizing center: a spot with rays
            18 => {
                let middle = self.in_cytoplasm(0.15, around);
                green.spot(middle, 2.0 * unit, 0.9);
                for ray in 0..8 {
                    let direction = f64::from(ray) * TAU / 8.0;
                    let end = (middle.0 + 7.0 * unit * direction.cos(), middle.1 + 7.0 * unit * direction.sin());
                    green.line(middle, end, 0.7 * unit, 0.6);
                }
            }
            // Centrosome: two bright dots
            19 => {
                green.spot(self.in_cytoplasm(0.1, around), 1.4 * unit, 1.0);
                green.spot(self.in_cytoplasm(0.1, around + 0.35), 1.4 * unit, 1.0);
            }
            // Lipid droplets
            20 => self.spots_in_cytoplasm(green, stream, 10, 2.2 * unit, 0.75),
            // Plasma membrane
            21 => green.edge(self.center, reach, 1.2 * unit, 0.85, cell),
            // Cell junctions: parts of the membrane
            22 => green.edge(self.center, reach, 1.8 * unit, 1.0, |x, y| {
                let direction = (y - self.center.1).atan2(x - self.center.0);
                let apart = (2.0 * (direction - around)).cos();
                cell(x, y) + if apart > 0.5 { 0.0 } else { 100.0 * unit }
            }),
            // Mitochondria: short worms
            23 => {
                for _ in 0..34 {
                    let (share, direction) = (stream.between(0.1, 0.85), stream.between(0.0, TAU));
                    let from = self.in_cytoplasm(share, direction);
                    let to =
                        self.in_cytoplasm(share + stream.between(-0.1, 0.1), direction + stream.between(-0.3, 0.3));
                    green.line(from, to, 0.9 * unit, 0.6);
                }
            }
            // Aggresome: one large blob beside the nucleus
            24 => green.spot(self.in_cytoplasm(0.25, around), 4.2 * unit, 1.0),
            // Cytosol: everything but the nucleus
            25 => green.area(self.center, reach, 0.5, |x, y| cell(x, y).max(-nucleus(x, y))),
            // Cytoplasmic bodies
            26 => self.spots_in_cytoplasm(green, stream, 4, 2.0 * unit, 1.0),
            // Rods and rings
            _ => {
                self.rings_in_cytoplasm(green, stream, 3, 3.2 * unit);
                for _ in 0..3 {
                    let from = self.somewhere_in_cytoplasm(stream);
                    let direction = stream.between(0.0, TAU);
                    let to = (from.0 + 8.0 * unit * direction.cos(), from.1 + 8.0 * unit * direction.sin());
                    green.line(from, to, 1.2 * unit, 0.9);
                }
            }
        }
    }

    fn spots_in_nucleus(
        &self,
        green: &mut Canvas,
        stream: &mut Stream,
        count: u32,
        most: f64,
        radius: f64,
        brightness: f64,
    ) {
        for _ in 0..count {
            green.spot(self.in_nucleus(most, stream), radius, brightness);
        }
    }

    fn spots_in_cytoplasm(&self, green: &mut Canvas, stream: &mut Stream, count: u32, radius: f64, brightness: f64) {
        for _ in 0..count {
            green.spot(self.somewhere_in_cytoplasm(stream), radius, brightness);
        }
    }

    fn rings_in_cytoplasm(&self, green: &mut Canvas, stream: &mut Stream, count: u32, radius: f64) {
        for _ in 0..count {
            let center = self.somewhere_in_cytoplasm(stream);
            green.edge(center, 2.5 * radius, 0.3 * radius, 0.85, |x, y| (x - center.0).hypot(y - center.1) - radius);
        }
    }

    fn rays(&self, green: &mut Canvas, stream: &mut Stream, count: u32, (from, to): (f64, f64), brightness: f64) {
        for _ in 0..count {
            let around = stream.between(0.0, TAU);
            let bent = around + stream.between(-0.1, 0.1);
            green.line(self.in_cytoplasm(from, around), self.in_cytoplasm(to, bent), 0.7 * self.unit, brightness);
        }
    }
}

/// A vector turned by an angle.
fn turned(x: f64, y: f64, angle: f64) -> (f64, f64) {
    (x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos())
}
