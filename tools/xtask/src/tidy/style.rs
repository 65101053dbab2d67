//! Rules about files: heads, budgets, words that must not occur.

use super::lexer::{Kind, Token, closing};
use super::{File, Finding, fail, warn};
use std::path::Path;

const FILE_WARN: usize = 400;
const FILE_FAIL: usize = 800;
const TESTS_WARN: usize = 100;
const FUNCTION_WARN: usize = 40;
const FUNCTION_FAIL: usize = 80;
const VAGUE_NAMES: [&str; 6] = ["utils.rs", "util.rs", "common.rs", "misc.rs", "helpers.rs", "helper.rs"];

/// Host names of package registries, in pieces so that this file does not contain one.
const REGISTRIES: [&str; 9] = [
    concat!("crates", ".io"),
    concat!("debian", ".org"),
    concat!("archive.ubuntu", ".com"),
    concat!("static.rust-lang", ".org"),
    concat!("pypi", ".org"),
    concat!("npmjs", ".com"),
    concat!("npmjs", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("ghcr", ".io"),
];

/// Checks that a file says at its start what it is, and is not named for nothing.
pub fn check_head(file: &File<'_>, findings: &mut Vec<Finding>) {
    let first = file.source.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!/"));
    if !first.is_some_and(|line| line.starts_with("//!") && line.len() > 4) {
        fail(findings, file.path, 1, "must open with `//!` documentation: what it is, who owns what");
    }
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    if VAGUE_NAMES.contains(&name.as_ref()) {
        fail(findings, file.path, 1, "a file is named for the concept it holds");
    }
}

/// Checks the length of a file and of its functions, tests apart.
pub fn check_budgets(file: &File<'_>, findings: &mut Vec<Finding>) {
    if file.all_tests {
        return;
    }
    let lines = file.source.lines().count();
    let tests: usize = file
        .tests
        .iter()
        .filter(|region| !inside_another(region, &file.tests))
        .map(|(first, last)| last + 1 - first)
        .sum();
    let own = lines.saturating_sub(tests);
    if own > FILE_FAIL {
        fail(findings, file.path, 0, format!("{own} lines without tests; the limit is {FILE_FAIL}"));
    } else if own > FILE_WARN {
        warn(findings, file.path, 0, format!("{own} lines without tests; the budget is {FILE_WARN}"));
    }
    if tests > TESTS_WARN {
        warn(
            findings,
            file.path,
            0,
            format!("{tests} lines of tests; beyond {TESTS_WARN} they go in a sibling tests.rs"),
        );
    }
    for (name, line, length) in functions(&file.tokens) {
        if file.is_test(line) {
            continue;
        }
        if length > FUNCTION_FAIL {
            fail(
                findings,
                file.path,
                line,
                format!("function `{name}` has {length} lines; the limit is {FUNCTION_FAIL}"),
            );
        } else if length > FUNCTION_WARN {
            warn(
                findings,
                file.path,
                line,
                format!("function `{name}` has {length} lines; the budget is {FUNCTION_WARN}"),
            );
        }
    }
}

fn inside_another(region: &(usize, usize), all: &[(usize, usize)]) -> bool {
    all.iter().any(|other| other != region && other.0 <= region.0 && region.1 <= other.1)
}

/// Name, first line and length of every function with a body, assembly apart.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let mut functions = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(index + 1).filter(|name| token.is("fn") && name.kind == Kind::Word) else {
            continue;
        };
        let Some(open) = body(tokens, index) else { continue };
        let close = closing(tokens, open);
        let is_assembly = tokens[open..close].iter().any(|token| token.is("naked_asm") || token.is("global_asm"));
        if !is_assembly {
            functions.push((name.text, token.line, tokens[close].line + 1 - token.line));
        }
    }
    functions
}

/// Index of the brace that opens the body of the function at `index`; none for a declaration.
fn body(tokens: &[Token<'_>], index: usize) -> Option<usize> {
    let mut at = index;
    loop {
        let token = tokens.get(at)?;
        match token.text {
            "{" if token.kind == Kind::Mark => return Some(at),
            ";" if token.kind == Kind::Mark => return None,
            "(" | "[" if token.kind == Kind::Mark => at = closing(tokens, at),
            _ => {}
        }
        at += 1;
    }
}

/// Checks words of the language that are not for this place.
pub fn check_words(file: &File<'_>, findings: &mut Vec<Finding>) {
    let tested = |line| file.is_test(line) || file.all_tests;
    let inner = file.layer_is(&["base", "machine", "kernel"]);
    let seamed = file.layer_is(&["base"]) && !file.path.starts_with("base/sync");
    // The tools ask which system they run on, never which one they build.
    let owns_machine = file.layer_is(&["machine", "tools"]) || file.path.starts_with("user/rt");
    for (index, token) in file.tokens.iter().enumerate() {
        let line = token.line;
        if token.kind == Kind::Comment {
            check_promise(file, token, findings);
            continue;
        }
        if (token.is("target_arch") || token.is("target_os")) && !owns_machine {
            fail(findings, file.path, line, format!("`{}` is asked only in machine/, user/rt and tools/", token.text));
        }
        if token.is("feature") && is_attribute(&file.tokens, index) {
            fail(findings, file.path, line, "stable Rust only: no `feature(...)`");
        }
        if inner && !tested(line) {
            check_panics(file, index, findings);
        }
        if seamed && !tested(line) && names_atomics(&file.tokens, index) {
            fail(findings, file.path, line, "inside base/ only `sync` names core::sync::atomic");
        }
    }
}

fn is_attribute(tokens: &[Token<'_>], index: usize) -> bool {
    let opens = |at: usize| tokens.get(at).is_some_and(|token| token.is("["));
    let is_direct = index >= 2 && opens(index - 1) && tokens.get(index - 2).is_some_and(|token| token.is("!"));
    is_direct && tokens.get(index + 1).is_some_and(|token| token.is("("))
}

fn check_promise(file: &File<'_>, comment: &Token<'_>, findings: &mut Vec<Finding>) {
    for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")] {
        let mut found = comment.text.match_indices(word);
        if let Some((at, _)) = found.next() {
            let rest = &comment.text[at + word.len()..];
            let numbered = rest.starts_with("(#") && rest[2..].starts_with(|c: char| c.is_ascii_digit());
            if !numbered && !rest.starts_with(|c: char| c.is_alphanumeric()) {
                fail(
                    findings,
                    file.path,
                    comment.line,
                    format!("`{word}` without an issue number, as in `{word}(#12)`"),
                );
            }
        }
    }
}

/// `.unwrap()`, `.expect()` without an invariant in words, and the macros of unfinished code.
fn check_panics(file: &File<'_>, index: usize, findings: &mut Vec<Finding>) {
    let token = &file.tokens[index];
    let at = |offset: usize| file.tokens.get(index + offset);
    let is_method = index > 0 && file.tokens[index - 1].is(".") && at(1).is_some_and(|next| next.is("("));
    if is_method && token.is("unwrap") {
        fail(findings, file.path, token.line, "no `unwrap` in base, machine and kernel");
    }
    if is_method && token.is("expect") {
        let words = at(2)
            .filter(|argument| argument.kind == Kind::Literal)
            .map_or(0, |text| text.text.split_whitespace().count());
        if words < 2 {
            fail(findings, file.path, token.line, "`expect` must state the invariant in words");
        }
    }
    if at(1).is_some_and(|next| next.is("!")) && (token.is("todo") || token.is("unimplemented")) {
        fail(findings, file.path, token.line, format!("`{}!` is unfinished code", token.text));
    }
}

fn names_atomics(tokens: &[Token<'_>], index: usize) -> bool {
    let path = ["sync", ":", ":", "atomic"];
    let starts = tokens[index].is("core") || tokens[index].is("std");
    starts
        && path
            .iter()
            .enumerate()
            .all(|(offset, word)| tokens.get(index + 3 + offset).is_some_and(|token| token.is(word)))
}

/// Checks a text file of any kind for host names of package registries.
pub fn check_hosts(path: &Path, text: &str, findings: &mut Vec<Finding>) {
    for (number, line) in text.lines().enumerate() {
        if let Some(host) = REGISTRIES.iter().find(|host| line.contains(**host)) {
            fail(
                findings,
                path,
                number + 1,
                format!("names the package registry {host}; packages come through the distribution's own client"),
            );
        }
    }
}
