//! Passes the linker scripts of the firmware and of its trial.

fn main() {
    for (program, script) in [("firmware", "firmware.ld"), ("trial", "trial/trial.ld")] {
        let script = format!("{}/{script}", env!("CARGO_MANIFEST_DIR"));
        println!("cargo:rerun-if-changed={script}");
        if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
            println!("cargo:rustc-link-arg-bin={program}=-T{script}");
            println!("cargo:rustc-link-arg-bin={program}=--no-relax");
        }
    }
}
