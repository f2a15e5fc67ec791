//! Images as a pack needs them: what decides on their pixels, and the state of their files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use fivefold_common::scores::Source;
use fivefold_pack::{Identity, ImageKey, SourceStamp};

use crate::image_folder::{FolderError, ImageFolder};
use crate::image_layout::ImageLayout;
use crate::image_problem::{ImageError, ImageProblem};

/// The version of decoding and resizing. It is raised with every change that gives some file other pixels, so that
/// images that were packed before are decoded again.
const DECODER: u32 = 1;

/// The images of a folder, to be packed.
#[derive(Debug, Clone)]
pub struct PackedImages {
    folder: Arc<ImageFolder>,
    layout: ImageLayout,
    /// The absolute path of the folder: equal names in two folders are different files.
    root: PathBuf,
}

impl PackedImages {
    /// The images of a `layout` in a folder.
    ///
    /// # Errors
    /// When the folder has no absolute path, such as after it was deleted.
    pub fn new(folder: Arc<ImageFolder>, layout: ImageLayout) -> Result<Self, FolderError> {
        let root = folder.root();
        let root = root.canonicalize().map_err(|error| FolderError { path: root.to_owned(), error })?;
        Ok(Self { folder, layout, root })
    }

    /// The folder.
    pub fn folder(&self) -> &Arc<ImageFolder> {
        &self.folder
    }

    /// The layout.
    pub fn layout(&self) -> &ImageLayout {
        &self.layout
    }

    /// All that decides on the pixels, apart from the files.
    pub fn identity(&self) -> Identity {
        self.layout.identity()
    }

    /// The name of an image in a pack.
    pub fn key(source: Source, id: &str) -> ImageKey {
        ImageKey::new(source.to_string(), id)
    }

    /// The state of the files that an image would be read from now.
    ///
    /// # Errors
    /// With the first file that does not exist or cannot be reached.
    pub fn stamp(&self, source: Source, id: &str) -> Result<SourceStamp, ImageError> {
        let mut files = Vec::new();
        for paths in self.layout.paths(source, id) {
            let first = paths.iter().map(|path| self.root.join(path)).find(|path| path.exists());
            files.push(first.unwrap_or_else(|| self.root.join(&paths[0])));
        }
        let failed = |error: io::Error| {
            let path = files.iter().find(|path| path.metadata().is_err()).or(files.first());
            ImageError { path: path.cloned().unwrap_or_default(), problem: ImageProblem::Unreadable(error) }
        };
        SourceStamp::of_files(&files).map_err(failed)
    }
}

impl ImageLayout {
    /// All that decides on the pixels of images, apart from their files.
    pub fn identity(&self) -> Identity {
        let channels = self.files().content.channel_names().join(" ");
        let fit = self.target(Source::Train).fit;
        let lists: Vec<String> = Source::ALL.iter().map(|source| self.rule(*source)).collect();
        Identity {
            image_size: self.size(),
            channels: u16::try_from(self.channel_count()).unwrap_or(u16::MAX),
            decoding: format!("decoder {DECODER}: {channels}, {fit}; {}", lists.join("; ")),
        }
    }

    /// Where the files of a list are, and how they get their size.
    fn rule(&self, source: Source) -> String {
        let paths = self.paths(source, "<id>");
        let files: Vec<String> = paths.iter().map(|paths| paths.join(" or ")).collect();
        let scaling = format!("{:?}", self.target(source).scaling).to_lowercase();
        format!("{source}: {}, {scaling}", files.join(" + "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_folder::tests::{layout, write_image};

    #[test]
    fn an_identity_tells_all_that_decides_on_pixels() {
        let root = tempfile::tempdir().unwrap();
        let folder = Arc::new(ImageFolder::open(root.path()).unwrap());
        let identity = |size, toml| PackedImages::new(folder.clone(), layout(size, toml)).unwrap().identity();
        let usual = identity(512, "");
        assert_eq!((usual.image_size, usual.channels), (512, 3));
        assert_eq!(
            usual.decoding,
            "decoder 1: red green blue, stretch; train: train/<id>_red.png + train/<id>_green.png + train/<id>_blue.png, \
             exact; hpa: hpa/<id>_red.png or hpa/<id>_red.jpg + hpa/<id>_green.png or hpa/<id>_green.jpg + \
             hpa/<id>_blue.png or hpa/<id>_blue.jpg, area; test: test/<id>_red.png + test/<id>_green.png + \
             test/<id>_blue.png, exact"
        );
        let one = "image_files = \"{id}\"\n";
        let others = [
            identity(256, ""),
            identity(512, "resize = \"area\""),
            identity(512, "resize = \"area\"\nfit = \"pad\""),
            identity(512, one),
            identity(512, &format!("{one}channels = [\"grey\"]")),
        ];
        for (place, other) in others.iter().enumerate() {
            assert!(*other != usual && !others[..place].contains(other), "{other}");
        }
    }

    #[test]
    fn a_stamp_is_of_the_file_that_is_read() {
        let root = tempfile::tempdir().unwrap();
        write_image(root.path(), Source::Hpa, "a", 4, 10);
        let red = root.path().join("hpa/a_red.png");
        std::fs::rename(&red, root.path().join("hpa/a_red.jpg")).unwrap();
        let folder = Arc::new(ImageFolder::open(root.path()).unwrap());
        let images = PackedImages::new(folder, layout(4, "")).unwrap();
        let jpeg = images.stamp(Source::Hpa, "a").unwrap();
        std::fs::write(&red, "a PNG is read before a JPEG").unwrap();
        assert_ne!(images.stamp(Source::Hpa, "a").unwrap(), jpeg);
        let error = images.stamp(Source::Train, "a").unwrap_err();
        assert!(error.path.ends_with("train/a_red.png"), "{error}");
        assert!(crate::image_folder::is_absent(&error.problem));
    }
}
