//! Autocast: the number format of a forward pass.

use fivefold_common::spec::Precision;
use tch::{Kind, TchError};

use crate::torch::device::Device;
use crate::torch::extension::AutocastGuard;

/// Runs `forward` under libtorch's autocast to `precision`, on this thread; fp32 runs plainly.
///
/// Only the forward pass belongs inside. The backward pass uses the format of each forward operation. fp16 on the CPU is
/// emulated and slow.
///
/// # Errors
/// When libtorch refuses the format.
pub fn autocast<T>(device: Device, precision: Precision, forward: impl FnOnce() -> T) -> Result<T, TchError> {
    let kind = match precision {
        Precision::Fp32 => return Ok(forward()),
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp16 => Kind::Half,
    };
    let _guard = AutocastGuard::enter(device.is_cuda(), kind)?;
    Ok(forward())
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    #[test]
    fn autocast_changes_the_format_inside_and_only_there() {
        let a = Tensor::ones([4, 4], tch::kind::FLOAT_CPU);
        for (precision, kind) in
            [(Precision::Fp32, Kind::Float), (Precision::Bf16, Kind::BFloat16), (Precision::Fp16, Kind::Half)]
        {
            assert_eq!(autocast(Device::Cpu, precision, || a.matmul(&a).kind()).unwrap(), kind);
            assert_eq!(a.matmul(&a).kind(), Kind::Float);
        }
        let unwound = std::panic::catch_unwind(|| autocast(Device::Cpu, Precision::Bf16, || panic!("inside")));
        assert!(unwound.is_err());
        assert_eq!(a.matmul(&a).kind(), Kind::Float);
    }
}
