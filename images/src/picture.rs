//! Small pictures of images, for people.

use fivefold_common::scores::Source;

use crate::image_folder::ImageFolder;
use crate::image_layout::ImageLayout;
use crate::image_problem::ImageError;

/// The channels of a picture: red, green and blue.
const COLOURS: usize = 3;

/// A PNG file of an image as the network gets it, made smaller by a whole factor to at most `side` pixels. One channel is grey;
/// of more, the first three are red, green and blue.
///
/// # Errors
/// With the first file of the image that cannot be used.
pub fn picture(
    folder: &ImageFolder,
    layout: &ImageLayout,
    source: Source,
    id: &str,
    side: u32,
) -> Result<Vec<u8>, ImageError> {
    let planes = folder.read_image(layout, source, id)?;
    let (channels, size) = (layout.channel_count(), layout.size() as usize);
    let factor = size.div_ceil(side.max(1) as usize).max(1);
    let small = size / factor;
    let shown = if channels == 1 { 1 } else { COLOURS };
    let mut pixels = vec![0; small * small * shown];
    for (channel, plane) in planes.chunks_exact(size * size).take(shown).enumerate() {
        for (place, mean) in means(plane, size, factor).into_iter().enumerate() {
            pixels[place * shown + channel] = mean;
        }
    }
    Ok(png(&pixels, small as u32, shown))
}

/// The means of squares of `factor` pixels, row by row. What is left at the right and lower edge is not shown.
fn means(plane: &[u8], size: usize, factor: usize) -> Vec<u8> {
    let small = size / factor;
    let mut means = Vec::with_capacity(small * small);
    for top in 0..small {
        for left in 0..small {
            let rows = plane.chunks_exact(size).skip(top * factor).take(factor);
            let sum: usize =
                rows.flat_map(|row| &row[left * factor..][..factor]).map(|pixel| usize::from(*pixel)).sum();
            means.push((sum / (factor * factor)) as u8);
        }
    }
    means
}

fn png(pixels: &[u8], side: u32, channels: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(if channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(pixels));
    debug_assert!(written.is_ok(), "pixels in memory have the size of the header: {written:?}");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_folder::tests::{layout, write_image};

    #[test]
    fn a_picture_is_the_image_made_smaller() {
        let root = tempfile::tempdir().unwrap();
        write_image(root.path(), Source::Train, "a", 5, 10);
        let folder = ImageFolder::open(root.path()).unwrap();
        let layout = layout(5, "");
        let whole = folder.read_image(&layout, Source::Train, "a").unwrap();
        let decoded = |side| {
            let bytes = picture(&folder, &layout, Source::Train, "a", side).unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            (info.width, pixels)
        };
        let (width, pixels) = decoded(8);
        assert_eq!(width, 5);
        assert_eq!([pixels[0], pixels[1], pixels[2]], [whole[0], whole[25], whole[50]]);
        assert_eq!(decoded(2).0, 1);
        assert!(picture(&folder, &layout, Source::Train, "b", 8).is_err());
    }

    #[test]
    fn squares_become_their_means() {
        let plane = [0, 2, 9, 4, 6, 9, 9, 9, 9];
        assert_eq!(means(&plane, 3, 2), [3]);
        assert_eq!(means(&plane, 3, 1), plane);
    }
}
