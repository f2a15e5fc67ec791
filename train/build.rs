//! Compiles `src/torch/extension.cpp` against libtorch's headers, and lets this crate's tests and examples find libtorch at
//! run time.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/torch/extension.cpp");
    let Some(libtorch) = std::env::var_os("LIBTORCH") else {
        println!("cargo:warning=LIBTORCH is not set: run deploy/libtorch.sh once, which writes .cargo/config.toml");
        return;
    };
    let libtorch = Path::new(&libtorch);
    let include = libtorch.join("include");
    cc::Build::new()
        .cpp(true)
        .pic(true)
        // libtorch's headers cause warnings.
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .flag("-std=c++17")
        .flag("-D_GLIBCXX_USE_CXX11_ABI=1")
        .file("src/torch/extension.cpp")
        .compile("fivefold_torch_extension");

    let lib = libtorch.join("lib");
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    // RUNPATH rather than RPATH, so that LD_LIBRARY_PATH can select another PyTorch 2.11.0 at run time.
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{}", lib.display());
}
