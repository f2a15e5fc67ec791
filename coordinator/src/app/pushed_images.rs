//! Pushed images, checked against the settings and the lists that they are for.

use std::collections::HashSet;

use fivefold_common::ids::Digest;
use fivefold_common::manifest::Manifest;
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::ImageLayout;
use fivefold_pack::{Identity, ImageIndex, ImageKey};

use super::{Coordinator, blocking};
use crate::error::Error;

/// Refuses pushed images that cannot be used with the settings, lack an image of a list, or lack a segment. Segments are kept for
/// a while from now on. Returns the index.
///
/// # Errors
/// [`Error::BadContent`].
pub(super) async fn check(
    coordinator: &Coordinator,
    spec: &JobSetSpec,
    images: Digest,
    lists: Vec<(Source, Manifest)>,
) -> Result<ImageIndex, Error> {
    let index = read(coordinator, images).await?;
    let layout = ImageLayout::of(spec).map_err(|error| Error::BadContent(error.to_string()))?;
    require_identity(&index.identity, &layout.identity())?;
    let index = require_images(index, lists, "push the data set with this list").await?;
    require_segments(coordinator, &index).await?;
    Ok(index)
}

/// Refuses a test list with an image that is not among the pushed ones.
///
/// # Errors
/// [`Error::BadContent`].
pub(super) async fn check_test_list(coordinator: &Coordinator, images: Digest, test: Manifest) -> Result<(), Error> {
    let index = read(coordinator, images).await?;
    let advice = "the job set has the images that it was submitted with, and no others";
    require_images(index, vec![(Source::Test, test)], advice).await.map(|_| ())
}

async fn read(coordinator: &Coordinator, images: Digest) -> Result<ImageIndex, Error> {
    let bytes = coordinator.blobs.read(images).await?;
    let failed = |problem| Error::BadContent(format!("the index of the pushed images: {problem}"));
    blocking(move || ImageIndex::parse(&bytes).map_err(failed)).await
}

fn require_identity(pushed: &Identity, wanted: &Identity) -> Result<(), Error> {
    if pushed == wanted {
        return Ok(());
    }
    let size = |Identity { image_size, channels, .. }: &Identity| format!("{channels} x {image_size} x {image_size}");
    let difference = if size(pushed) == size(wanted) {
        let (pushed, wanted) = (&pushed.decoding, &wanted.decoding);
        format!("the pushed images were decoded as \"{pushed}\", but the settings say \"{wanted}\"")
    } else {
        let (pushed, wanted) = (size(pushed), size(wanted));
        format!("the pushed images have the size {pushed} (channels, pixels), but the settings say {wanted}")
    };
    let advice = "leave out settings on images, or push the data set again with them";
    Err(Error::BadContent(format!("{difference}: {advice}")))
}

async fn require_images(
    index: ImageIndex,
    lists: Vec<(Source, Manifest)>,
    advice: &'static str,
) -> Result<ImageIndex, Error> {
    blocking(move || {
        let pushed: HashSet<(&str, &str)> =
            index.images().map(|ImageKey { list, id }| (list.as_str(), id.as_str())).collect();
        for (source, list) in &lists {
            let name = source.to_string();
            let is_missing = |id: &str| !pushed.contains(&(name.as_str(), id));
            let mut missing = list.rows.iter().enumerate().filter(|(_, row)| is_missing(&row.id));
            if let Some((place, row)) = missing.next() {
                let (row_number, id, more) = (place + 1, &row.id, missing.count());
                let more = if more == 0 { String::new() } else { format!(", and {more} more images of the list") };
                return Err(Error::BadContent(format!(
                    "the {source} list, row {row_number}: the image {id:?} is not among the pushed ones{more}: {advice}"
                )));
            }
        }
        drop(pushed);
        Ok(index)
    })
    .await
}

async fn require_segments(coordinator: &Coordinator, index: &ImageIndex) -> Result<(), Error> {
    let digests = index.segments.iter().map(|segment| segment.digest).collect();
    let held = coordinator.queue.touch_artifacts(coordinator.now(), digests).await?;
    let is_held = |segment: &&fivefold_pack::IndexedSegment| held.get(&segment.digest) == Some(&segment.bytes);
    let missing: Vec<Digest> =
        index.segments.iter().filter(|segment| !is_held(segment)).map(|segment| segment.digest).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let (count, all) = (missing.len(), index.segments.len());
    Err(Error::BadContent(format!(
        "{count} of {all} segments of the pushed images are not held, such as {first}: push the data set again"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(image_size: u32, decoding: &str) -> Identity {
        Identity { image_size, channels: 3, decoding: decoding.to_owned() }
    }

    #[test]
    fn images_of_other_settings_are_refused_with_the_difference() {
        let pushed = identity(512, "exact");
        assert!(require_identity(&pushed, &identity(512, "exact")).is_ok());
        let size = require_identity(&pushed, &identity(768, "area")).unwrap_err().to_string();
        assert!(size.contains("size 3 x 512 x 512 (channels, pixels), but the settings say 3 x 768 x 768"), "{size}");
        let decoding = require_identity(&pushed, &identity(512, "area")).unwrap_err().to_string();
        assert!(decoding.contains("decoded as \"exact\", but the settings say \"area\""), "{decoding}");
        assert!(decoding.ends_with("push the data set again with them"), "{decoding}");
    }
}
