//! Tells the linker where the built programs and tests find libtorch at run time.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    let Some(libtorch) = std::env::var_os("LIBTORCH") else {
        println!("cargo:warning=LIBTORCH is not set: run deploy/libtorch.sh once, it writes .cargo/config.toml");
        return;
    };
    let lib = Path::new(&libtorch).join("lib");
    // RUNPATH, not RPATH: LD_LIBRARY_PATH comes before it, so another PyTorch 2.11.0 can be named at run time.
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{}", lib.display());
}
