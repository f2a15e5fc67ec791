//! Drawings in braille characters, each of which has two by four dots.

/// Dots of a character, by row and column, as bits of its code.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// A drawing.
#[derive(Debug, Clone)]
pub(crate) struct Canvas {
    /// Characters per line.
    width: usize,
    /// The dots of each character, line by line from the top.
    cells: Vec<u32>,
}

impl Canvas {
    /// An empty drawing of `height` lines of `width` characters.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self { width, cells: vec![0; width * height] }
    }

    /// Sets the dot in column `x` from the left and row `y` from the top; dots outside are left out.
    pub(crate) fn dot(&mut self, x: usize, y: usize) {
        if x >= self.width * 2 {
            return;
        }
        if let Some(cell) = self.cells.get_mut(y / 4 * self.width + x / 2) {
            *cell |= DOTS[y % 4][x % 2];
        }
    }

    /// Sets the dots between two points, both included, in every column that is a multiple of `spacing`.
    pub(crate) fn line(&mut self, from: (usize, usize), to: (usize, usize), spacing: usize) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        let between = |a: usize, b: usize, step: usize| {
            (a as f64 + (b as f64 - a as f64) * step as f64 / steps as f64).round() as usize
        };
        for step in 0..=steps {
            let (x, y) = (between(from.0, to.0, step), between(from.1, to.1, step));
            if x.is_multiple_of(spacing) {
                self.dot(x, y);
            }
        }
    }

    /// Whether the character at a place has a dot.
    pub(crate) fn has_dots(&self, column: usize, line: usize) -> bool {
        self.cells.get(line * self.width + column).is_some_and(|cell| *cell != 0)
    }

    /// The characters of a line; a space where there is no dot.
    pub(crate) fn characters(&self, line: usize) -> impl Iterator<Item = char> {
        self.cells.iter().skip(line * self.width).take(self.width).map(|&cell| match cell {
            0 => ' ',
            cell => char::from_u32(0x2800 + cell).unwrap_or(' '),
        })
    }

    /// Adds the dots of another drawing of the same size.
    pub(crate) fn add(&mut self, other: &Self) {
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            *cell |= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(canvas: &Canvas, height: usize) -> Vec<String> {
        (0..height).map(|line| canvas.characters(line).collect()).collect()
    }

    #[test]
    fn each_dot_has_its_place() {
        let mut canvas = Canvas::new(2, 2);
        canvas.dot(0, 0);
        canvas.dot(3, 7);
        canvas.dot(4, 0);
        canvas.dot(0, 8);
        assert_eq!(text(&canvas, 2), ["⠁ ", " ⢀"]);
        assert!(canvas.has_dots(0, 0) && canvas.has_dots(1, 1) && !canvas.has_dots(1, 0));
        for y in 0..4 {
            for x in 0..2 {
                canvas.dot(x, y);
            }
        }
        assert_eq!(text(&canvas, 2), ["⣿ ", " ⢀"]);
    }

    #[test]
    fn lines_connect_their_ends() {
        let mut canvas = Canvas::new(3, 1);
        canvas.line((0, 3), (5, 0), 1);
        assert_eq!(text(&canvas, 1), ["⡠⠔⠊"]);
        let mut level = Canvas::new(3, 1);
        level.line((5, 0), (0, 0), 3);
        assert_eq!(text(&level, 1), ["⠁⠈ "]);
        let mut point = Canvas::new(3, 1);
        point.line((2, 2), (2, 2), 1);
        assert_eq!(text(&point, 1), [" ⠄ "]);
        level.add(&point);
        assert_eq!(text(&level, 1), ["⠁⠌ "]);
    }
}
