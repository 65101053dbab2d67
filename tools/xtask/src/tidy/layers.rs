//! Rules about crates: which may depend on which, what a manifest says, where `unsafe` may be.

use super::{Finding, fail};
use crate::project::{Member, Project};
use std::collections::BTreeSet;
use std::path::Path;

/// Each crate, and the crates it is written against. It may also name what those lead to, except `PRIVATE`.
const ARROWS: [(&str, &[&str]); 37] = [
    ("abi", &[]),
    ("sync", &[]),
    ("sched", &["sync"]),
    ("task", &["sched", "sync"]),
    ("image", &["sched"]),
    ("trace", &["sync"]),
    ("ring", &["abi", "sync"]),
    ("channel", &["sync"]),
    ("signal", &["sync"]),
    ("riscv", &[]),
    ("platform", &["abi"]),
    ("nuintc", &[]),
    ("firmware", &["nuintc", "platform"]),
    ("hal", &["riscv", "platform", "nuintc", "task", "trace", "abi"]),
    ("uart", &["hal", "sync"]),
    ("virtio", &["hal", "sync"]),
    ("pci", &["hal"]),
    ("fiber", &["hal"]),
    ("exec", &["hal", "task", "trace"]),
    ("mem", &["hal", "abi", "exec"]),
    ("io", &["mem", "exec", "virtio", "uart"]),
    ("fs", &["io", "fiber"]),
    ("net", &["io", "virtio"]),
    ("process", &["mem", "io", "fs"]),
    ("service", &["process", "fs", "net", "ring"]),
    (
        "boot",
        &["service", "process", "net", "fs", "io", "mem", "exec", "fiber", "virtio", "uart", "pci", "hal", "platform"],
    ),
    ("rt", &["abi", "sync", "task", "ring", "channel", "signal"]),
    ("http", &["rt"]),
    ("shell", &["rt"]),
    ("monitor", &["rt"]),
    ("apps", &["rt", "http", "shell", "monitor"]),
    ("suite", &["rt", "monitor"]),
    ("bench", &["rt"]),
    ("xtask", &["abi", "trace"]),
    ("count", &[]),
    ("perfetto", &["trace"]),
    ("mkfs", &["abi"]),
];

/// Crates that only those named may depend on, whatever the arrows lead to.
const PRIVATE: [(&str, &[&str]); 3] = [
    ("riscv", &["hal", "boot"]),
    ("platform", &["hal", "boot", "virtio", "uart", "pci", "firmware"]),
    ("nuintc", &["hal", "firmware"]),
];

/// Crates that may contain `unsafe`; so may everything in `machine/`.
const UNSAFE: [&str; 7] = ["sync", "sched", "task", "image", "trace", "rt", "count"];

/// Whether a crate may contain `unsafe`.
pub fn may_be_unsafe(member: &Member) -> bool {
    member.folder.starts_with("machine") || UNSAFE.contains(&member.name.as_str())
}

/// Checks the edges between crates, and the manifests.
pub fn check(project: &Project, findings: &mut Vec<Finding>) {
    for member in &project.members {
        let manifest = member.folder.join("Cargo.toml");
        for edge in &member.edges {
            if let Some(why) = forbidden(&member.name, edge) {
                fail(findings, &manifest, 0, why);
            }
        }
        if member.folder.file_name().is_some_and(|name| name.to_string_lossy() != member.name) {
            fail(findings, &manifest, 0, format!("package `{}` must have the name of its folder", member.name));
        }
        let text = std::fs::read_to_string(project.root.join(&manifest)).unwrap_or_default();
        check_manifest(&text, &manifest, findings);
    }
}

/// Why a crate may not depend on another, if it may not.
pub fn forbidden(from: &str, to: &str) -> Option<String> {
    if !ARROWS.iter().any(|(name, _)| *name == from) {
        return Some(format!("crate `{from}` is not in the layer table; design note 0001 and tidy list every crate"));
    }
    let private = PRIVATE.iter().find(|(name, _)| *name == to);
    let reached = reachable(from).contains(to);
    let allowed = reached && private.is_none_or(|(_, users)| users.contains(&from));
    (!allowed).then(|| format!("layer edge `{from}` -> `{to}` points up or past its layer"))
}

fn reachable(from: &str) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        let arrows = ARROWS.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, arrows)| arrows);
        for arrow in arrows {
            if seen.insert(*arrow) {
                open.push(arrow);
            }
        }
    }
    seen
}

/// Checks one manifest: workspace lints, and nothing but registry crates.
pub fn check_manifest(text: &str, path: &Path, findings: &mut Vec<Finding>) {
    let Ok(manifest) = text.parse::<toml::Table>() else {
        return fail(findings, path, 0, "is not a manifest");
    };
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    if lints.and_then(toml::Value::as_bool) != Some(true) {
        fail(findings, path, 0, "must say `[lints] workspace = true`");
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let entries = manifest.get(section).and_then(toml::Value::as_table).into_iter().flatten();
        for (name, _) in entries.filter(|(_, value)| value.get("git").is_some()) {
            fail(findings, path, 0, format!("dependency `{name}` comes from git; registry crates only"));
        }
    }
}
