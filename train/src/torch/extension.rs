//! All unsafe code of the crate: calls into `extension.cpp`, and libraries loaded at run time.
#![expect(unsafe_code, reason = "libtorch's C++ interface and the dynamic loader have no safe binding")]

use std::error::Error as _;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Kind, TchError, Tensor};

type TensorPointer = *const c_void;

unsafe extern "C" {
    fn fivefold_adam_step(
        parameters: *const TensorPointer,
        first_moments: *const TensorPointer,
        second_moments: *const TensorPointer,
        count: usize,
        step: f64,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        decoupled: bool,
        epsilon: f64,
    ) -> *const c_char;
    fn fivefold_sgd_step(
        parameters: *const TensorPointer,
        momenta: *const TensorPointer,
        count: usize,
        first_step: bool,
        learning_rate: f64,
        momentum: f64,
        weight_decay: f64,
        nesterov: bool,
    ) -> *const c_char;
    fn fivefold_clear_gradients(parameters: *const TensorPointer, count: usize) -> *const c_char;
    fn fivefold_unscale_gradients(
        parameters: *const TensorPointer,
        count: usize,
        scale: f64,
        overflowed: *mut bool,
    ) -> *const c_char;
    fn fivefold_enter_autocast(cuda: bool, kind: c_int) -> *const c_char;
    fn fivefold_leave_autocast(cuda: bool) -> *const c_char;
    fn fivefold_set_reproducibility(deterministic: bool) -> *const c_char;
    fn fivefold_set_interop_threads(threads: c_int) -> *const c_char;
    fn fivefold_default_environment(name: *const c_char, value: *const c_char);
}

/// Converts the answer of the extension: null, or an error message.
fn checked(message: *const c_char) -> Result<(), TchError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the message is a C string, valid until this thread's next call, and is copied here.
    Err(TchError::Torch(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()))
}

fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<TensorPointer> {
    tensors.into_iter().map(|tensor| tensor.as_ptr().cast()).collect()
}

/// How Adam applies the weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decay {
    /// Added to the gradient (Adam).
    InGradient,
    /// Subtracted from the weights (AdamW).
    Decoupled,
}

/// The parameters of an Adam step.
pub(crate) struct AdamStep {
    pub(crate) step: i64,
    pub(crate) learning_rate: f64,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) weight_decay: f64,
    pub(crate) decay: Decay,
    pub(crate) epsilon: f64,
}

/// libtorch's fused Adam or AdamW over all parameters, in place. The three lists have the same length and shapes.
pub(crate) fn adam_step<'a>(
    parameters: impl IntoIterator<Item = &'a Tensor>,
    first_moments: &[Tensor],
    second_moments: &[Tensor],
    numbers: &AdamStep,
) -> Result<(), TchError> {
    let parameters = pointers(parameters);
    let (first_moments, second_moments) = (pointers(first_moments), pointers(second_moments));
    assert!(first_moments.len() == parameters.len() && second_moments.len() == parameters.len());
    // SAFETY: three arrays of `count` pointers to tensors that outlive the call.
    checked(unsafe {
        fivefold_adam_step(
            parameters.as_ptr(),
            first_moments.as_ptr(),
            second_moments.as_ptr(),
            parameters.len(),
            numbers.step as f64,
            numbers.learning_rate,
            numbers.beta1,
            numbers.beta2,
            numbers.weight_decay,
            numbers.decay == Decay::Decoupled,
            numbers.epsilon,
        )
    })
}

/// The parameters of an SGD step.
pub(crate) struct SgdStep {
    pub(crate) is_first: bool,
    pub(crate) learning_rate: f64,
    pub(crate) momentum: f64,
    pub(crate) weight_decay: f64,
    pub(crate) nesterov: bool,
}

/// libtorch's fused SGD over all parameters, in place. `momenta` is empty when the momentum is 0.
pub(crate) fn sgd_step<'a>(
    parameters: impl IntoIterator<Item = &'a Tensor>,
    momenta: &[Tensor],
    numbers: &SgdStep,
) -> Result<(), TchError> {
    let parameters = pointers(parameters);
    let momenta = pointers(momenta);
    assert!(momenta.is_empty() || momenta.len() == parameters.len());
    let momenta_start = if momenta.is_empty() { std::ptr::null() } else { momenta.as_ptr() };
    // SAFETY: arrays of `count` pointers to tensors that outlive the call, or null.
    checked(unsafe {
        fivefold_sgd_step(
            parameters.as_ptr(),
            momenta_start,
            parameters.len(),
            numbers.is_first,
            numbers.learning_rate,
            numbers.momentum,
            numbers.weight_decay,
            numbers.nesterov,
        )
    })
}

/// Frees the gradients, so that the next backward pass writes them instead of adding to them.
pub(crate) fn clear_gradients<'a>(parameters: impl IntoIterator<Item = &'a Tensor>) -> Result<(), TchError> {
    let parameters = pointers(parameters);
    // SAFETY: an array of `count` pointers to tensors that outlive the call.
    checked(unsafe { fivefold_clear_gradients(parameters.as_ptr(), parameters.len()) })
}

/// Divides the gradients by `scale`, in place. Returns whether one was infinite or not a number.
pub(crate) fn unscale_gradients<'a>(
    parameters: impl IntoIterator<Item = &'a Tensor>,
    scale: f64,
) -> Result<bool, TchError> {
    let parameters = pointers(parameters);
    let mut overflowed = false;
    // SAFETY: an array of `count` pointers to tensors that outlive the call, and a valid pointer for the answer.
    checked(unsafe { fivefold_unscale_gradients(parameters.as_ptr(), parameters.len(), scale, &raw mut overflowed) })?;
    Ok(overflowed)
}

/// Keeps autocast on for this thread until dropped.
pub(crate) struct AutocastGuard {
    cuda: bool,
}

impl AutocastGuard {
    /// Turns autocast on. `kind` is `Kind::BFloat16` or `Kind::Half`.
    pub(crate) fn enter(cuda: bool, kind: Kind) -> Result<Self, TchError> {
        // SAFETY: plain values.
        checked(unsafe { fivefold_enter_autocast(cuda, c_int::from(kind != Kind::BFloat16)) })?;
        Ok(Self { cuda })
    }
}

impl Drop for AutocastGuard {
    fn drop(&mut self) {
        // SAFETY: plain values. A failure can be ignored: the call only frees memory and sets flags.
        let _ = checked(unsafe { fivefold_leave_autocast(self.cuda) });
    }
}

/// Makes libtorch and cuDNN use reproducible algorithms, or the fastest ones.
pub(crate) fn set_reproducibility(deterministic: bool) -> Result<(), TchError> {
    // SAFETY: plain values.
    checked(unsafe { fivefold_set_reproducibility(deterministic) })
}

/// Sets the number of inter-op threads. Fails once parallel work has begun.
pub(crate) fn set_interop_threads(threads: c_int) -> Result<(), TchError> {
    // SAFETY: plain values.
    checked(unsafe { fivefold_set_interop_threads(threads) })
}

/// Sets an environment variable unless it is set. Call it before other threads run.
pub(crate) fn default_environment(name: &CStr, value: &CStr) {
    // SAFETY: two C strings, copied by setenv.
    unsafe { fivefold_default_environment(name.as_ptr(), value.as_ptr()) }
}

/// Loads a shared library with global symbols, and never unloads it. The error is the loader's message.
pub(crate) fn load_for_good(path: &Path) -> Result<(), String> {
    // SAFETY: only used for libtorch's own libraries, whose initialisers register kernels.
    match unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(error.source().unwrap_or(&error).to_string()),
    }
}

/// Free and total bytes of CUDA device `index`, if the CUDA runtime reports them.
pub(crate) fn cuda_memory(index: usize) -> Option<(u64, u64)> {
    let index = c_int::try_from(index).ok()?;
    let this = Library::this();
    let (mut free, mut total, mut previous) = (0usize, 0usize, 0);
    // SAFETY: the signatures are those of the CUDA runtime, which are stable.
    unsafe {
        let get_device = this.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(b"cudaGetDevice\0").ok()?;
        let set_device = this.get::<unsafe extern "C" fn(c_int) -> c_int>(b"cudaSetDevice\0").ok()?;
        let memory = this.get::<unsafe extern "C" fn(*mut usize, *mut usize) -> c_int>(b"cudaMemGetInfo\0").ok()?;
        if get_device(&raw mut previous) != 0 || set_device(index) != 0 {
            return None;
        }
        let status = memory(&raw mut free, &raw mut total);
        set_device(previous);
        (status == 0).then_some((free as u64, total as u64))
    }
}

/// The name of CUDA device `index`, such as "NVIDIA H100 80GB HBM3", if the driver reports it.
pub(crate) fn cuda_device_name(index: usize) -> Option<String> {
    let index = c_int::try_from(index).ok()?;
    let mut name = [0u8; 256];
    // SAFETY: the signatures are those of the CUDA driver; the driver writes at most the length of `name`.
    unsafe {
        let driver = Library::open(Some("libcuda.so.1"), RTLD_NOW).ok()?;
        let init = driver.get::<unsafe extern "C" fn(u32) -> c_int>(b"cuInit\0").ok()?;
        let get = driver.get::<unsafe extern "C" fn(*mut c_int, c_int) -> c_int>(b"cuDeviceGet\0").ok()?;
        let get_name =
            driver.get::<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>(b"cuDeviceGetName\0").ok()?;
        let mut device = 0;
        let answered = init(0) == 0
            && get(&raw mut device, index) == 0
            && get_name(name.as_mut_ptr().cast(), name.len() as c_int, device) == 0;
        // Stays loaded: libtorch uses the driver as well.
        std::mem::forget(driver);
        if !answered {
            return None;
        }
    }
    let text = CStr::from_bytes_until_nul(&name).ok()?;
    Some(text.to_string_lossy().into_owned())
}
