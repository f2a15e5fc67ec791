//! Lets the worker and its tests find libtorch at run time: the link arguments of train/build.rs apply to train's own
//! targets only.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // Where `make install` puts them.
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib/fivefold");
    if let Some(libtorch) = std::env::var_os("LIBTORCH") {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{}", Path::new(&libtorch).join("lib").display());
    }
}
