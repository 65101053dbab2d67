//! The verb `tidy`: the rules of the house that no compiler checks.
//!
//! [`layers`] looks at crates, [`unsafety`] and [`style`] at files. Each rule has a test with a bad sample
//! that it must reject. A finding is a failure or a warning; only failures fail the verb.

mod layers;
pub mod lexer;
mod style;
mod unsafety;

#[cfg(test)]
mod tests;

use crate::command;
use crate::project::{Member, Project};
use anyhow::Result;
use lexer::Token;
use std::path::{Path, PathBuf};
use std::process::Command;

const HELP: &str = "\
cargo xtask tidy [--warnings]

Checks layer edges, `unsafe`, module heads, budgets of files and functions, and words that must not occur.
    --warnings    list warnings too (files and functions over their budget)
";

/// Something that a rule found.
#[derive(Debug)]
pub struct Finding {
    path: PathBuf,
    line: usize,
    what: String,
    fails: bool,
}

impl Finding {
    /// Whether this fails the verb, or only warns.
    pub fn is_failure(&self) -> bool {
        self.fails
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = if self.fails { "error" } else { "warning" };
        match self.line {
            0 => write!(f, "{}: {level}: {}", self.path.display(), self.what),
            line => write!(f, "{}:{line}: {level}: {}", self.path.display(), self.what),
        }
    }
}

fn fail(findings: &mut Vec<Finding>, path: &Path, line: usize, what: impl Into<String>) {
    findings.push(Finding { path: path.to_path_buf(), line, what: what.into(), fails: true });
}

fn warn(findings: &mut Vec<Finding>, path: &Path, line: usize, what: impl Into<String>) {
    findings.push(Finding { path: path.to_path_buf(), line, what: what.into(), fails: false });
}

/// A Rust file, taken apart once for all rules.
struct File<'a> {
    path: &'a Path,
    source: &'a str,
    tokens: Vec<Token<'a>>,
    /// First and last lines of tests.
    tests: Vec<(usize, usize)>,
    /// Whether the file as a whole is tests.
    all_tests: bool,
}

impl<'a> File<'a> {
    fn new(path: &'a Path, source: &'a str) -> Self {
        let tokens = lexer::tokens(source);
        let tests = lexer::test_regions(&tokens);
        let parts = || path.iter().map(|part| part.to_string_lossy());
        let all_tests =
            path.ends_with("tests.rs") || parts().any(|part| ["tests", "benches", "examples"].contains(&part.as_ref()));
        Self { path, source, tokens, tests, all_tests }
    }

    fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }

    /// Paths of the modules that are declared under `#[cfg(test)]` and lie in files of their own.
    fn test_modules(&self) -> Vec<PathBuf> {
        let stem = self.path.file_stem().unwrap_or_default();
        let beside = ["lib", "main", "mod"].iter().any(|name| stem == *name);
        let folder = if beside { self.path.with_file_name("") } else { self.path.with_extension("") };
        let declared = self
            .tokens
            .windows(3)
            .filter(|window| window[0].is("mod") && window[2].is(";") && self.is_test(window[0].line));
        declared
            .flat_map(|window| {
                [folder.join(format!("{}.rs", window[1].text)), folder.join(window[1].text).join("mod.rs")]
            })
            .collect()
    }

    fn layer_is(&self, layers: &[&str]) -> bool {
        layers.iter().any(|layer| self.path.starts_with(layer))
    }
}

/// The verb `tidy`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    let mut warnings = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("warnings") => warnings = true,
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let findings = check(&Project::load()?)?;
    let (failures, others): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.fails);
    others.iter().filter(|_| warnings).for_each(|finding| println!("{finding}"));
    failures.iter().for_each(|finding| println!("{finding}"));
    println!("tidy: {} errors, {} warnings", failures.len(), others.len());
    Ok(u8::from(!failures.is_empty()))
}

/// Applies all rules to the files that git knows or could know.
pub fn check(project: &Project) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    layers::check(project, &mut findings);
    let texts = texts(project)?;
    // The lock file names the registry by cargo's own rule.
    let written = texts.iter().filter(|(path, _)| !path.ends_with("Cargo.lock"));
    written.for_each(|(path, text)| style::check_hosts(path, text, &mut findings));
    let mut sources: Vec<File<'_>> = rust_files(&texts).collect();
    let test_modules: Vec<PathBuf> = sources.iter().flat_map(File::test_modules).collect();
    for file in &mut sources {
        file.all_tests |= test_modules.iter().any(|path| path == file.path);
        let owner = project.members.iter().find(|member| file.path.starts_with(&member.folder));
        check_file(file, owner, &mut findings);
    }
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}

/// How many uses of `unsafe` there are: those with a justification, and all that need one.
pub fn justified_unsafe(project: &Project) -> Result<(usize, usize)> {
    let texts = texts(project)?;
    let counts = rust_files(&texts).map(|file| unsafety::count(&file));
    Ok(counts.fold((0, 0), |(justified, all), (more, of)| (justified + more, all + of)))
}

fn texts(project: &Project) -> Result<Vec<(PathBuf, String)>> {
    let read = |path: PathBuf| std::fs::read_to_string(project.root.join(&path)).ok().map(|text| (path, text));
    Ok(files(project)?.into_iter().filter_map(read).collect())
}

fn rust_files(texts: &[(PathBuf, String)]) -> impl Iterator<Item = File<'_>> {
    let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    texts.iter().filter(move |(path, _)| is_rust(path)).map(|(path, text)| File::new(path, text))
}

fn check_file(file: &File<'_>, owner: Option<&Member>, findings: &mut Vec<Finding>) {
    style::check_head(file, findings);
    style::check_budgets(file, findings);
    style::check_words(file, findings);
    unsafety::check(file, findings);
    if let Some(owner) = owner.filter(|owner| is_crate_root(file.path, &owner.folder)) {
        unsafety::check_root(file, layers::may_be_unsafe(owner), findings);
    }
}

fn is_crate_root(path: &Path, folder: &Path) -> bool {
    let Ok(inner) = path.strip_prefix(folder.join("src")) else { return false };
    inner == Path::new("lib.rs")
        || inner == Path::new("main.rs")
        || (inner.starts_with("bin") && inner.iter().count() == 2)
}

fn files(project: &Project) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(&project.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = command::capture(&mut git)?;
    Ok(list.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from).collect())
}
