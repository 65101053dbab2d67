//! `cargo xtask`: the only interface to this repository. Each verb is one file, or one folder where
//! it needs more than one; this file only chooses the verb.
#![forbid(unsafe_code)]

mod apt;
mod backlog;
mod bench;
mod build;
mod command;
mod console;
mod cpio;
mod doctor;
mod emulator;
mod image;
mod ksyms;
mod matrix;
mod model;
mod mutate;
mod project;
mod run;
mod sched_image;
mod setup;
mod terminal;
mod test;
mod tidy;
mod toolchain;
mod trace;
mod web;

use std::process::ExitCode;

const HELP: &str = "\
AsyncOS: build, run and test the system.

    cargo xtask VERB [OPTIONS]        `cargo xtask VERB --help` explains one verb

    run      boot AsyncOS in QEMU and give this terminal its shell
    test     everything that must hold before a change lands
    bench    measure, print the table, keep it as JSON
    tidy     check the rules of the house (layers, unsafe, budgets)
    build    build the kernel and the user programs
    image    make the disk image
    web      test the web server from the host, byte for byte
    model    check the models of protocols, state by state
    trace    check a recorded run against these models
    mutate   weaken each memory ordering in turn and expect loom to notice
    setup    install what is missing; `run`, `test` and `bench` do it by themselves
    doctor   say what is there, what is missing and what will be used
    clean    remove what xtask made (images, downloads)

Environment: ASYNCOS_TOOLCHAIN=rustup|debian chooses the Rust toolchain, QEMU=PATH the emulator.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest = lexopt::Parser::from_args(arguments);
    let outcome = match verb.to_str().unwrap_or_default() {
        "run" => run::main(rest),
        "test" => test::main(rest),
        "bench" => bench::main(rest),
        "tidy" => tidy::main(rest),
        "build" => build::main(rest),
        "image" => image::main(rest),
        "web" => web::main(rest),
        "model" => model::main(rest),
        "trace" => trace::main(rest),
        "mutate" => mutate::main(rest),
        "setup" => setup::main(rest),
        "doctor" => doctor::main(rest),
        "clean" => project::clean(),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(0)
        }
        unknown => Err(anyhow::anyhow!("there is no verb `{unknown}`\n\n{HELP}")),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
