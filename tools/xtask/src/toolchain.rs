//! The two Rust routes: rustup's toolchain with the bare-metal targets added, or the distribution's
//! compiler, which has no such targets and builds `core` and `alloc` from the packaged source.
//!
//! The route is chosen once and travels as a value. `RUSTC_BOOTSTRAP` is set for the guest builds of
//! the packaged route only: they need `-Z build-std`, nothing else does.

use crate::command;
use crate::project::Project;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// The kernel's target: no floating-point state of its own.
pub const KERNEL_TARGET: &str = "riscv64imac-unknown-none-elf";
/// The target of user programs.
pub const USER_TARGET: &str = "riscv64gc-unknown-none-elf";

/// Where the compiler comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// A toolchain that has the targets, or rustup to add them.
    Rustup,
    /// Debian's `rustc-web`, `cargo-web` and `rust-web-src`.
    Debian,
}

/// A usable toolchain.
#[derive(Clone)]
pub struct Toolchain {
    /// Which of the two.
    pub route: Route,
    cargo: PathBuf,
    rustc: PathBuf,
    quiet: bool,
}

impl Toolchain {
    /// Chooses a route: `ASYNCOS_TOOLCHAIN` if set; else the compiler at hand if it has the targets or
    /// rustup can add them; else Debian's.
    pub fn choose() -> Result<Self> {
        match std::env::var("ASYNCOS_TOOLCHAIN").as_deref() {
            Ok("rustup") => Ok(Self::rustup()),
            Ok("debian") => Ok(Self::debian()),
            Ok(other) => bail!("ASYNCOS_TOOLCHAIN is `rustup` or `debian`, not `{other}`"),
            Err(_) if command::find("rustup").is_some() => Ok(Self::rustup()),
            Err(_) if Self::rustup().missing_targets().is_empty() => Ok(Self::rustup()),
            Err(_) => Ok(Self::debian()),
        }
    }

    fn rustup() -> Self {
        // Under `cargo xtask`, CARGO is the very cargo that was called; without rustup's proxy in between
        // its compiler has to be named as well.
        let cargo = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
        let sibling = cargo.with_file_name("rustc");
        let rustc = if sibling.is_file() { sibling } else { "rustc".into() };
        Self { route: Route::Rustup, cargo, rustc, quiet: false }
    }

    fn debian() -> Self {
        Self { route: Route::Debian, cargo: "/usr/bin/cargo".into(), rustc: "/usr/bin/rustc".into(), quiet: false }
    }

    /// The same, without cargo's progress on standard error.
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Whether cargo and the compiler can be started.
    pub fn is_present(&self) -> bool {
        [&self.cargo, &self.rustc]
            .iter()
            .all(|program| command::capture(Command::new(program).arg("--version")).is_ok())
    }

    /// What the compiler calls itself.
    pub fn version(&self) -> String {
        command::capture(Command::new(&self.rustc).arg("--version"))
            .map_or_else(|_| "not found".into(), |text| text.trim().into())
    }

    /// Guest targets whose `core` is not installed.
    pub fn missing_targets(&self) -> Vec<&'static str> {
        let Ok(sysroot) = command::capture(Command::new(&self.rustc).args(["--print", "sysroot"])) else {
            return vec![KERNEL_TARGET, USER_TARGET];
        };
        let libraries = PathBuf::from(sysroot.trim()).join("lib/rustlib");
        [KERNEL_TARGET, USER_TARGET].into_iter().filter(|target| !libraries.join(target).join("lib").is_dir()).collect()
    }

    /// Whether the source of the standard library is installed (the packaged route builds from it).
    pub fn has_library_source(&self) -> bool {
        let Ok(sysroot) = command::capture(Command::new(&self.rustc).args(["--print", "sysroot"])) else {
            return false;
        };
        PathBuf::from(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
    }

    /// `cargo` for programs of the host.
    pub fn host_cargo(&self, project: &Project) -> Command {
        let mut cargo = Command::new(&self.cargo);
        cargo.current_dir(&project.root).env("RUSTC", &self.rustc).env("CARGO_TARGET_DIR", self.target_dir(project));
        if self.quiet {
            cargo.env("CARGO_TERM_QUIET", "true");
        }
        if self.route == Route::Debian {
            // cargo-clippy and cargo-fmt look for their siblings in PATH.
            let path = std::env::var("PATH").unwrap_or_default();
            cargo.env("PATH", format!("/usr/bin:{path}"));
        }
        cargo
    }

    /// `cargo VERB` for programs of the guest.
    pub fn guest_cargo(&self, project: &Project, verb: &str, target: &str) -> Command {
        let mut cargo = self.host_cargo(project);
        cargo.args([verb, "--target", target]);
        cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", "-Cforce-frame-pointers=yes");
        if self.route == Route::Debian {
            cargo.args(["-Z", "build-std=core,alloc", "-Z", "build-std-features=compiler-builtins-mem"]);
            cargo.env("RUSTC_BOOTSTRAP", "1");
        }
        cargo
    }

    /// Where this route builds: the routes must not throw away each other's work.
    pub fn target_dir(&self, project: &Project) -> PathBuf {
        match self.route {
            Route::Rustup => project.target.clone(),
            Route::Debian => project.target.join("debian"),
        }
    }
}
