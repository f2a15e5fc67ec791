//! Tells the linker where the worker and its tests find libtorch at run time; link arguments of train/build.rs reach only
//! its own targets.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Some(libtorch) = std::env::var_os("LIBTORCH") {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{}", Path::new(&libtorch).join("lib").display());
    }
}
