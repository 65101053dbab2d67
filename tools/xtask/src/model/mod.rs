//! The verb `model` and the step of `test`: SPIN goes through every state of protocols of the scheduler and of rings.
//!
//! Each `tests/model/*.pml` asks one question, is small enough to be gone through as a whole, and names its *mutants*:
//! errors that are put in on purpose by a macro. The model as it is must hold, and each mutant must be refuted; a model
//! that cannot find its errors shows nothing. What the task word does is not written twice: [`table`].

pub mod table;

use crate::command::{self, say};
use crate::project::Project;
use crate::setup;
use crate::test::Tally;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use table::WordTable;

const HELP: &str = "\
cargo xtask model [NAME...]

Checks the models in tests/model, of the scheduler and of rings, with SPIN: every state of each, and that each error put in on
purpose is found. With names: only these models. `cargo xtask test model` does the same.
";

/// What the checker may take of memory, in KiB, and of time, in minutes. Far more than it needs.
const MEMORY: &str = "2097152";
const MINUTES: &str = "-Q5";
/// How long a run of a model may be, in steps.
const DEPTH: &str = "-m200000";

/// A file of `tests/model`.
struct Model {
    name: String,
    text: String,
    mutants: Vec<String>,
}

/// The verb `model`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    use lexopt::prelude::*;
    let mut names = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Value(name) => names.push(name.string()?),
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let tally = check(&Project::load()?, &names)?;
    println!("{tally}");
    Ok(u8::from(tally.failed > 0))
}

/// Checks the models with these names, or all.
pub fn check(project: &Project, names: &[String]) -> Result<Tally> {
    setup::ensure_model_checker()?;
    let models = load(project)?;
    let table = word_table(project)?;
    if let Some(unknown) = names.iter().find(|name| !models.iter().any(|model| model.name == **name)) {
        bail!("there is no tests/model/{unknown}.pml");
    }
    let mut tally = Tally::default();
    for model in models.iter().filter(|model| names.is_empty() || names.contains(&model.name)) {
        let started = Instant::now();
        let found = explore(project, &table, model, None)?;
        tally += Tally::named(found.holds(), || format!("{} does not hold\n{}", model.name, found.report));
        for mutant in &model.mutants {
            let found = explore(project, &table, model, Some(mutant))?;
            tally +=
                Tally::named(found.is_refuted(), || format!("{} does not find {mutant}\n{}", model.name, found.report));
        }
        let states = found.states().unwrap_or("?");
        let count = model.mutants.len();
        say(format!("  {}: {states} states, {count} mutants ({:.1} s)", model.name, started.elapsed().as_secs_f32()));
    }
    Ok(tally)
}

/// The table of the task word.
pub fn word_table(project: &Project) -> Result<WordTable> {
    let text = fs::read_to_string(project.root.join("tests/model/word.table")).context("tests/model/word.table")?;
    WordTable::parse(&text).context("tests/model/word.table")
}

/// All models. Each has mutants, and each mutant is somewhere.
fn load(project: &Project) -> Result<Vec<Model>> {
    let table = word_table(project)?;
    let mut paths: Vec<PathBuf> =
        fs::read_dir(project.root.join("tests/model"))?.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pml"));
    paths.sort();
    let models = paths.iter().map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        model(name.clone(), fs::read_to_string(path)?, &table).context(name)
    });
    let models: Vec<Model> = models.collect::<Result<_>>()?;
    let is_claimed = |mutant: &&str| models.iter().any(|model| model.mutants.iter().any(|own| own == mutant));
    if let Some(mutant) = table.mutants().find(|mutant| !is_claimed(mutant)) {
        bail!("no model looks for the mutant {mutant} of word.table");
    }
    Ok(models)
}

fn model(name: String, text: String, table: &WordTable) -> Result<Model> {
    let mutants: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim_start_matches([' ', '*']).strip_prefix("mutant ")?.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    if mutants.is_empty() {
        bail!("a model without mutants shows nothing");
    }
    let conditions = text.lines().filter(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n");
    if let Some(nowhere) =
        mutants.iter().find(|mutant| !conditions.contains(*mutant) && !table.mutants().any(|known| known == *mutant))
    {
        bail!("the mutant {nowhere} changes nothing");
    }
    Ok(Model { name, text, mutants })
}

/// What a search came to.
struct Found {
    report: String,
}

impl Found {
    /// Every state was visited, and all of them are right.
    fn holds(&self) -> bool {
        let cut = ["not completed", "too small", "out of memory"];
        self.report.contains("errors: 0") && !cut.iter().any(|word| self.report.contains(word)) && !self.is_refuted()
    }

    /// A state was found that is wrong.
    fn is_refuted(&self) -> bool {
        let wrong = |line: &str| {
            line.starts_with("pan:") && (line.contains("assertion violated") || line.contains("invalid end state"))
        };
        self.report.lines().any(wrong)
    }

    fn states(&self) -> Option<&str> {
        self.report.lines().find(|line| line.contains("states, stored"))?.split_whitespace().next()
    }
}

/// Goes through the states of a model, or of one of its mutants.
fn explore(project: &Project, table: &WordTable, model: &Model, mutant: Option<&String>) -> Result<Found> {
    let folder = project
        .output()?
        .join("model")
        .join(mutant.map_or(model.name.clone(), |name| format!("{}-{name}", model.name)));
    fs::create_dir_all(&folder)?;
    let file = format!("{}.pml", model.name);
    fs::write(folder.join(&file), &model.text)?;
    fs::write(folder.join("word.pml"), table.promela())?;
    let define = mutant.map(|name| format!("-D{name}"));
    run(&folder, Command::new("spin").args(define).args(["-a", &file]))?;
    // A mutant is found long before all of its states are: building it well takes longer than running it.
    let level = if mutant.is_some() { "-O0" } else { "-O2" };
    run(&folder, Command::new("cc").args([level, "-w", "-DSAFETY", "-o", "pan", "pan.c"]))?;
    let limited = format!("ulimit -v {MEMORY} && exec ./pan {DEPTH} {MINUTES} -n");
    let output = Command::new("sh").current_dir(&folder).args(["-c", &limited]).output()?;
    let report = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok(Found { report })
}

fn run(folder: &Path, command: &mut Command) -> Result<()> {
    command::capture(command.current_dir(folder)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "State-vector 68 byte, depth reached 89, errors: 0\n   293409 states, stored\n\
                        pan: elapsed time 1 seconds\npan: rate 5 states/second\n\tinvalid end states\t+\n";

    #[test]
    fn only_a_whole_search_without_errors_holds() {
        let found = |report: &str| Found { report: report.into() };
        assert!(found(GOOD).holds());
        assert!(!found(GOOD).is_refuted());
        assert_eq!(found(GOOD).states(), Some("293409"));
        let early =
            format!("pan:1: assertion violated (x==1) (at depth 3)\n{}", GOOD.replace("errors: 0", "errors: 1"));
        assert!(found(&early).is_refuted() && !found(&early).holds());
        for cut in ["Warning: Search not completed", "error: max search depth too small", "pan: out of memory"] {
            let cut = format!("{cut}\n{GOOD}");
            assert!(!found(&cut).holds() && !found(&cut).is_refuted(), "{cut}");
        }
        assert!(!found("").holds());
    }

    #[test]
    fn a_model_names_its_mutants() {
        let table = WordTable::parse("wake | | | nothing | FORGETS\n").unwrap();
        let named = |text: &str| model("m".into(), text.into(), &table).map(|model| model.mutants);
        assert_eq!(named("/* x\n * mutant A  why\n * mutant FORGETS  why\n */\n#ifdef A\n").unwrap(), ["A", "FORGETS"]);
        assert!(named("/* none */").is_err());
        assert!(named("/*\n * mutant B  why\n */\n").is_err());
    }

    #[test]
    fn the_models_can_be_loaded() {
        assert!(load(&Project::load().unwrap()).unwrap().len() >= 4);
    }
}
