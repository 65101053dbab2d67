//! What the shell remembers: variables (those that are exported live in the environment), arguments, the last status, jobs,
//! and what is to be done next.

use crate::jobs::Job;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rt::{env, fs, path, process};
use shell::expand::Variables;
use shell::glob::Directories;

/// The state of one shell.
#[derive(Debug)]
pub struct Shell {
    /// `$0`.
    name: String,
    /// `$1` and on.
    args: Vec<String>,
    /// Variables that are not exported.
    variables: BTreeMap<String, String>,
    /// Status of the last command.
    pub status: i32,
    /// Set by `exit`: the status to end with.
    pub exit: Option<i32>,
    /// Whether commands come from a terminal, so that jobs have process groups of their own.
    pub interactive: bool,
    /// Background and stopped jobs.
    pub jobs: Vec<Job>,
    /// Process id of the last background command.
    pub last_background: Option<i32>,
    /// Lines that were entered.
    pub history: Vec<String>,
}

impl Shell {
    /// A shell with these arguments.
    pub fn new(name: &str, args: Vec<String>) -> Self {
        Self {
            name: name.to_string(),
            args,
            variables: BTreeMap::new(),
            status: 0,
            exit: None,
            interactive: false,
            jobs: Vec::new(),
            last_background: None,
            history: Vec::new(),
        }
    }

    /// How to start this program again.
    pub fn program(&self) -> &'static str {
        env::args().next().filter(|name| name.contains('/')).unwrap_or("sh")
    }

    /// Sets a variable; an exported one stays exported.
    pub fn set(&mut self, name: &str, value: &str) {
        if env::var(name).is_some() {
            env::set_var(name, value);
        } else {
            self.variables.insert(name.to_string(), value.to_string());
        }
    }

    /// Hands a variable on to programs from now on, with a new value if one is given.
    pub fn export(&mut self, name: &str, value: Option<&str>) {
        let own = self.variables.remove(name);
        let value = value.map(ToString::to_string).or(own).or_else(|| env::var(name)).unwrap_or_default();
        env::set_var(name, &value);
    }

    /// Forgets a variable.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
        env::remove_var(name);
    }

    /// Variables that are not exported.
    pub fn own_variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }
}

impl Variables for Shell {
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "?" => Some(self.status.to_string()),
            "$" => Some(process::id().to_string()),
            "!" => self.last_background.map(|pid| pid.to_string()),
            "#" => Some(self.args.len().to_string()),
            "@" | "*" => Some(self.args.join(" ")),
            "0" => Some(self.name.clone()),
            _ => match name.parse::<usize>() {
                Ok(number) => self.args.get(number.wrapping_sub(1)).cloned(),
                Err(_) => self.variables.get(name).cloned().or_else(|| env::var(name)),
            },
        }
    }
}

impl Directories for Shell {
    fn names(&self, directory: &str) -> Vec<String> {
        let directory = if directory.is_empty() { "." } else { directory };
        fs::read_dir(directory).unwrap_or_default().into_iter().map(|e| e.name).collect()
    }

    fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(path).is_ok()
    }
}

/// The programs in `PATH` whose names begin with `prefix`.
pub fn programs(prefix: &str) -> Vec<String> {
    let search = env::var("PATH").unwrap_or_default();
    let mut names = Vec::new();
    for directory in search.split(':').filter(|d| !d.is_empty()) {
        for entry in fs::read_dir(directory).unwrap_or_default() {
            if entry.name.starts_with(prefix) && fs::check_executable(&path::join(directory, &entry.name)).is_ok() {
                names.push(entry.name);
            }
        }
    }
    names
}
