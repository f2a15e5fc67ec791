//! The look of a protein in each of the 28 locations.

use std::f64::consts::TAU;

use fivefold_common::randomness::Stream;

use crate::canvas::Canvas;
use crate::cell::Cell;

impl Cell {
    /// Draws the protein of a label into the green channel.
    pub(crate) fn draw_protein(&self, label: u16, green: &mut Canvas, stream: &mut Stream) {
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
            2 => self.spots_in_nucleus(green, stream, 3, 0.55, Spot { radius: 2.6 * unit, brightness: 0.9 }),
            3 => self.nucleoli_fibrillar_center(green, stream, around),
            // Nuclear speckles
            4 => self.spots_in_nucleus(green, stream, 16, 0.85, Spot { radius: 1.0 * unit, brightness: 0.75 }),
            // Nuclear bodies
            5 => self.spots_in_nucleus(green, stream, 4, 0.8, Spot { radius: 1.3 * unit, brightness: 1.0 }),
            // Endoplasmic reticulum
            6 => green.edge(self.nucleus, reach, 5.0 * unit, 0.55, |x, y| nucleus(x, y) - 4.0 * unit),
            7 => self.golgi_apparatus(green, stream, around),
            // Peroxisomes
            8 => self.spots_in_cytoplasm(green, stream, 60, Spot { radius: 0.7 * unit, brightness: 0.7 }),
            // Endosomes
            9 => self.spots_in_cytoplasm(green, stream, 14, Spot { radius: 1.3 * unit, brightness: 0.8 }),
            // Lysosomes
            10 => self.rings_in_cytoplasm(green, stream, 9, 1.8 * unit),
            11 => self.intermediate_filaments(green),
            12 => self.actin_filaments(green, around),
            13 => self.focal_adhesion_sites(green, around),
            // Microtubules
            14 => self.rays(green, stream, 24, (0.0, 1.0), 0.55),
            // Microtubule ends
            15 => self.rays(green, stream, 30, (0.85, 1.0), 0.9),
            16 => self.cytokinetic_bridge(green, around),
            17 => self.mitotic_spindle(green, around),
            18 => self.microtubule_organizing_center(green, around),
            19 => self.centrosome(green, around),
            // Lipid droplets
            20 => self.spots_in_cytoplasm(green, stream, 10, Spot { radius: 2.2 * unit, brightness: 0.75 }),
            // Plasma membrane
            21 => green.edge(self.center, reach, 1.2 * unit, 0.85, cell),
            22 => self.cell_junctions(green, around),
            23 => self.mitochondria(green, stream),
            // Aggresome
            24 => green.spot(self.in_cytoplasm(0.25, around), 4.2 * unit, 1.0),
            // Cytosol
            25 => green.area(self.center, reach, 0.5, |x, y| cell(x, y).max(-nucleus(x, y))),
            // Cytoplasmic bodies
            26 => self.spots_in_cytoplasm(green, stream, 4, Spot { radius: 2.0 * unit, brightness: 1.0 }),
            _ => self.rods_and_rings(green, stream),
        }
    }

    fn nucleoli_fibrillar_center(&self, green: &mut Canvas, stream: &mut Stream, around: f64) {
        let middle = self.in_nucleus(0.2, stream);
        for turn in 0..5 {
            let direction = around + f64::from(turn) * TAU / 5.0;
            let distance = 2.6 * self.unit;
            let spot = (middle.0 + distance * direction.cos(), middle.1 + distance * direction.sin());
            green.spot(spot, 0.9 * self.unit, 0.95);
        }
    }

    /// A clump of ribbons on one side of the nucleus.
    fn golgi_apparatus(&self, green: &mut Canvas, stream: &mut Stream, around: f64) {
        for ribbon in 0..6 {
            let share = 0.05 * f64::from(ribbon % 3);
            let from = self.in_cytoplasm(0.08 + share, around + stream.between(-0.5, 0.2));
            let to = self.in_cytoplasm(0.12 + share, around + stream.between(0.0, 0.6));
            green.line(from, to, 1.1 * self.unit, 0.75);
        }
    }

    /// Bundles around the nucleus.
    fn intermediate_filaments(&self, green: &mut Canvas) {
        let (reach, unit) = (self.reach(), self.unit);
        for ring in 0..4 {
            let distance = (2.0 + 3.0 * f64::from(ring)) * unit;
            green.edge(self.nucleus, reach, 0.7 * unit, 0.55, |x, y| self.nucleus_distance(x, y) - distance);
        }
    }

    /// Parallel fibres across the cell.
    fn actin_filaments(&self, green: &mut Canvas, around: f64) {
        let unit = self.unit;
        let (dx, dy) = (around.cos(), around.sin());
        for fibre in -4..=4 {
            let side = f64::from(fibre) * 5.0 * unit;
            let half = (24.0 * unit * (1.0 - (side / (28.0 * unit)).powi(2)).max(0.05).sqrt()).max(1.0);
            let middle = (self.center.0 - side * dy, self.center.1 + side * dx);
            let end = |sign: f64| (middle.0 + sign * half * dx, middle.1 + sign * half * dy);
            green.line(end(-1.0), end(1.0), 0.7 * unit, 0.65);
        }
    }

    /// Dashes at the rim.
    fn focal_adhesion_sites(&self, green: &mut Canvas, around: f64) {
        for dash in 0..16 {
            let direction = around + f64::from(dash) * TAU / 16.0;
            green.line(self.in_cytoplasm(0.8, direction), self.in_cytoplasm(1.0, direction), 1.0 * self.unit, 0.85);
        }
    }

    /// A bar from the cytoplasm out of the cell.
    fn cytokinetic_bridge(&self, green: &mut Canvas, around: f64) {
        let reach = self.reach();
        let out = (self.nucleus.0 + reach * around.cos(), self.nucleus.1 + reach * around.sin());
        green.line(self.in_cytoplasm(0.7, around), out, 1.8 * self.unit, 0.95);
    }

    /// Fibres between two poles, through the nucleus.
    fn mitotic_spindle(&self, green: &mut Canvas, around: f64) {
        let unit = self.unit;
        let pole = |sign: f64| {
            let distance = sign * 9.0 * unit;
            (self.nucleus.0 + distance * around.cos(), self.nucleus.1 + distance * around.sin())
        };
        for fibre in -3..=3 {
            let side = f64::from(fibre) * 2.2 * unit;
            let middle = (self.nucleus.0 - side * around.sin(), self.nucleus.1 + side * around.cos());
            green.line(pole(-1.0), middle, 0.8 * unit, 0.6);
            green.line(middle, pole(1.0), 0.8 * unit, 0.6);
        }
    }

    /// A spot with rays.
    fn microtubule_organizing_center(&self, green: &mut Canvas, around: f64) {
        let unit = self.unit;
        let middle = self.in_cytoplasm(0.15, around);
        green.spot(middle, 2.0 * unit, 0.9);
        for ray in 0..8 {
            let direction = f64::from(ray) * TAU / 8.0;
            let end = (middle.0 + 7.0 * unit * direction.cos(), middle.1 + 7.0 * unit * direction.sin());
            green.line(middle, end, 0.7 * unit, 0.6);
        }
    }

    /// Two bright dots.
    fn centrosome(&self, green: &mut Canvas, around: f64) {
        green.spot(self.in_cytoplasm(0.1, around), 1.4 * self.unit, 1.0);
        green.spot(self.in_cytoplasm(0.1, around + 0.35), 1.4 * self.unit, 1.0);
    }

    /// Parts of the membrane.
    fn cell_junctions(&self, green: &mut Canvas, around: f64) {
        let unit = self.unit;
        green.edge(self.center, self.reach(), 1.8 * unit, 1.0, |x, y| {
            let direction = (y - self.center.1).atan2(x - self.center.0);
            let apart = (2.0 * (direction - around)).cos();
            self.cell_distance(x, y) + if apart > 0.5 { 0.0 } else { 100.0 * unit }
        });
    }

    /// Short worms.
    fn mitochondria(&self, green: &mut Canvas, stream: &mut Stream) {
        for _ in 0..34 {
            let (share, direction) = (stream.between(0.1, 0.85), stream.between(0.0, TAU));
            let from = self.in_cytoplasm(share, direction);
            let to = self.in_cytoplasm(share + stream.between(-0.1, 0.1), direction + stream.between(-0.3, 0.3));
            green.line(from, to, 0.9 * self.unit, 0.6);
        }
    }

    fn rods_and_rings(&self, green: &mut Canvas, stream: &mut Stream) {
        let unit = self.unit;
        self.rings_in_cytoplasm(green, stream, 3, 3.2 * unit);
        for _ in 0..3 {
            let from = self.somewhere_in_cytoplasm(stream);
            let direction = stream.between(0.0, TAU);
            let to = (from.0 + 8.0 * unit * direction.cos(), from.1 + 8.0 * unit * direction.sin());
            green.line(from, to, 1.2 * unit, 0.9);
        }
    }

    /// Spots in the nucleus, at most the share `most` of the way to its edge.
    fn spots_in_nucleus(&self, green: &mut Canvas, stream: &mut Stream, count: u32, most: f64, spot: Spot) {
        for _ in 0..count {
            green.spot(self.in_nucleus(most, stream), spot.radius, spot.brightness);
        }
    }

    fn spots_in_cytoplasm(&self, green: &mut Canvas, stream: &mut Stream, count: u32, spot: Spot) {
        for _ in 0..count {
            green.spot(self.somewhere_in_cytoplasm(stream), spot.radius, spot.brightness);
        }
    }

    fn rings_in_cytoplasm(&self, green: &mut Canvas, stream: &mut Stream, count: u32, radius: f64) {
        for _ in 0..count {
            let center = self.somewhere_in_cytoplasm(stream);
            green.edge(center, 2.5 * radius, 0.3 * radius, 0.85, |x, y| (x - center.0).hypot(y - center.1) - radius);
        }
    }

    /// Nearly straight lines in random directions, between two shares of the way from nucleus to membrane.
    fn rays(&self, green: &mut Canvas, stream: &mut Stream, count: u32, (from, to): (f64, f64), brightness: f64) {
        for _ in 0..count {
            let around = stream.between(0.0, TAU);
            let bent = around + stream.between(-0.1, 0.1);
            green.line(self.in_cytoplasm(from, around), self.in_cytoplasm(to, bent), 0.7 * self.unit, brightness);
        }
    }
}

struct Spot {
    /// In pixels.
    radius: f64,
    brightness: f64,
}
