//! The everyday tools in one program, which goes by the name it is called with: `ls` when started as `/bin/ls`, or as
//! `tools ls`. `tools --list` prints the names, one a line, for whoever makes the links.
//!
//! One file a tool, whose `TOOL` says its name, usage and options. `options` takes arguments apart, `input` opens files, `proc` reads `/proc`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod input;
mod options;
mod proc;

mod basename;
mod cat;
mod chmod;
mod cp;
mod cut;
mod date;
mod df;
mod dmesg;
mod echo;
mod env;
mod fetch;
mod free;
mod grep;
mod head;
mod hexdump;
mod kill;
mod ln;
mod ls;
mod mkdir;
mod mv;
mod poweroff;
mod ps;
mod pwd;
mod rm;
mod rmdir;
mod seq;
mod sleep;
mod sort;
mod sync;
mod tail;
mod tee;
mod top;
mod touch;
mod tr;
mod truth;
mod uname;
mod uniq;
mod uptime;
mod wc;
mod world;
mod yes;

use alloc::string::String;
use alloc::vec::Vec;
use options::Options;
use rt::process::ExitCode;
use rt::{eprintln, path, print, println};

rt::main!(main);

/// What a tool returns: its exit status, or what to tell the user (and status 1).
type Outcome = Result<i32, String>;

/// A tool.
struct Tool {
    name: &'static str,
    /// Arguments and purpose, for `--help`.
    usage: &'static str,
    /// Option letters; one that takes a value is followed by `:`. `None`: arguments are left as they are.
    options: Option<&'static str>,
    run: fn(&Options) -> Outcome,
}

/// All tools, by name.
static TOOLS: [&Tool; 46] = [
    &basename::TOOL,
    &cat::TOOL,
    &chmod::TOOL,
    &cp::TOOL,
    &cut::TOOL,
    &date::TOOL,
    &df::TOOL,
    &basename::DIRNAME,
    &dmesg::TOOL,
    &echo::TOOL,
    &env::TOOL,
    &truth::FALSE,
    &fetch::TOOL,
    &free::TOOL,
    &grep::TOOL,
    &poweroff::HALT,
    &head::TOOL,
    &hexdump::TOOL,
    &kill::TOOL,
    &ln::TOOL,
    &ls::TOOL,
    &mkdir::TOOL,
    &mv::TOOL,
    &poweroff::TOOL,
    &ps::TOOL,
    &pwd::TOOL,
    &poweroff::REBOOT,
    &rm::TOOL,
    &rmdir::TOOL,
    &seq::TOOL,
    &sleep::TOOL,
    &sort::TOOL,
    &sync::TOOL,
    &tail::TOOL,
    &tee::TOOL,
    &top::TOOL,
    &touch::TOOL,
    &tr::TOOL,
    &truth::TRUE,
    &uname::TOOL,
    &uniq::TOOL,
    &uptime::TOOL,
    &wc::TOOL,
    &world::TOOL,
    &env::PRINTENV,
    &yes::TOOL,
];

/// The names for which the image has links to this program; read by who makes the image.
static LINKS: &str = include_str!("../../../links.txt");
/// The links are exactly the tools.
const _: () = assert!(is_list_of_tools(LINKS.as_bytes()), "links.txt is not what `tools --list` prints");

const fn is_list_of_tools(text: &[u8]) -> bool {
    let (mut at, mut tool) = (0, 0);
    while tool < TOOLS.len() {
        let name = TOOLS[tool].name.as_bytes();
        let mut i = 0;
        while i < name.len() {
            if at >= text.len() || text[at] != name[i] {
                return false;
            }
            (at, i) = (at + 1, i + 1);
        }
        if at >= text.len() || text[at] != b'\n' {
            return false;
        }
        (at, tool) = (at + 1, tool + 1);
    }
    at == text.len()
}

/// Status of wrong usage, and of a name that is no tool.
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 127;

fn main() -> ExitCode {
    let mut args = rt::env::args();
    let mut name = path::file_name(args.next().unwrap_or("tools"));
    if find(name).is_none() {
        match args.next() {
            Some("--list") | None => {
                print!("{LINKS}");
                return ExitCode::SUCCESS;
            }
            Some(first) => name = first,
        }
    }
    ExitCode::from(match find(name) {
        Some(tool) => run(tool, &args.collect::<Vec<_>>()),
        None => {
            eprintln!("tools: {name}: no such tool");
            NOT_FOUND
        }
    })
}

fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name).copied()
}

fn run(tool: &Tool, args: &[&'static str]) -> i32 {
    if args == ["--help"] {
        println!("usage: {} {}", tool.name, tool.usage);
        return 0;
    }
    let options = match Options::parse(tool.name, args, tool.options) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{}: {text}\nusage: {} {}", tool.name, tool.name, tool.usage);
            return USAGE;
        }
    };
    (tool.run)(&options).unwrap_or_else(|text| {
        eprintln!("{}: {text}", tool.name);
        1
    })
}
