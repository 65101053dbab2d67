//! `ls`.

use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rt::abi::stat::{self, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFSOCK};
use rt::fs::{self, Metadata};
use rt::{eprintln, io, path, println, tty};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "ls",
    usage: "[-la1d] [PATH...]\nLists directories. -l: with details  -a: with hidden names  -1: one a line  -d: directories themselves",
    options: Some("la1dh"),
    run,
};

fn run(options: &Options) -> Outcome {
    let paths: Vec<&str> = if options.args.is_empty() { alloc::vec!["."] } else { options.args.clone() };
    let (mut files, mut directories, mut status) = (Vec::new(), Vec::new(), 0);
    for path in &paths {
        // A link named on the command line is followed, unless details are asked for or its target is missing.
        let found = if options.has('l') { fs::symlink_metadata(path) } else { fs::metadata(path) };
        match found.or_else(|_| fs::symlink_metadata(path)) {
            Ok(meta) if meta.is_dir() && !options.has('d') => directories.push(*path),
            Ok(meta) => files.push(((*path).to_string(), Some(meta))),
            Err(error) => {
                eprintln!("ls: {path}: {error}");
                status = 1;
            }
        }
    }
    show(options, "", &files);
    for (i, directory) in directories.iter().enumerate() {
        if paths.len() > 1 {
            println!("{}{directory}:", if i > 0 || !files.is_empty() { "\n" } else { "" });
        }
        match entries(options, directory) {
            Ok(entries) => show(options, directory, &entries),
            Err(error) => {
                eprintln!("ls: {directory}: {error}");
                status = 1;
            }
        }
    }
    Ok(status)
}

type Entry = (String, Option<Metadata>);

fn entries(options: &Options, directory: &str) -> io::Result<Vec<Entry>> {
    let mut names: Vec<String> = fs::read_dir(directory)?.into_iter().map(|e| e.name).collect();
    if options.has('a') {
        names.extend([".", ".."].map(ToString::to_string));
    } else {
        names.retain(|n| !n.starts_with('.'));
    }
    names.sort();
    let with_meta = |name: String| {
        let meta = fs::symlink_metadata(&path::join(directory, &name)).ok();
        (name, meta)
    };
    Ok(names.into_iter().map(with_meta).collect())
}

fn show(options: &Options, directory: &str, entries: &[Entry]) {
    if options.has('l') {
        entries.iter().for_each(|(name, meta)| details(directory, name, meta.as_ref()));
    } else if options.has('1') || !tty::is_terminal(1) {
        entries.iter().for_each(|(name, _)| println!("{name}"));
    } else {
        columns(entries);
    }
}

/// Names in as many columns as fit, filled downwards.
fn columns(entries: &[Entry]) {
    let names: Vec<String> = entries
        .iter()
        .map(|(name, meta)| alloc::format!("{name}{}", if meta.is_some_and(|m| m.is_dir()) { "/" } else { "" }))
        .collect();
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0) + 2;
    let columns = (usize::from(tty::size(1).map_or(80, |(_, c)| c)) / width).max(1);
    let rows = names.len().div_ceil(columns);
    for row in 0..rows {
        let line: String = names.iter().skip(row).step_by(rows).map(|n| alloc::format!("{n:width$}")).collect();
        println!("{}", line.trim_end());
    }
}

fn details(directory: &str, name: &str, meta: Option<&Metadata>) {
    let Some(meta) = meta else {
        println!("?????????? {name}");
        return;
    };
    let s = meta.stat();
    let size = match s.mode & S_IFMT {
        S_IFCHR | S_IFBLK => {
            let (major, minor) = stat::split_dev(s.rdev);
            alloc::format!("{major},{minor}")
        }
        _ => meta.size().to_string(),
    };
    let (year, month, day) = http::date::civil(meta.mtime().div_euclid(86_400));
    let minutes = meta.mtime().rem_euclid(86_400) / 60;
    let target = if meta.is_symlink() { fs::read_link(&path::join(directory, name)).ok() } else { None };
    let arrow = target.map_or(String::new(), |t| alloc::format!(" -> {t}"));
    println!(
        "{} {:3} {:5} {:5} {size:>10} {year}-{month:02}-{day:02} {:02}:{:02} {name}{arrow}",
        mode(s.mode),
        s.nlink,
        s.uid,
        s.gid,
        minutes / 60,
        minutes % 60
    );
}

/// Type and permissions, as in `drwxr-xr-x`.
fn mode(mode: u32) -> String {
    let kind = match mode & S_IFMT {
        S_IFDIR => 'd',
        S_IFLNK => 'l',
        S_IFCHR => 'c',
        S_IFBLK => 'b',
        S_IFIFO => 'p',
        S_IFSOCK => 's',
        _ => '-',
    };
    let bits = "rwxrwxrwx".chars().enumerate().map(|(i, c)| if mode >> (8 - i) & 1 == 1 { c } else { '-' });
    core::iter::once(kind).chain(bits).collect()
}
