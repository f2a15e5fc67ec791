//! Weights and checkpoints: any bytes give a checked safetensors file or an error, without a read past the end.
#![no_main]

use fivefold_train::tch::{Tensor, kind::FLOAT_CPU};
use fivefold_train::torch::tensor_file::TensorFile;
use fivefold_train::torch::tensors::NamedTensor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("fivefold-fuzz-{}.safetensors", std::process::id()));
    std::fs::write(&path, bytes).expect("the temporary folder can be written");
    let Ok(file) = TensorFile::read(&path) else { return };
    for (name, tensor) in file.tensors() {
        let shape: Vec<i64> = tensor.shape.iter().map(|&side| i64::try_from(side).unwrap_or(i64::MAX)).collect();
        let elements = shape.iter().try_fold(1_i64, |product, &side| product.checked_mul(side));
        if elements.is_some_and(|elements| elements <= 1 << 16) {
            let target = NamedTensor { name, tensor: Tensor::zeros(&shape, FLOAT_CPU) };
            let _ = file.copy_into(std::slice::from_ref(&target), |_| true);
            let _ = file.copy_converted(&target.name, &target.tensor, |values| Ok(values.shallow_clone()));
        }
    }
});
