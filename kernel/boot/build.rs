//! Passes the linker script of the kernel image.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../machine/riscv/kernel.ld");
    println!("cargo:rerun-if-changed={script}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=-T{script}");
        println!("cargo:rustc-link-arg-bins=--no-relax");
    }
}
