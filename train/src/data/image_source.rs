//! Where the images of batches come from.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fivefold_common::scores::Source;
use fivefold_images::image_folder::FolderError;
use fivefold_images::packing::PackedImages;
use fivefold_images::{ImageError, ImageFolder, ImageLayout, ImageProblem};
use fivefold_pack::cache::CacheError;
use fivefold_pack::{Buffers, Cache, CacheLimit, PushedImages};

/// Where the images of batches come from. Their pixels are the same, whichever it is.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// Decoded from their files each time.
    Files(Arc<ImageFolder>),
    /// Decoded from their files once, and read from a cache from then on.
    Cached(Arc<CachedImages>),
    /// Read from segments of packed images, which may still be on their way: a thread that needs one waits for it.
    Pushed(Arc<PushedImages>),
}

/// Images of one layout with their cache.
#[derive(Debug)]
pub struct CachedImages {
    images: PackedImages,
    cache: Cache,
}

/// A cache that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageSourceError {
    /// The folder of the images cannot be read.
    #[error(transparent)]
    Images(#[from] FolderError),
    /// The folder of the cache cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl From<Arc<ImageFolder>> for ImageSource {
    fn from(folder: Arc<ImageFolder>) -> Self {
        Self::Files(folder)
    }
}

impl From<Arc<PushedImages>> for ImageSource {
    /// The identity of the images has to be that of the layout which they are read with.
    fn from(images: Arc<PushedImages>) -> Self {
        Self::Pushed(images)
    }
}

impl ImageSource {
    /// Images of a `layout`, with a cache in the folder `cache`.
    ///
    /// # Errors
    /// When a folder cannot be used.
    pub fn cached(
        folder: Arc<ImageFolder>,
        layout: ImageLayout,
        cache: &Path,
        limit: CacheLimit,
    ) -> Result<Self, ImageSourceError> {
        let images = PackedImages::new(folder, layout)?;
        let cache = Cache::open(cache, &images.identity(), limit)?;
        Ok(Self::Cached(Arc::new(CachedImages { images, cache })))
    }

    /// The folder of the files.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Files(folder) => folder.root(),
            Self::Cached(cached) => cached.images.folder().root(),
            Self::Pushed(images) => images.folder(),
        }
    }

    /// An image, as [`ImageFolder::read_image`] gives it.
    ///
    /// # Errors
    /// With the first file that cannot be used. Of a cache that cannot be used, a warning is logged.
    pub(crate) fn read_image(
        &self,
        layout: &ImageLayout,
        (source, id): (Source, &str),
        buffers: &mut Buffers,
    ) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Files(folder) => folder.read_image(layout, source, id),
            Self::Cached(cached) => cached.read(layout, (source, id), buffers),
            Self::Pushed(images) => {
                let mut image = vec![0; layout.image_bytes()];
                let read = images.read(&PackedImages::key(source, id), buffers, &mut image);
                read.map_err(|error| unreadable(error.segment.clone(), error))?;
                Ok(image)
            }
        }
    }

    /// Makes what was decoded since the last call readable from the cache. To be called when no image is being read.
    pub(crate) fn end_pass(&self) {
        if let Self::Cached(cached) = self {
            cached.cache.seal();
        }
    }
}

impl CachedImages {
    fn read(
        &self,
        layout: &ImageLayout,
        (source, id): (Source, &str),
        buffers: &mut Buffers,
    ) -> Result<Vec<u8>, ImageError> {
        let Self { images, cache } = self;
        let folder = images.folder();
        // Without a stamp there is no file; reading says so.
        let Ok(stamp) = images.stamp(source, id) else { return folder.read_image(layout, source, id) };
        if images.layout() != layout {
            return folder.read_image(layout, source, id);
        }
        let mut image = vec![0; layout.image_bytes()];
        let decode = |image: &mut [u8]| folder.read_image_into(layout, source, id, image);
        cache.image(&PackedImages::key(source, id), stamp, &mut image, buffers, decode)?;
        Ok(image)
    }
}

fn unreadable(path: PathBuf, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ImageError {
    ImageError { path, problem: ImageProblem::Unreadable(io::Error::other(error)) }
}
