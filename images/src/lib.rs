//! The images of a data set: the folder that has their files, checks before training, decoding and resizing.
//!
//! An [`ImageLayout`] says which files an image has and what size it gets; an [`ImageFolder`] reads it as planes of 8 bits. An [`image_check::ImageCheck`] finds files that are missing or cannot be
//! used by their headers, before anything is decoded; a [`survey`](survey::survey) reads and decodes every image.
#![warn(missing_docs)]

pub mod first_of_each;
mod formats;
pub mod image_check;
pub mod image_file;
pub mod image_folder;
pub mod image_header;
pub mod image_layout;
pub mod image_problem;
pub mod known_images;
pub mod packing;
pub mod picture;
mod resampling;
pub mod survey;
pub mod target;

#[doc(inline)]
pub use crate::{
    formats::Format,
    image_folder::ImageFolder,
    image_layout::ImageLayout,
    image_problem::{ImageError, ImageProblem},
};
