//! Weights and checkpoints: any bytes give a checked safetensors file or an error, without a read past the end.
#![no_main]

use fivefold_train::torch::tensors::NamedTensor;
use fivefold_train::torch::tensor_file::{Formats, TensorFile};
use libfuzzer_sys::fuzz_target;
use fivefold_train::tch::{Tensor, kind::FLOAT_CPU};

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("fivefold-fuzz-{}.safetensors", std::process::id()));
    std::fs::write(&path, bytes).expect("the temporary folder can be written");
    let Ok(file) = TensorFile::read(&path) else { return };
    let targets: Vec<NamedTensor> = file
        .names()
        .filter_map(|name| {
            let shape = file.shape(name)?;
            let elements = shape.iter().try_fold(1_i64, |product, &side| product.checked_mul(side))?;
            (elements <= 1 << 16).then(|| NamedTensor {
                name: name.to_owned(),
                tensor: Tensor::zeros(shape, FLOAT_CPU),
            })
        })
        .collect();
    let _ = file.copy_into(&targets, Formats::AnyFloat, |_| true);
});
