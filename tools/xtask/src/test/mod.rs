//! The verb `test`: everything that must hold before a change lands, cheapest first.
//!
//! A step that fails does not stop the others. Each step adds to one [`Tally`], whose sum is the last line of
//! the output, below a line for each failure. No verdict depends on time, but for [`HANG_LIMIT`].

mod damage;
mod entry;
mod firmware;
pub mod guest;
pub mod host;
mod list;
mod tally;

use crate::command::say;
use crate::matrix::{Breadth, Share};
use crate::model;
use crate::project::Project;
use crate::setup;
use crate::toolchain::Toolchain;
use crate::trace;
use anyhow::Result;
use std::time::{Duration, Instant};

pub use tally::Tally;

/// A machine that says nothing for so long hangs.
pub const HANG_LIMIT: Duration = Duration::from_secs(300);

const HELP: &str = "\
cargo xtask test [--quick | --full | --list] [--share K/N] [STEP...]

Runs everything that must hold before a change lands, cheapest first:
    fmt tidy clippy host loom model firmware guest shell trace damage entry web

    --quick    the inner loop: fmt tidy host, and the guest suite on one machine
    --full     the whole guest suite on every machine of tests/matrix.toml, not only on pairs of values, and a few
               cases besides in the size that takes long
    --share K/N  only the K-th of N shares of those machines, a mixture; without a STEP nothing else is run.
               So `--full`, which takes hours, can be done piece by piece, or on several hosts
    --list     the cases of the guest suite with the requirements they show, and requirements without one
    --case S   only guest cases whose name contains S
    STEP...    only these steps

The last line of the output counts what passed, failed and was skipped; before it the failures are told again.
";

/// What all steps need to know.
pub struct Context {
    project: Project,
    toolchain: Toolchain,
    breadth: Breadth,
    /// A part of the machines.
    share: Option<Share>,
    /// Part of a case's name, to run only some.
    case: Option<String>,
}

type Step = fn(&Context) -> Result<Tally>;
const STEPS: [(&str, Step); 13] = [
    ("fmt", host::fmt),
    ("tidy", host::tidy),
    ("clippy", host::clippy),
    ("host", host::tests),
    ("loom", host::loom),
    ("model", |context| model::check(&context.project, &[])),
    ("firmware", firmware::trial),
    ("guest", guest::suite),
    ("shell", guest::shell),
    ("trace", |context| trace::check(&context.project, &context.toolchain, 4)),
    ("damage", damage::damage),
    ("entry", entry::entry),
    ("web", guest::web),
];
const QUICK: [&str; 4] = ["fmt", "tidy", "host", "guest"];

/// The verb `test`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    use lexopt::prelude::*;
    let (mut breadth, mut wanted, mut case, mut share) = (Breadth::Pairwise, Vec::new(), None, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("quick") => breadth = Breadth::Quick,
            Long("full") => breadth = Breadth::Full,
            Long("list") => return list::print(&Project::load()?),
            Long("share") => share = Some(arguments.value()?.string()?.parse()?),
            Long("case") => case = Some(arguments.value()?.string()?),
            Value(step) if STEPS.iter().any(|(name, _)| step == *name) => wanted.push(step.string()?),
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if wanted.is_empty() && share.is_some() {
        wanted.push("guest".into());
    } else if wanted.is_empty() && breadth == Breadth::Quick {
        wanted = QUICK.map(str::to_owned).to_vec();
    }
    let toolchain = setup::ensure()?;
    setup::ensure_components(&toolchain)?;
    let context = Context { project: Project::load()?, toolchain, breadth, share, case };
    let steps = STEPS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|step| step == name));
    let total = run_steps(&context, steps);
    if !total.failures.is_empty() {
        say("what failed:");
        total.failures.iter().for_each(|what| say(format!("  {what}")));
    }
    println!("{total}");
    Ok(u8::from(total.failed > 0))
}

fn run_steps<'a>(context: &Context, steps: impl Iterator<Item = &'a (&'static str, Step)>) -> Tally {
    let mut total = Tally::default();
    for (name, step) in steps {
        say(format!("{name} ..."));
        let started = Instant::now();
        let tally = step(context).unwrap_or_else(|error| Tally::failure(format!("{error:#}")));
        say(format!("{name}: {tally} ({:.1} s)", started.elapsed().as_secs_f32()));
        total += tally.of_step(name);
    }
    total
}
