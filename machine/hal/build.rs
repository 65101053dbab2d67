//! Finds the image of the scheduler that `cargo xtask` has built. Whoever builds without it, as tests on the host do, gets
//! an empty one.

use std::path::PathBuf;

fn main() {
    const VARIABLE: &str = "ASYNCOS_SCHED_IMAGE";
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    let path = std::env::var_os(VARIABLE).map_or_else(empty, PathBuf::from);
    println!("cargo:rerun-if-changed={}", path.display());
    println!("cargo:rustc-env={VARIABLE}={}", path.display());
}

fn empty() -> PathBuf {
    let folder = std::env::var_os("OUT_DIR").expect("cargo says where to write");
    let path = PathBuf::from(folder).join("sched-image.bin");
    std::fs::write(&path, []).expect("cargo's folder can be written");
    path
}
