//! `execve`: what a program is given, and what it inherits.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_kernel;
use crate::place::Place;
use crate::process::{child, exit, exits, sleep_ms};
use crate::programs::own_path;
use alloc::ffi::CString;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rt::abi::process::{AT_ENTRY, AT_PAGESZ, AT_PHDR, AT_PHENT, AT_PHNUM, AT_RANDOM, AT_UID};
use rt::abi::signal::{SIG_IGN, SIGUSR1, SIGUSR2, Sigaction};
use rt::io::{Read, Write};
use rt::process::{Command, Stdio};
use rt::{fs, pipe, raw, start, thread};

pub const CASES: &[Case] = &[
    case!("exec/arguments", "D3", arguments),
    case!("exec/auxiliary-vector", "D3", auxiliary_vector),
    case!("exec/status", "D3", status),
    case!("exec/pipeline", "D3 D18", pipeline),
    case!("exec/many-arguments", "D3", many_arguments),
    case!("exec/descriptors", "D3", descriptors),
    case!("exec/handlers", "D3", handlers),
    case!("exec/keeps-id", "D3", keeps_id),
    case!("exec/from-a-thread", "D3 P7", from_a_thread),
    case!("exec/fresh-memory", "P1", fresh_memory),
    case!("exec/errors", "E1", errors),
    case!("exec/spawn-many", "P1 D13", spawn_many),
    case!("exec/cat-passes-on", "I1", cat_passes_on),
];

fn program(name: &str) -> Command {
    let mut command = Command::new(&own_path());
    command.args(["--program", name]);
    command
}

fn output_of(command: &mut Command) -> Result<String, Trouble> {
    let (status, bytes) = command.output()?;
    ensure_success(status)?;
    String::from_utf8(bytes).map_err(Trouble::failed)
}

fn ensure_success(status: rt::process::ExitStatus) -> Outcome {
    ensure!(status.success(), "the program: {status}");
    Ok(())
}

fn arguments() -> Outcome {
    needs_kernel("execve")?;
    let text = output_of(program("arguments").args(["", "two words", "drei ü"]).env("SUITE_WORD", "a=b c"))?;
    let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("argument ")).collect();
    equal!(found, ["", "two words", "drei ü"]);
    ensure!(text.lines().any(|line| line == "variable SUITE_WORD=a=b c"), "the environment: {text}");
    Ok(())
}

fn auxiliary_vector() -> Outcome {
    equal!(start::auxiliary(AT_PAGESZ), Some(4096));
    equal!(start::auxiliary(AT_PHENT), Some(56));
    equal!(start::auxiliary(AT_UID), Some(u64::from(rt::process::user_id())));
    ensure!(start::auxiliary(AT_PHNUM).is_some_and(|count| count > 0));
    let entry = start::auxiliary(AT_ENTRY).unwrap_or_default() as usize;
    ensure!(raw::load8(entry) != 0, "the entry holds no code");
    // The first program header belongs to a loaded segment or says where the table is.
    let table = start::auxiliary(AT_PHDR).unwrap_or_default() as usize;
    ensure!([1, 6].contains(&raw::load8(table)), "the program headers are not at AT_PHDR");
    let random = start::auxiliary(AT_RANDOM).unwrap_or_default() as usize;
    let bytes: Vec<u8> = (0..16).map(|index| raw::load8(random + index)).collect();
    ensure!(bytes.iter().any(|byte| *byte != bytes[0]), "AT_RANDOM: {bytes:?}");
    Ok(())
}

fn status() -> Outcome {
    needs_kernel("execve")?;
    for code in [0, 3, 255] {
        let found = program("exit").arg(&code.to_string()).status()?;
        equal!(found.code(), Some(code));
    }
    Ok(())
}

/// Three programs, joined by pipes: everything arrives at the other end.
fn pipeline() -> Outcome {
    needs_kernel("execve")?;
    let (first_read, first_write) = pipe::pipe()?;
    let (second_read, second_write) = pipe::pipe()?;
    let text = "0123456789".repeat(20);
    let mut producer = program("arguments").arg(&text).stdout(first_write).spawn()?;
    let mut filter = program("cat").stdin(first_read).stdout(second_write).spawn()?;
    let out = output_of(program("cat").stdin(second_read))?;
    ensure_success(producer.wait()?)?;
    ensure_success(filter.wait()?)?;
    ensure!(out.contains(&text), "lost on the way: {out}");
    Ok(())
}

fn many_arguments() -> Outcome {
    needs_kernel("execve")?;
    let words: Vec<String> = (0..1000).map(|number| "x".repeat(number % 97)).collect();
    let expected = alloc::format!("1000 {}\n", words.iter().map(String::len).sum::<usize>());
    equal!(output_of(program("count").args(&words))?, expected);
    // 32 pages is the longest that one argument may be.
    let long = "y".repeat(32 * 4096);
    fails!(program("count").arg(&long).spawn(), E2BIG);
    Ok(())
}

fn descriptors() -> Outcome {
    needs_kernel("execve")?;
    let (closed, kept) = pipe::pipe()?;
    let plain = output_of(&mut program("descriptors"))?;
    // `dup` clears close-on-exec.
    let fd = call!(DUP, kept.fd().raw())?;
    let more = output_of(&mut program("descriptors"));
    call!(CLOSE, fd)?;
    drop(closed);
    let number = |text: &str| text.trim().parse::<usize>().map_err(Trouble::failed);
    equal!(number(&more?)?, number(&plain)? + 1);
    Ok(())
}

extern "C" fn ignore_it(_signal: usize) {}

/// Handlers fall back to the default; ignored stays ignored.
fn handlers() -> Outcome {
    needs_kernel("execve")?;
    let (mut read, write) = pipe::pipe()?;
    let pid = child(|| {
        let caught = Sigaction { handler: ignore_it as *const () as u64, flags: 0, mask: 0 };
        let ignored = Sigaction { handler: SIG_IGN as u64, flags: 0, mask: 0 };
        let _ = call!(RT_SIGACTION, SIGUSR1, &raw const caught, 0, 8);
        let _ = call!(RT_SIGACTION, SIGUSR2, &raw const ignored, 0, 8);
        let _ = call!(DUP3, write.fd().raw(), 1, 0);
        exec(&own_path(), &["suite", "--program", "handlers"]);
        1
    })?;
    drop(write);
    let mut text = String::new();
    read.read_to_string(&mut text)?;
    exits(pid, 0)?;
    equal!(text.trim(), "0 1");
    Ok(())
}

/// Replaces this process; returns only on failure.
pub fn exec(path: &str, arguments: &[&str]) {
    let strings: Vec<CString> = arguments.iter().filter_map(|text| CString::new(*text).ok()).collect();
    let mut pointers: Vec<usize> = strings.iter().map(|text| text.as_ptr() as usize).collect();
    pointers.push(0);
    if let Ok(path) = CString::new(path) {
        let _ = call!(EXECVE, path.as_ptr(), pointers.as_ptr(), 0);
    }
}

fn exec_and_tell(in_thread: bool) -> Outcome {
    needs_kernel("execve")?;
    let (mut read, write) = pipe::pipe()?;
    let pid = child(|| {
        let _ = call!(DUP3, write.fd().raw(), 1, 0);
        let go = || exec(&own_path(), &["suite", "--program", "id"]);
        if in_thread {
            let spinning = thread::spawn(|| {
                loop {
                    core::hint::spin_loop();
                }
            });
            let executing = thread::spawn(go);
            sleep_ms(100_000);
            drop((spinning, executing));
        } else {
            go();
        }
        exit(1)
    })?;
    drop(write);
    let mut text = String::new();
    read.read_to_string(&mut text)?;
    exits(pid, 0)?;
    equal!(text.trim(), alloc::format!("{pid} {pid}"));
    Ok(())
}

fn keeps_id() -> Outcome {
    exec_and_tell(false)
}

/// Other threads end, and the one that called becomes the process's first.
fn from_a_thread() -> Outcome {
    exec_and_tell(true)
}

/// What the old program mapped is gone.
fn fresh_memory() -> Outcome {
    needs_kernel("execve")?;
    let free = crate::runner::free_memory();
    for _ in 0..4 {
        let pid = child(|| {
            let Ok(base) = crate::process::map(8 << 20, crate::process::RW) else { return 1 };
            (0..2048).for_each(|page| raw::store8(base + page * 4096, 1));
            exec(&own_path(), &["suite", "--program", "exit", "4"]);
            1
        })?;
        exits(pid, 4)?;
    }
    match free {
        // Less than one of the four had.
        Some(before) if crate::machine::is_asyncos() => crate::runner::memory_comes_back(before, (8 << 10) - 1),
        _ => Ok(()),
    }
}

fn errors() -> Outcome {
    let place = Place::any()?;
    let attempt = |path: &str| -> Result<usize, rt::abi::Errno> {
        let path = CString::new(path).map_err(|_| rt::abi::Errno::EINVAL)?;
        let arguments = [path.as_ptr() as usize, 0];
        call!(EXECVE, path.as_ptr(), arguments.as_ptr(), 0)
    };
    fails!(attempt(&place.join("missing")), ENOENT);
    fails!(attempt(place.path()), EACCES);
    fs::write(&place.join("plain"), b"text")?;
    fails!(attempt(&place.join("plain")), EACCES);
    fs::set_permissions(&place.join("plain"), 0o755)?;
    fails!(attempt(&place.join("plain")), ENOEXEC);
    fails!(attempt(&place.join("plain/below")), ENOTDIR);
    fails!(attempt(""), ENOENT);
    Ok(())
}

fn spawn_many() -> Outcome {
    needs_kernel("execve")?;
    let mut children = Vec::new();
    for code in 0..24 {
        children.push((code, program("exit").arg(&code.to_string()).spawn()?));
    }
    for (code, child) in &mut children {
        equal!(child.wait()?.code(), Some(*code));
    }
    Ok(())
}

/// A tool in the middle of a pipeline hands on what it has before there is more.
fn cat_passes_on() -> Outcome {
    needs_kernel("execve")?;
    let mut command = Command::new("/bin/cat");
    let mut child = command.stdin(Stdio::Piped).stdout(Stdio::Piped).spawn()?;
    let (mut to, mut from) = (child.stdin.take(), child.stdout.take());
    let (Some(write), Some(read)) = (&mut to, &mut from) else { return Err(Trouble::failed("no pipes")) };
    for word in [*b"one", *b"two"] {
        write.write_all(&word)?;
        let mut answer = [0; 3];
        read.read_exact(&mut answer)?;
        equal!(answer, word);
    }
    drop(to);
    ensure_success(child.wait()?)
}
