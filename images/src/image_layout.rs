//! The images of a job set: their files, and the planes that are read from them.

use fivefold_common::image_files::{ImageContent, ImageFiles};
use fivefold_common::scores::Source;
use fivefold_common::spec::{ImageFit, JobSetSpec, Resize, SpecError};

use crate::image_file::Taken;
use crate::target::{Scaling, Target};

/// Which files an image has, what is taken from them, and what size it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayout {
    files: ImageFiles,
    channel_files: Vec<ChannelFile>,
    size: u32,
    resize: Resize,
    fit: ImageFit,
}

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelFile {
    /// What stands for `{channel}` in its path.
    pub(crate) channel: String,
    /// What is taken from it.
    pub(crate) taken: Taken,
}

impl ImageLayout {
    /// The layout that a spec describes.
    ///
    /// # Errors
    /// If `image_files` or `channels` cannot be used. The spec's own check finds that too.
    pub fn of(spec: &JobSetSpec) -> Result<Self, SpecError> {
        let files = ImageFiles::of(spec)?;
        let one_file = match files.content {
            ImageContent::FilePerChannel(_) => None,
            ImageContent::Rgb => Some(Taken::Rgb),
            ImageContent::Grey => Some(Taken::Grey),
        };
        let channel_file = |channel: String| {
            let taken = one_file.unwrap_or_else(|| Taken::of_channel(&channel));
            ChannelFile { channel, taken }
        };
        let channel_files = files.channels().into_iter().map(channel_file).collect();
        Ok(Self { files, channel_files, size: spec.image_size, resize: spec.resize, fit: spec.fit })
    }

    /// The side of an image, in pixels.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The number of channels of an image.
    pub fn channel_count(&self) -> usize {
        self.files.content.channel_count()
    }

    /// The size of an image in bytes: its channels as planes, one byte for each pixel.
    pub fn image_bytes(&self) -> usize {
        self.channel_count() * self.size as usize * self.size as usize
    }

    /// The size of images of a list, and how they get it.
    pub fn target(&self, source: Source) -> Target {
        let scaling = match (self.resize, source) {
            (Resize::Exact, _) | (Resize::HpaArea, Source::Train | Source::Test) => Scaling::Exact,
            (Resize::Area, _) | (Resize::HpaArea, Source::Hpa) => Scaling::Area,
            (Resize::Bilinear, _) => Scaling::Bilinear,
        };
        Target { size: self.size, scaling, fit: self.fit }
    }

    /// The possible paths of each file of an image, below the folder of images. The first that exists is read.
    pub fn paths(&self, source: Source, id: &str) -> Vec<Vec<String>> {
        self.channel_files.iter().map(|file| self.files.paths(source, id, &file.channel)).collect()
    }

    /// The description of the files.
    pub fn files(&self) -> &ImageFiles {
        &self.files
    }

    pub(crate) fn channel_files(&self) -> &[ChannelFile] {
        &self.channel_files
    }
}
