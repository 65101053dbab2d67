//! The steps of `test` that need no emulator: format, tidy, lints, host tests, loom.

use super::{Context, Tally};
use crate::command;
use crate::project::{Member, Project};
use crate::tidy;
use crate::toolchain::{KERNEL_TARGET, Toolchain, USER_TARGET};
use anyhow::Result;
use std::process::Command;

/// The source is formatted as rustfmt does it.
pub fn fmt(context: &Context) -> Result<Tally> {
    let mut cargo = context.toolchain.host_cargo(&context.project);
    command::run(cargo.args(["fmt", "--all", "--check"]))?;
    Ok(Tally::of(true))
}

/// The rules of the house hold.
pub fn tidy(context: &Context) -> Result<Tally> {
    let findings = tidy::check(&context.project)?;
    Ok(Tally::of_all(findings.iter().filter(|finding| finding.is_failure()).map(ToString::to_string)))
}

/// No lint complains, on the host and for the guest's targets.
pub fn clippy(context: &Context) -> Result<Tally> {
    let Context { project, toolchain, .. } = context;
    let mut tally = Tally::default();
    let mut check = |mut cargo: Command, members: Vec<&Member>| -> Result<()> {
        if members.is_empty() {
            return Ok(());
        }
        members.iter().for_each(|member| {
            cargo.args(["-p", &member.name]);
        });
        cargo.args(["--quiet", "--", "-D", "warnings"]);
        tally += Tally::of(cargo.status()?.success());
        Ok(())
    };
    let mut host = toolchain.host_cargo(project);
    host.args(["clippy", "--all-targets"]);
    check(host, host_members(project).collect())?;
    let below = |layers: &[&str]| -> Vec<&Member> {
        project.members.iter().filter(|member| layers.iter().any(|layer| member.folder.starts_with(layer))).collect()
    };
    check(toolchain.guest_cargo(project, "clippy", KERNEL_TARGET), below(&["base", "machine", "kernel"]))?;
    check(toolchain.guest_cargo(project, "clippy", USER_TARGET), below(&["user"]))?;
    Ok(tally)
}

/// The tests of every crate that builds on the host.
pub fn tests(context: &Context) -> Result<Tally> {
    let mut cargo = context.toolchain.host_cargo(&context.project);
    cargo.args(["test", "--no-fail-fast"]);
    for member in host_members(&context.project) {
        cargo.args(["-p", &member.name]);
    }
    counted(cargo)
}

/// The loom models: every interleaving of every lock-free structure, within a bound on preemptions.
pub fn loom(context: &Context) -> Result<Tally> {
    let Context { project, toolchain, .. } = context;
    let mut tally = Tally::default();
    for target in loom_targets(project) {
        let mut cargo = target.cargo(project, toolchain);
        // `--cfg loom` reaches every dependency, so it gets a target directory of its own.
        cargo.env("CARGO_TARGET_DIR", project.target.join("loom"));
        LoomTarget::bound(&mut cargo);
        cargo.arg("--").args(target.filter());
        tally += counted(cargo)?;
    }
    Ok(tally)
}

/// Tests of a crate that run under loom.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoomTarget {
    /// The crate.
    pub member: String,
    /// In the crate itself, or in `tests/loom.rs`.
    in_library: bool,
}

impl LoomTarget {
    /// `cargo test` of it.
    pub fn cargo(&self, project: &Project, toolchain: &Toolchain) -> Command {
        let mut cargo = toolchain.host_cargo(project);
        cargo.env("RUSTFLAGS", "--cfg loom").args(["test", "--release", "-p", &self.member]);
        cargo.args(if self.in_library { &["--lib"][..] } else { &["--test", "loom"] });
        cargo
    }

    /// Arguments of the test program. Under loom only the models can run; in a library, their module's name contains the
    /// word.
    pub fn filter(&self) -> &'static [&'static str] {
        if self.in_library { &["loom"] } else { &[] }
    }

    /// Bounds those models that do not do so themselves.
    pub fn bound(command: &mut Command) {
        if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
            command.env("LOOM_MAX_PREEMPTIONS", "2");
        }
    }
}

impl std::fmt::Display for LoomTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "loom tests of {}{}", self.member, if self.in_library { " (library)" } else { "" })
    }
}

/// All there are.
pub fn loom_targets(project: &Project) -> Vec<LoomTarget> {
    let members = project.members.iter().filter(|member| has_loom(project, member));
    let targets = |member: &Member| {
        let in_file = project.root.join(&member.folder).join("tests/loom.rs").is_file();
        let target = |in_library| LoomTarget { member: member.name.clone(), in_library };
        [Some(target(true)), in_file.then(|| target(false))]
    };
    members.flat_map(targets).flatten().collect()
}

fn has_loom(project: &Project, member: &Member) -> bool {
    let manifest = project.root.join(&member.folder).join("Cargo.toml");
    std::fs::read_to_string(manifest).is_ok_and(|text| text.contains("loom"))
}

fn host_members(project: &Project) -> impl Iterator<Item = &Member> {
    project.members.iter().filter(|member| !member.is_guest_only())
}

/// Runs a `cargo test` and counts its tests. Its output is shown only if something failed.
fn counted(mut cargo: Command) -> Result<Tally> {
    let output = cargo.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut tally = count(&text);
    if !output.status.success() {
        eprintln!("{}{text}", String::from_utf8_lossy(&output.stderr));
        tally.failures = failed_names(&text);
        // A test that does not build was not counted.
        tally.failed = tally.failed.max(1);
    }
    Ok(tally)
}

/// Adds up the lines `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn count(text: &str) -> Tally {
    let mut tally = Tally::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let number = |word: &str| {
            let before = line.split(word).next().unwrap_or_default();
            before.split_whitespace().last().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        tally += Tally {
            passed: number(" passed"),
            failed: number(" failed"),
            skipped: number(" ignored"),
            failures: Vec::new(),
        };
    }
    tally
}

/// The names in the lines `test NAME ... FAILED`.
fn failed_names(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up() {
        let text = "test a ... ok\ntest b::c ... FAILED\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(count(text), Tally { passed: 4, failed: 2, skipped: 1, failures: Vec::new() });
        assert_eq!(failed_names(text), ["b::c"]);
    }
}
