//! Linker arguments of the programs: fixed low address, pages of 4 KiB, so that text is mapped R-X, constants R and data
//! RW without a linker script.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        for arg in ["--image-base=0x10000", "-zmax-page-size=4096", "-znorelro", "--gc-sections", "--no-eh-frame-hdr"] {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
