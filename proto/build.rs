//! Compiles the `.proto` files without protoc.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["spec", "artifacts", "job_sets", "data_sets", "workers", "logs"]
        .map(|name| format!("fivefold/v1/{name}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(".fivefold.v1.SubmitJobSetRequest", "crate::SubmitJobSetRequest")
        .compile_fds(descriptors)?;
    Ok(())
}
