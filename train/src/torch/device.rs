//! Devices: choosing one, loading CUDA, setting libtorch up for training, and recognising a lack of memory.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Once;

use fivefold_common::spec::JobSetSpec;
use tch::{Cuda, TchError};

use crate::torch::extension;

/// The version of libtorch that this crate is built against.
pub const LIBTORCH_VERSION: &str = "2.11.0";

/// A device that libtorch computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// A CUDA device, counted from 0.
    Cuda(usize),
}

impl Device {
    /// Whether it is a CUDA device.
    pub fn is_cuda(self) -> bool {
        matches!(self, Self::Cuda(_))
    }
}

impl From<Device> for tch::Device {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Cpu,
            Device::Cuda(index) => Self::Cuda(index),
        }
    }
}

/// A choice of devices, as a user writes it: `auto`, `cpu` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// Every CUDA device of the machine, or the CPU where there is none.
    Auto,
    /// The CPU.
    Cpu,
    /// One CUDA device, counted from 0.
    Cuda(usize),
}

/// A device that this machine does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no device cuda:{index}: libtorch sees {count} CUDA devices")]
pub struct NoSuchDevice {
    index: usize,
    count: usize,
}

impl DeviceChoice {
    /// The one device to use: with [`DeviceChoice::Auto`] the first CUDA device, or the CPU where there is none.
    ///
    /// # Errors
    /// When libtorch does not see the CUDA device. Call [`load_cuda`] before.
    pub fn device(self) -> Result<Device, NoSuchDevice> {
        let count = cuda_device_count();
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if count == 0 => Ok(Device::Cpu),
            Self::Auto => Ok(Device::Cuda(0)),
            Self::Cuda(index) if index < count => Ok(Device::Cuda(index)),
            Self::Cuda(index) => Err(NoSuchDevice { index, count }),
        }
    }
}

/// A text that is not a [`DeviceChoice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a device: expected auto, cpu or cuda:N")]
pub struct DeviceChoiceError(String);

impl FromStr for DeviceChoice {
    type Err = DeviceChoiceError;

    fn from_str(text: &str) -> Result<Self, DeviceChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            _ => text
                .strip_prefix("cuda:")
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| DeviceChoiceError(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// The result of loading libtorch's CUDA library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CudaLibrary {
    /// Loaded from this file.
    Loaded(PathBuf),
    /// This libtorch has no CUDA library.
    Absent,
    /// The library exists and cannot be loaded, for this reason.
    Failed(String),
}

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Loads `libtorch_cuda.so`, without which libtorch sees no CUDA devices: from the folder of the loaded `libtorch_cpu.so`, or
/// else from the loader's search path.
///
/// Call it first in `main`, before any other thread and any tensor.
pub fn load_cuda() -> CudaLibrary {
    // cuBLAS reads it at its start and is reproducible only with it (NVIDIA's cuBLAS guide, "Results Reproducibility").
    extension::default_environment(c"CUBLAS_WORKSPACE_CONFIG", c":4096:8");
    let beside = loaded_library("libtorch_cpu.so").and_then(|path| Some(path.parent()?.join(CUDA_LIBRARY)));
    let path = beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(CUDA_LIBRARY));
    match extension::load_for_good(&path) {
        Ok(()) => CudaLibrary::Loaded(loaded_library(CUDA_LIBRARY).unwrap_or(path)),
        Err(reason) => {
            // The loader names the file that it did not find. Any other file is a missing dependency of the library.
            if reason.contains(&format!("{CUDA_LIBRARY}: cannot open shared object file")) {
                CudaLibrary::Absent
            } else {
                CudaLibrary::Failed(reason)
            }
        }
    }
}

/// The file of a loaded library.
fn loaded_library(name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let path = &line[line.find('/')?..];
        (Path::new(path).file_name()? == name).then(|| PathBuf::from(path))
    })
}

/// The number of CUDA devices that libtorch sees; 0 before [`load_cuda`].
pub fn cuda_device_count() -> usize {
    if Cuda::is_available() { usize::try_from(Cuda::device_count()).unwrap_or(0) } else { 0 }
}

/// Sets libtorch up for training `spec` on `device`: the number of threads, and reproducible or fastest algorithms.
///
/// Call it on the training thread: the number of intra-op threads is a setting of the calling thread. TF32 keeps libtorch's
/// defaults: on in convolutions, off in matrix products.
///
/// # Errors
/// When libtorch refuses a setting.
pub fn prepare(device: Device, spec: &JobSetSpec) -> Result<(), TchError> {
    static INTEROP_THREADS: Once = Once::new();
    INTEROP_THREADS.call_once(|| {
        // Refused once parallel work has begun. That does no harm: operations never run side by side here.
        let _ = extension::set_interop_threads(1);
    });
    tch::set_num_threads(i32::try_from(spec.intraop_threads).unwrap_or(1));
    if device.is_cuda() {
        extension::set_reproducibility(spec.deterministic)?;
    }
    Ok(())
}

/// A description for people: `cpu`, or `cuda:0 NVIDIA H100 80GB HBM3`.
pub fn describe(device: Device) -> String {
    match device {
        Device::Cuda(index) => match extension::cuda_device_name(index) {
            Some(name) => format!("cuda:{index} {name}"),
            None => format!("cuda:{index}"),
        },
        Device::Cpu => "cpu".into(),
    }
}

/// The kind of a failure of libtorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The device has too little memory.
    OutOfMemory(FreeMemory),
    /// Any other failure.
    Other,
}

/// The free memory of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeMemory {
    /// The device reports it.
    Known {
        /// Free memory in bytes.
        free_bytes: u64,
        /// All memory in bytes.
        total_bytes: u64,
    },
    /// The device does not report it.
    Unknown,
}

impl fmt::Display for FreeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        match self {
            Self::Known { free_bytes, total_bytes } => {
                write!(f, "{} MiB of {} MiB free", free_bytes / MIB, total_bytes / MIB)
            }
            Self::Unknown => f.write_str("free memory unknown"),
        }
    }
}

/// Recognises a lack of memory by the message of a [`TchError`], or of the panic that tch raised.
pub fn classify(device: Device, message: &str) -> Failure {
    const SIGNS: [&str; 5] = [
        "out of memory",
        "DefaultCPUAllocator: can't allocate memory",
        "DefaultCPUAllocator: not enough memory",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_ALLOC_FAILED",
    ];
    if !SIGNS.iter().any(|sign| message.contains(sign)) {
        return Failure::Other;
    }
    let memory = match device {
        Device::Cuda(index) => extension::cuda_memory(index),
        Device::Cpu => None,
    };
    Failure::OutOfMemory(match memory {
        Some((free_bytes, total_bytes)) => FreeMemory::Known { free_bytes, total_bytes },
        None => FreeMemory::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_choices_are_parsed_and_others_refused() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(12)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for text in ["", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "CPU"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn libtorch_works_with_and_without_cuda() {
        // Absent with the CPU's libtorch, loaded with the full one.
        let cuda = load_cuda();
        println!("{cuda:?}");
        assert!(!matches!(cuda, CudaLibrary::Failed(_)), "{cuda:?}");
        assert!(loaded_library("libtorch_cpu.so").is_some_and(|path| path.is_absolute()));
        assert_eq!(describe(Device::Cpu), "cpu");
        prepare(Device::Cpu, &JobSetSpec { intraop_threads: 2, ..JobSetSpec::default() }).unwrap();
        assert_eq!(tch::get_num_threads(), 2);
    }

    #[test]
    fn a_lack_of_memory_is_recognised() {
        let error = tch::Tensor::f_empty([1 << 50], tch::kind::FLOAT_CPU).unwrap_err().to_string();
        assert_eq!(classify(Device::Cpu, &error), Failure::OutOfMemory(FreeMemory::Unknown), "{error}");
        let cuda = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB";
        assert_eq!(classify(Device::Cpu, cuda), Failure::OutOfMemory(FreeMemory::Unknown));
        assert_eq!(classify(Device::Cpu, "mat1 and mat2 shapes cannot be multiplied"), Failure::Other);
    }
}
