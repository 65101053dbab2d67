//! Tests of the whole crate.

use crate::complete;
use crate::edit::{Action, Editor};
use crate::expand::{self, Variables};
use crate::glob::{Directories, Pattern};
use crate::lex::{Error, Redirection};
use crate::parse::{Condition, parse};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

struct World;

impl Variables for World {
    fn value(&self, name: &str) -> Option<String> {
        let value = match name {
            "A" => "one two",
            "STAR" => "*",
            "HOME" => "/home/u",
            "EMPTY" => "",
            "?" => "3",
            _ => return None,
        };
        Some(value.to_string())
    }
}

impl Directories for World {
    fn names(&self, directory: &str) -> Vec<String> {
        let names: &[&str] = match directory {
            "" => &["b.rs", "a.rs", "dir", ".hidden"],
            "dir/" => &["x.rs", "y"],
            _ => &[],
        };
        names.iter().map(|n| (*n).to_string()).collect()
    }

    fn exists(&self, path: &str) -> bool {
        matches!(path, "dir" | "dir/" | "dir/x.rs" | "a.rs")
    }
}

fn fields(text: &str) -> Vec<String> {
    let jobs = parse(text).unwrap();
    let words = &jobs[0].pipelines[0].1.commands[0].words;
    words.iter().flat_map(|w| expand::fields(w, &World, &World)).collect()
}

#[test]
fn words_expand() {
    for (text, expected) in [
        ("echo a  b", vec!["echo", "a", "b"]),
        ("echo 'a  b' \"c $A\" d\\ e", vec!["echo", "a  b", "c one two", "d e"]),
        ("echo $A x$A.y", vec!["echo", "one", "two", "xone", "two.y"]),
        ("echo $EMPTY \"$EMPTY\" '' $NONE", vec!["echo", "", ""]),
        ("echo *.rs", vec!["echo", "a.rs", "b.rs"]),
        ("echo '*.rs' \\*.rs \"*\"", vec!["echo", "*.rs", "*.rs", "*"]),
        ("echo */*.rs d?r/y nothing*", vec!["echo", "dir/x.rs", "d?r/y", "nothing*"]),
        ("echo .h* *", vec!["echo", ".hidden", "a.rs", "b.rs", "dir"]),
        ("echo ~ ~/x '~' a~", vec!["echo", "/home/u", "/home/u/x", "~", "a~"]),
        ("echo ${A}b $? $ a$", vec!["echo", "one", "twob", "3", "$", "a$"]),
        ("echo $STAR \"$STAR\"", vec!["echo", "a.rs", "b.rs", "dir", "*"]),
        ("echo a#b # comment", vec!["echo", "a#b"]),
        ("echo a\\\nb", vec!["echo", "ab"]),
    ] {
        assert_eq!(fields(text), expected, "{text}");
    }
}

#[test]
fn structure() {
    let jobs = parse("A=1 B=x c <in 2>>err >out 2>&1 | d && ! e || f & g; h=1").unwrap();
    assert_eq!(jobs.len(), 3);
    assert_eq!(jobs.iter().map(|j| j.background).collect::<Vec<_>>(), [true, false, false]);
    let conditions: Vec<_> = jobs[0].pipelines.iter().map(|(c, p)| (*c, p.negated)).collect();
    assert_eq!(conditions, [(Condition::Always, false), (Condition::Success, true), (Condition::Failure, false)]);
    let first = &jobs[0].pipelines[0].1.commands[0];
    assert_eq!(first.assignments.len(), 2);
    let redirects: Vec<_> = first.redirects.iter().map(|r| (r.fd, r.operator)).collect();
    use Redirection::{Append, Duplicate, Input, Output};
    assert_eq!(redirects, [(0, Input), (2, Append), (1, Output), (2, Duplicate)]);
    assert!(jobs[2].pipelines[0].1.commands[0].words.is_empty());
    // A digit is a descriptor only right before the operator.
    assert_eq!(fields("echo 2 >x"), ["echo", "2"]);
}

#[test]
fn errors_say_whether_more_may_come() {
    for text in ["echo 'a", "echo \"a", "a |", "a &&", "a ||\n", "a \\", "${A"] {
        assert_eq!(parse(text), Err(Error::Incomplete), "{text}");
    }
    for text in ["| a", "a | | b", "&& b", "a > | b", "a >", "${}", "a & && b"] {
        assert!(matches!(parse(text), Err(Error::Unexpected(_))), "{text}");
    }
    assert_eq!(parse(" ;; \n # x"), Ok(vec![]));
}

fn type_in(editor: &mut Editor, text: &str) -> Action {
    text.bytes().map(|b| editor.feed(b)).last().unwrap_or(Action::None)
}

#[test]
fn editing() {
    let mut editor = Editor::new();
    editor.start();
    for (keys, expected) in [
        ("hello", "hello"),
        ("\x01X\x05Y", "XhelloY"),
        ("\x1b[D\x1b[D\x7f", "XheloY"),
        ("\x1b[H\x1b[3~", "heloY"),
        ("\x1b[F z", "heloY z"),
        ("\x17", "heloY "),
        ("\x15", ""),
        ("\x19", "heloY "),
        ("\x1b[1;5D", "heloY "),
        ("中é", "heloY中é "),
        ("\x0b", "heloY中é"),
    ] {
        type_in(&mut editor, keys);
        assert_eq!(editor.line(), expected, "{keys:?}");
    }
    assert_eq!(type_in(&mut editor, "\r"), Action::Submit("heloY中é".to_string()));
    assert_eq!(type_in(&mut editor, "\x03"), Action::Cancel);
    editor.start();
    assert_eq!(type_in(&mut editor, "\x04"), Action::End);
    assert_eq!(type_in(&mut editor, "\t"), Action::Complete);
}

#[test]
fn history_is_walked() {
    let mut editor = Editor::new();
    ["one", "two", "two", " "].iter().for_each(|l| editor.remember(l));
    editor.start();
    type_in(&mut editor, "new\x1b[A\x1b[A\x1b[A");
    assert_eq!(editor.line(), "one");
    type_in(&mut editor, "\x1b[B\x1b[B\x1b[B");
    assert_eq!(editor.line(), "new");
}

#[test]
fn a_long_line_shows_the_cursor() {
    let mut editor = Editor::new();
    editor.start();
    editor.insert(&"x".repeat(100));
    editor.insert("end");
    assert!(editor.render("$ ", 20).contains("end"));
    assert!(editor.render("$ ", 20).len() < 40);
}

#[test]
fn typing_at_the_end_only_adds() {
    let mut editor = Editor::new();
    editor.start();
    type_in(&mut editor, "ab");
    assert_eq!(editor.addition("a", "$ ", 20).as_deref(), Some("b"));
    assert_eq!(editor.addition("a", "$ ", 4), None);
    assert_eq!(editor.addition("x", "$ ", 20), None);
    type_in(&mut editor, "\x1b[D");
    assert_eq!(editor.addition("a", "$ ", 20), None);
}

#[test]
fn completion() {
    let target = |line| {
        let t = complete::target(line);
        (t.word, t.command)
    };
    assert_eq!(target("ec"), ("ec".to_string(), true));
    assert_eq!(target("ls | gr"), ("gr".to_string(), true));
    assert_eq!(target("cat /etc/pa"), ("/etc/pa".to_string(), false));
    assert_eq!(target("a >f"), ("f".to_string(), false));
    assert_eq!(complete::common_prefix(["abcd", "abxy", "ab中"].into_iter()), "ab");
}

/// The plain definition of matching.
fn matches_slowly(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            matches_slowly(rest, name) || name.split_first().is_some_and(|(_, n)| matches_slowly(pattern, n))
        }
        (Some((p, rest)), Some((n, others))) => (p == n || *p == '?') && matches_slowly(rest, others),
        _ => false,
    }
}

#[test]
fn variables_next_to_each_other_are_shown_as_they_are() {
    let shown = parse("\"$0$a\"").unwrap()[0].to_string();
    assert_eq!(parse(&shown).unwrap()[0].to_string(), shown);
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "[a-c '\"\\\\$|&;<>{}*?#\n0-2=!~]{0,40}") {
        if let Ok(jobs) = parse(&text) {
            for (_, pipeline) in jobs.iter().flat_map(|j| &j.pipelines) {
                prop_assert!(!pipeline.commands.is_empty());
                for word in pipeline.commands.iter().flat_map(|c| &c.words) {
                    expand::fields(word, &World, &World);
                }
            }
        }
    }

    #[test]
    fn a_shown_command_is_the_same(text in "[a-c '\"\\\\$|&;<>0-2=!]{0,30}") {
        if let Ok(jobs) = parse(&text) {
            for job in &jobs {
                let shown = job.to_string();
                let again = parse(&shown).unwrap();
                prop_assert_eq!(again.len(), 1);
                prop_assert_eq!(again[0].to_string(), shown);
            }
        }
    }

    #[test]
    fn quoted_text_is_itself(text in "[^'\0]{0,30}") {
        prop_assert_eq!(fields(&alloc::format!("echo '{text}'")), vec!["echo".to_string(), text]);
    }

    #[test]
    fn matching_is_as_defined(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
        let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
        prop_assert_eq!(Pattern::new(&pattern).matches(&name), matches_slowly(&p, &n));
    }

    #[test]
    fn any_keys_are_taken(keys in proptest::collection::vec(any::<u8>(), 0..100), columns in 0usize..60) {
        let mut editor = Editor::new();
        editor.remember("earlier line");
        editor.start();
        for key in keys {
            if let Action::Submit(_) = editor.feed(key) {
                editor.start();
            }
            prop_assert!(editor.render("$ ", columns).starts_with('\r'));
            prop_assert!(editor.line().starts_with(&editor.before_cursor()));
        }
    }
}
