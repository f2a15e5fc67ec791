//! safetensors files of named tensors, written whole or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use fivefold_common::durable_file::{DurableFile, WriteError};
use fivefold_common::network::{FileTensor, Numbers};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, View};
use tch::{Device, Kind, TchError, Tensor};

use crate::torch::tensors::NamedTensor;

/// A safetensors file in memory, with a valid header and of the right length.
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
    entries: BTreeMap<String, Entry>,
    metadata: HashMap<String, String>,
}

struct Entry {
    kind: Option<Kind>,
    dtype: Dtype,
    shape: Vec<i64>,
    place: std::ops::Range<usize>,
}

/// Why a file of tensors cannot be written, read or used. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// The file cannot be written; nothing incomplete is left.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a complete safetensors file.
    #[error("{}: not a complete safetensors file: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The tensors are not those of the model.
    #[error("{}: the tensors are not those of the model: {mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The differences.
        mismatch: Mismatch,
    },
    /// libtorch failed, for example for lack of memory.
    #[error("{}: {source}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// libtorch's error.
        source: TchError,
    },
}

/// How the tensors of a file differ from the expected ones, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Expected, but not in the file.
    pub missing: Vec<String>,
    /// In the file, but not expected.
    pub extra: Vec<String>,
    /// Of another shape or number format than expected; each name is followed by both.
    pub misshaped: Vec<String>,
}

impl Mismatch {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.misshaped.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (what, names) in [("missing", &self.missing), ("extra", &self.extra), ("misshaped", &self.misshaped)] {
            if !names.is_empty() {
                write!(f, "{separator}{} {what}: {}", names.len(), names.join(", "))?;
                separator = "; ";
            }
        }
        Ok(())
    }
}

impl TensorFile {
    /// Writes `tensors` and `metadata`. When this returns, the file is complete and synced to disk; after an error there is no
    /// new file.
    ///
    /// `metadata` is a single key with its value: several would be written in random order, and equal tensors should give
    /// equal bytes.
    ///
    /// # Errors
    /// When the file cannot be written, or a tensor is neither fp32 nor int64.
    pub fn write(path: &Path, tensors: &[NamedTensor], metadata: (&str, String)) -> Result<(), TensorFileError> {
        let views = tensors
            .iter()
            .map(|named| Ok((named.name.as_str(), TensorView::new(&named.tensor)?)))
            .collect::<Result<Vec<_>, TchError>>()
            .map_err(|source| TensorFileError::Torch { path: path.to_owned(), source })?;
        let metadata = HashMap::from([(metadata.0.to_owned(), metadata.1)]);
        let file = DurableFile::create(path)?;
        safetensors::serialize_to_file(views, Some(metadata), file.temporary_path()).map_err(|error| match error {
            SafeTensorError::IoError(error) => WriteError { path: path.to_owned(), error }.into(),
            other => TensorFileError::Malformed { path: path.to_owned(), problem: other.to_string() },
        })?;
        Ok(file.commit()?)
    }

    /// Reads a file and checks its header and its length. Changed numbers are not noticed; digests are for that.
    ///
    /// # Errors
    /// When the file cannot be read or is not a complete safetensors file.
    pub fn read(path: &Path) -> Result<Self, TensorFileError> {
        let bytes = std::fs::read(path).map_err(|source| TensorFileError::Read { path: path.to_owned(), source })?;
        let (header_length, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| TensorFileError::Malformed { path: path.to_owned(), problem: error.to_string() })?;
        let start = 8 + header_length;
        let entries = header
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let entry = Entry {
                    kind: kind_of(info.dtype),
                    dtype: info.dtype,
                    shape: info.shape.iter().map(|&side| side as i64).collect(),
                    place: start + info.data_offsets.0..start + info.data_offsets.1,
                };
                (name, entry)
            })
            .collect();
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(Self { path: path.to_owned(), bytes, entries, metadata })
    }

    /// The value of a key of the metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Shapes and numbers of the tensors, by name.
    pub fn tensors(&self) -> BTreeMap<String, FileTensor> {
        let tensor = |entry: &Entry| FileTensor {
            shape: entry.shape.iter().map(|&side| side as u64).collect(),
            numbers: entry
                .kind
                .map_or(Numbers::Other, |kind| if is_float(kind) { Numbers::Float } else { Numbers::Integer }),
        };
        self.entries.iter().map(|(name, entry)| (name.clone(), tensor(entry))).collect()
    }

    /// The bytes of the tensor of that name, little-endian and in row-major order.
    pub fn bytes_of(&self, name: &str) -> Option<&[u8]> {
        self.entries.get(name).map(|entry| &self.bytes[entry.place.clone()])
    }

    /// The differences between the file's tensors and `targets`. Names for which `is_ignored` holds are not extra.
    pub fn mismatch(&self, targets: &[NamedTensor], is_ignored: impl Fn(&str) -> bool) -> Mismatch {
        let mut mismatch = Mismatch::default();
        let mut expected = std::collections::BTreeSet::new();
        for NamedTensor { name, tensor } in targets {
            expected.insert(name.as_str());
            let Some(entry) = self.entries.get(name) else {
                mismatch.missing.push(name.clone());
                continue;
            };
            let shape = tensor.size();
            if entry.shape != shape || entry.kind != Some(tensor.kind()) {
                let (found, wanted) = (entry.dtype, tensor.kind());
                mismatch.misshaped.push(format!("{name} ({found} {:?} for {wanted:?} {shape:?})", entry.shape));
            }
        }
        mismatch
            .extra
            .extend(self.names().filter(|&name| !expected.contains(name) && !is_ignored(name)).map(str::to_owned));
        mismatch
    }

    /// Copies the file's tensors into the `targets` of the same names, in place.
    ///
    /// # Errors
    /// When the tensors differ from `targets` in names, shapes or formats. Then none is copied.
    pub fn copy_into(&self, targets: &[NamedTensor], is_ignored: impl Fn(&str) -> bool) -> Result<(), TensorFileError> {
        let mismatch = self.mismatch(targets, is_ignored);
        if !mismatch.is_empty() {
            return Err(TensorFileError::Mismatch { path: self.path.clone(), mismatch });
        }
        for NamedTensor { name, tensor } in targets {
            self.copy_converted(name, tensor, |values| Ok(values.shallow_clone()))?;
        }
        Ok(())
    }

    /// Copies what `convert` makes of the file's tensor `name`, on the CPU, into `target`, in place. Without a tensor of that
    /// name and of a supported format, nothing happens.
    ///
    /// # Errors
    /// When `convert` or libtorch fails, for example because the shapes differ.
    pub fn copy_converted(
        &self,
        name: &str,
        target: &Tensor,
        convert: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<(), TensorFileError> {
        let Some(Entry { kind: Some(kind), shape, place, .. }) = self.entries.get(name) else { return Ok(()) };
        tch::no_grad(|| {
            let values = Tensor::f_from_data_size(&self.bytes[place.clone()], shape, *kind)?;
            target.shallow_clone().f_copy_(&convert(&values)?)
        })
        .map(|_| ())
        .map_err(|source| TensorFileError::Torch { path: self.path.clone(), source })
    }
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::F64 => Some(Kind::Double),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::I64 => Some(Kind::Int64),
        _ => None,
    }
}

fn is_float(kind: Kind) -> bool {
    kind != Kind::Int64
}

/// A tensor in the form that the safetensors crate writes.
struct TensorView<'a> {
    tensor: &'a Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl<'a> TensorView<'a> {
    fn new(tensor: &'a Tensor) -> Result<Self, TchError> {
        let dtype = match tensor.f_kind()? {
            Kind::Float => Dtype::F32,
            Kind::Int64 => Dtype::I64,
            other => return Err(TchError::Kind(format!("tensors of kind {other:?} are not written"))),
        };
        Ok(Self { tensor, dtype, shape: tensor.size().iter().map(|&side| side as usize).collect() })
    }
}

impl View for TensorView<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let tensor = self.tensor.detach().to_device(Device::Cpu).contiguous();
        let mut bytes = vec![0; self.data_len()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.tensor.kind().elt_size_in_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, tensor: Tensor) -> NamedTensor {
        NamedTensor { name: name.into(), tensor }
    }

    #[test]
    fn tensors_and_metadata_round_trip_and_equal_tensors_give_equal_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let matrix = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]);
        // Not contiguous: the file has the logical order of the values, not that in memory.
        let tensors = [named("m", matrix.tr()), named("count", Tensor::from(7i64))];
        TensorFile::write(&path, &tensors, ("key", "value".into())).unwrap();
        let first = std::fs::read(&path).unwrap();
        TensorFile::write(&path, &tensors, ("key", "value".into())).unwrap();
        assert_eq!(first, std::fs::read(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        let file = TensorFile::read(&path).unwrap();
        assert_eq!(file.metadata("key"), Some("value"));
        assert_eq!(file.names().collect::<Vec<_>>(), ["count", "m"]);
        let targets =
            [named("m", Tensor::zeros([3, 2], (Kind::Float, Device::Cpu))), named("count", Tensor::from(0i64))];
        file.copy_into(&targets, |_| false).unwrap();
        assert_eq!(targets[0].tensor, matrix.tr());
        assert_eq!(targets[1].tensor.int64_value(&[]), 7);
    }

    #[test]
    fn differences_are_named_and_nothing_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
        TensorFile::write(
            &path,
            &[named("a", ones(&[2])), named("b", ones(&[2])), named("x", ones(&[1]))],
            ("k", "".into()),
        )
        .unwrap();
        let file = TensorFile::read(&path).unwrap();
        let targets = [named("a", ones(&[2]) * 5), named("b", ones(&[3])), named("c", ones(&[1]))];
        let message = file.copy_into(&targets, |_| false).unwrap_err().to_string();
        for part in ["1 missing: c", "1 extra: x", "1 misshaped: b (F32 [2] for Float [3])", "a.safetensors"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(targets[0].tensor, ones(&[2]) * 5);
    }

    #[test]
    fn truncated_files_and_missing_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensors = [named("a", Tensor::from(1i64))];
        TensorFile::write(&path, &tensors, ("k", "v".into())).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 4, 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(TensorFile::read(&path), Err(TensorFileError::Malformed { .. })), "{length}");
        }
        let missing = folder.path().join("none/a.safetensors");
        assert!(matches!(TensorFile::write(&missing, &tensors, ("k", "v".into())), Err(TensorFileError::Write(_))));
        assert!(matches!(TensorFile::read(&missing), Err(TensorFileError::Read { .. })));
    }
}
