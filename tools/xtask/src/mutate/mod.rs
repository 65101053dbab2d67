//! The verb `mutate`: weakens one memory ordering at a time and expects loom to notice.
//!
//! The orderings are found in the source of every crate of `base` ([`sites`]). Each mutant is written into a copy of the
//! project, and the loom tests that reach it are built and run until one fails. Those that no test notices must be
//! listed in `tests/orderings.toml`, each with the reason; a listed one that is caught, or is gone, fails the verb as well.

mod sites;

use crate::command::{self, say};
use crate::matrix::Share;
use crate::project::{Member, Project};
use crate::setup;
use crate::test::host::{self, LoomTarget};
use crate::toolchain::Toolchain;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use sites::Mutant;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const HELP: &str = "\
cargo xtask mutate [--list] [--share K/N] [--only TEXT]

Weakens each memory ordering in base/ in turn, in a copy of the project, runs the loom tests that reach it, and
expects one to fail. What survives must be listed in tests/orderings.toml with the reason. Takes about half a minute a
mutant on two idle processors; progress and an estimate are shown.

    --list         print the mutants, run nothing
    --share K/N    only the K-th of N shares
    --only TEXT    only mutants whose name contains TEXT
";

const LISTED: &str = "tests/orderings.toml";
/// Seconds of the processor that a run of tests may take, many times what it takes unchanged: a mutant may spin. Not
/// of the clock, so that no verdict depends on what else the machine does.
const PATIENCE: &str = "900";
/// The signal that ends a program which took that.
const SIGXCPU: i32 = 24;

/// A mutant with its place.
struct Site {
    mutant: Mutant,
    /// The file, relative to the project.
    path: PathBuf,
    /// The crate it belongs to.
    owner: String,
}

/// What became of a mutant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// A test failed, or it does not build.
    Caught,
    /// All tests passed.
    Survived,
    /// A test did not come to an end.
    Undecided,
}

/// The verb `mutate`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    use lexopt::prelude::*;
    let (mut list, mut share, mut only) = (false, None::<Share>, String::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("list") => list = true,
            Long("share") => share = Some(arguments.value()?.string()?.parse()?),
            Long("only") => only = arguments.value()?.string()?,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let project = Project::load()?;
    let sites = sites(&project)?;
    let listed = Listed::load(&project)?;
    let gone = listed.gone(&sites);
    gone.iter().for_each(|name| println!("listed, but not in the source: {name}"));
    let mut wrong = gone.len();
    let chosen: Vec<usize> = (0..sites.len()).filter(|at| sites[*at].mutant.name.contains(&only)).collect();
    let chosen = share.map_or(chosen.clone(), |share| share.of(chosen));
    if list {
        chosen.iter().for_each(|at| {
            println!("{}:{} {}", sites[*at].path.display(), sites[*at].mutant.line, sites[*at].mutant.name)
        });
        return Ok(0);
    }
    let toolchain = setup::ensure()?.quiet();
    let chosen: Vec<&Site> = chosen.into_iter().map(|at| &sites[at]).collect();
    wrong += judge_all(&Bench::new(&project, toolchain, &chosen)?, &chosen, &listed)?;
    println!("{wrong} not as {LISTED} says");
    Ok(u8::from(wrong > 0))
}

/// Judges mutants and prints each verdict; how many are not as the list says.
fn judge_all(bench: &Bench<'_>, chosen: &[&Site], listed: &Listed) -> Result<usize> {
    let (mut caught, mut wrong, started) = (0, 0, Instant::now());
    for (done, site) in chosen.iter().enumerate() {
        let verdict = bench.judge(site)?;
        let note = match (verdict, listed.names.contains(&site.mutant.name)) {
            (Verdict::Caught, false) => "",
            (Verdict::Survived, true) => " (listed)",
            (Verdict::Caught, true) => " BUT LISTED as surviving",
            (Verdict::Survived | Verdict::Undecided, _) => " AND NOT LISTED",
        };
        caught += usize::from(verdict == Verdict::Caught);
        wrong += usize::from(note.contains("LISTED"));
        let left = started.elapsed().as_secs_f64() / (done + 1) as f64 * (chosen.len() - done - 1) as f64 / 60.0;
        say(format!("{} of {}, about {left:.0} min to go", done + 1, chosen.len()));
        println!("{verdict:?}{note}: {} (line {})", site.mutant.name, site.mutant.line);
    }
    println!("{} mutants: {caught} caught", chosen.len());
    Ok(wrong)
}

/// All mutants of the crates in `base`, by file.
fn sites(project: &Project) -> Result<Vec<Site>> {
    let mut sites = Vec::new();
    for member in project.members.iter().filter(|member| member.folder.starts_with("base")) {
        let mut files = Vec::new();
        collect(&project.root.join(&member.folder).join("src"), &mut files)?;
        for file in files {
            let path = file.strip_prefix(&project.root)?.to_path_buf();
            let short = path.strip_prefix("base")?.display().to_string().replace("/src/", "/");
            for mutant in sites::mutants(&short, &fs::read_to_string(&file)?)? {
                sites.push(Site { mutant, path: path.clone(), owner: member.name.clone() });
            }
        }
    }
    Ok(sites)
}

/// Source files, tests apart.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            collect(&path, files)?;
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The file of known survivors.
struct Listed {
    names: Vec<String>,
}

impl Listed {
    fn load(project: &Project) -> Result<Self> {
        let text = fs::read_to_string(project.root.join(LISTED)).with_context(|| format!("cannot read {LISTED}"))?;
        Self::parse(&text).context(LISTED)
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let entries = table.get("survivor").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let mut names = Vec::new();
        for entry in entries {
            let text = |key: &str| entry.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
            let (name, why) = (text("mutant"), text("why"));
            if name.is_empty() || why.split_whitespace().count() < 5 {
                bail!("each survivor has a `mutant` and says `why` it cannot be caught: {entry:?}");
            }
            names.push(name);
        }
        Ok(Self { names })
    }

    /// Those that are no longer in the source.
    fn gone(&self, sites: &[Site]) -> Vec<String> {
        let is_gone = |name: &&String| !sites.iter().any(|site| site.mutant.name == **name);
        self.names.iter().filter(is_gone).cloned().collect()
    }
}

/// The copy of the project, and the tests that are run there.
struct Bench<'p> {
    project: &'p Project,
    toolchain: Toolchain,
    root: PathBuf,
    targets: Vec<LoomTarget>,
}

impl<'p> Bench<'p> {
    fn new(project: &'p Project, toolchain: Toolchain, chosen: &[&Site]) -> Result<Self> {
        let root = project.target.join("mutate/source");
        copy(project, &root)?;
        let mut bench = Self { project, toolchain, root, targets: Vec::new() };
        let is_needed = |target: &LoomTarget| chosen.iter().any(|site| reaches(project, &target.member, &site.owner));
        for target in host::loom_targets(project).into_iter().filter(is_needed) {
            say(format!("unchanged: {target}"));
            let Some(test) = bench.built(&target)? else { bail!("{target} does not build") };
            let mut list = Command::new(test.get_program());
            if !command::capture(list.arg("--list").args(target.filter()))?.contains(": test") {
                continue;
            }
            if run(&test, PATIENCE)? != Verdict::Survived {
                bail!("{target} fails without a mutant");
            }
            bench.targets.push(target);
        }
        Ok(bench)
    }

    /// Runs the tests that reach a mutant, those of its own crate first, until one fails.
    fn judge(&self, site: &Site) -> Result<Verdict> {
        let path = self.root.join(&site.path);
        let original = fs::read_to_string(&path)?;
        fs::write(&path, &site.mutant.text)?;
        let verdict = self.judge_copy(&site.owner);
        fs::write(&path, original)?;
        verdict
    }

    fn judge_copy(&self, owner: &str) -> Result<Verdict> {
        let mut targets: Vec<&LoomTarget> =
            self.targets.iter().filter(|target| reaches(self.project, &target.member, owner)).collect();
        targets.sort_by_key(|target| target.member != owner);
        let mut verdict = Verdict::Survived;
        for target in targets {
            let Some(test) = self.built(target)? else { return Ok(Verdict::Caught) };
            match run(&test, PATIENCE)? {
                Verdict::Caught => return Ok(Verdict::Caught),
                Verdict::Undecided => verdict = Verdict::Undecided,
                Verdict::Survived => {}
            }
        }
        Ok(verdict)
    }

    /// Builds a test and returns how to run it; nothing if it does not build.
    fn built(&self, target: &LoomTarget) -> Result<Option<Command>> {
        let mut cargo = target.cargo(self.project, &self.toolchain);
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", self.project.target.join("mutate/target"));
        cargo.args(["--no-run", "--message-format=json"]);
        let output = cargo.stderr(Stdio::null()).output()?;
        if !output.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let programs: Vec<String> =
            messages.filter_map(|message| message["executable"].as_str().map(str::to_owned)).collect();
        let [program] = programs.as_slice() else { bail!("{target}: {} programs instead of one", programs.len()) };
        let mut test = Command::new(program);
        test.args(target.filter()).current_dir(&self.root);
        LoomTarget::bound(&mut test);
        Ok(Some(test))
    }
}

/// Whether a crate is, or depends on, another.
fn reaches(project: &Project, from: &str, to: &str) -> bool {
    let edges = |member: &Member| member.edges.iter().any(|edge| reaches(project, edge, to));
    from == to || project.members.iter().any(|member| member.name == from && edges(member))
}

/// Copies what git knows or could know; what is the same already keeps its time, so that it is not built again.
fn copy(project: &Project, root: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(&project.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    for path in command::capture(&mut git)?.split('\0').filter(|path| !path.is_empty()) {
        let (from, to) = (project.root.join(path), root.join(path));
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().unwrap_or(root))?;
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// Runs a test program until it says that a test failed, ends, or has taken so many seconds of the processor.
fn run(test: &Command, patience: &str) -> Result<Verdict> {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -t \"$0\" && exec \"$@\"", patience]).arg(test.get_program()).args(test.get_args());
    command.envs(test.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let output = child.stdout.take().context("no output to watch")?;
    let failed = BufReader::new(output)
        .lines()
        .map_while(|line| line.ok())
        .any(|line| line.starts_with("test ") && line.ends_with("FAILED"));
    if failed {
        // The other tests need not end; it may have ended by itself.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(match status.signal() {
        _ if failed => Verdict::Caught,
        Some(SIGXCPU) => Verdict::Undecided,
        _ if status.success() => Verdict::Survived,
        _ => Verdict::Caught,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survivor_without_a_reason_is_refused() {
        let good = "[[survivor]]\nmutant = \"a.rs f load Acquire->Relaxed\"\nwhy = \"one two three four five\"\n";
        assert_eq!(Listed::parse(good).unwrap().names, ["a.rs f load Acquire->Relaxed"]);
        assert!(Listed::parse("").unwrap().names.is_empty());
        assert!(Listed::parse(&good.replace("one two three four five", "because")).is_err());
        assert!(Listed::parse(&good.replace("mutant", "site")).is_err());
    }

    #[test]
    fn what_is_listed_exists() {
        let project = Project::load().unwrap();
        let gone = Listed::load(&project).unwrap().gone(&sites(&project).unwrap());
        assert!(gone.is_empty(), "{gone:?}");
    }

    #[test]
    fn a_verdict_is_what_the_program_says() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            run(&command, "60").unwrap()
        };
        assert_eq!(shell("echo test a ... ok"), Verdict::Survived);
        assert_eq!(shell("echo test a ... FAILED; sleep 50"), Verdict::Caught);
        assert_eq!(shell("kill -ABRT $$"), Verdict::Caught);
        let mut command = Command::new("sh");
        assert_eq!(run(command.args(["-c", "while :; do :; done"]), "1").unwrap(), Verdict::Undecided);
    }
}
