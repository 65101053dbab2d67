//! Where things are: the workspace, its members, and the folders that xtask writes to.

use crate::command;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One crate of the workspace.
pub struct Member {
    /// Package name; also the name of its folder.
    pub name: String,
    /// Folder relative to the workspace, e.g. `base/sync`.
    pub folder: PathBuf,
    /// Names of the workspace members it depends on, test dependencies apart.
    pub edges: Vec<String>,
    /// Names of its binary targets.
    pub programs: Vec<String>,
}

impl Member {
    /// Whether this is a crate with programs for the guest's /bin.
    pub fn is_user_program(&self) -> bool {
        self.folder.starts_with("user") && !self.programs.is_empty()
    }

    /// Whether this crate holds programs of the guest, which have no main function on the host.
    pub fn is_guest_only(&self) -> bool {
        ["boot", "image", "firmware"].contains(&self.name.as_str()) || self.is_user_program()
    }
}

/// The workspace as cargo describes it.
pub struct Project {
    /// Workspace root.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    /// All members, by folder.
    pub members: Vec<Member>,
}

impl Project {
    /// Asks `cargo metadata`.
    pub fn load() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let text = command::capture(Command::new(cargo).args(["metadata", "--format-version=1", "--no-deps"]))?;
        let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        let root = PathBuf::from(text_of(&metadata["workspace_root"]));
        let target = PathBuf::from(text_of(&metadata["target_directory"]));
        let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        let names: Vec<&str> = packages.iter().map(|package| text_of(&package["name"])).collect();
        let mut members: Vec<Member> = packages.iter().map(|package| member(package, &root, &names)).collect();
        members.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(Self { root, target, members })
    }

    /// Downloads that survive `cargo clean`: emulators, kernels, package lists.
    pub fn cache(&self) -> PathBuf {
        self.root.join(".cache")
    }

    /// Images and logs, made anew at each run.
    pub fn output(&self) -> Result<PathBuf> {
        let folder = self.target.join("asyncos");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }
}

fn member(package: &Value, root: &Path, names: &[&str]) -> Member {
    let manifest = PathBuf::from(text_of(&package["manifest_path"]));
    let folder = manifest.parent().unwrap_or(root);
    let folder = folder.strip_prefix(root).unwrap_or(folder).to_path_buf();
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let edges = dependencies
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| text_of(&dependency["name"]))
        .filter(|name| names.contains(name))
        .map(str::to_owned)
        .collect();
    let targets = package["targets"].as_array().into_iter().flatten();
    let programs = targets
        .filter(|target| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin")))
        .map(|target| text_of(&target["name"]).to_owned())
        .collect();
    Member { name: text_of(&package["name"]).to_owned(), folder, edges, programs }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The verb `clean`: removes what xtask made; what cargo made is cargo's (`cargo clean`).
pub fn clean() -> Result<u8> {
    let project = Project::load()?;
    for folder in [project.cache(), project.output()?] {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            command::say(format!("removed {}", folder.display()));
        }
    }
    Ok(0)
}
