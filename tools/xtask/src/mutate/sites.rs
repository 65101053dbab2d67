//! Memory orderings in source: where they are, and what is one step weaker.

use crate::tidy::lexer::{self, Kind, Token};
use anyhow::{Result, bail};

/// One ordering, made weaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Names the place without line numbers, so that it stays the same while the file around it changes:
    /// `FILE FUNCTION OPERATION FROM->TO`, with `#2` and so on for its like in the same function.
    pub name: String,
    /// The line, from 1; for people.
    pub line: usize,
    /// The file with the change.
    pub text: String,
}

/// All mutants of a file outside its tests. `file` is how the file is called in names.
///
/// # Errors
/// An ordering that is not an argument of an atomic operation: what it is used for is not visible here.
pub fn mutants(file: &str, source: &str) -> Result<Vec<Mutant>> {
    let tokens: Vec<Token<'_>> =
        lexer::tokens(source).into_iter().filter(|token| token.kind != Kind::Comment).collect();
    let tests = lexer::test_regions(&tokens);
    let (mut found, mut function) = (Vec::<Mutant>::new(), "");
    for (index, token) in tokens.iter().enumerate() {
        if token.is("fn") {
            function = tokens.get(index + 1).map_or("", |name| name.text);
        }
        let tested = tests.iter().any(|(first, last)| (*first..=*last).contains(&token.line));
        if tested || !is_ordering(&tokens, index) {
            continue;
        }
        let Some(open) = opening(&tokens, index).filter(|open| is_atomic(tokens[open - 1].text)) else {
            bail!("{file}:{}: `{}` is no argument of an atomic operation", token.line, token.text);
        };
        let operation = tokens[open - 1].text;
        for weaker in weaker(token.text, operation) {
            let mut name = format!("{file} {function} {operation} {}->{weaker}", token.text);
            let alike = found.iter().filter(|other| other.name.split('#').next() == Some(&name)).count();
            if alike > 0 {
                name.push_str(&format!("#{}", alike + 1));
            }
            // A fence that orders nothing does not exist: it goes as a whole.
            let (first, last) =
                if *weaker == "nothing" { (open - 1, lexer::closing(&tokens, open)) } else { (index, index) };
            let text = if *weaker == "nothing" { "()" } else { weaker };
            found.push(Mutant { name, line: token.line, text: replaced(source, &tokens[first], &tokens[last], text) });
        }
    }
    Ok(found)
}

/// Whether the token names an ordering that can be weaker: `Ordering::Acquire`, or the word alone among the arguments of an
/// atomic operation.
fn is_ordering(tokens: &[Token<'_>], index: usize) -> bool {
    let at = |back: usize, text: &str| index >= back && tokens[index - back].is(text);
    if !["Acquire", "Release", "AcqRel", "SeqCst"].iter().any(|name| tokens[index].is(name)) {
        return false;
    }
    let named = at(1, ":") && at(2, ":") && at(3, "Ordering");
    let is_path = at(1, ":") || tokens.get(index + 1).is_some_and(|next| next.is(":"));
    named || (!is_path && opening(tokens, index).is_some_and(|open| is_atomic(tokens[open - 1].text)))
}

/// The bracket of the call whose argument the token is, if there is a name before it.
fn opening(tokens: &[Token<'_>], index: usize) -> Option<usize> {
    let mut depth = 0;
    for at in (1..index).rev().take_while(|at| !tokens[*at].is(";")) {
        match tokens[at].text {
            ")" | "]" | "}" => depth += 1,
            "(" if depth == 0 => return (tokens[at - 1].kind == Kind::Word).then_some(at),
            "[" | "{" if depth == 0 => return None,
            "(" | "[" | "{" => depth -= 1,
            _ => {}
        }
    }
    None
}

fn is_atomic(operation: &str) -> bool {
    ["load", "store", "swap", "fence"].contains(&operation)
        || operation.starts_with("fetch_")
        || operation.starts_with("compare_exchange")
}

/// What is one step weaker. Of acquire and release together each half goes on its own: if losing one is caught, losing both
/// is.
fn weaker(ordering: &str, operation: &str) -> &'static [&'static str] {
    match (ordering, operation) {
        ("Acquire" | "Release", "fence") => &["nothing"],
        ("Acquire" | "Release", _) => &["Relaxed"],
        ("AcqRel", _) => &["Acquire", "Release"],
        ("SeqCst", "load") => &["Acquire"],
        ("SeqCst", "store") => &["Release"],
        _ => &["AcqRel"],
    }
}

fn replaced(source: &str, first: &Token<'_>, last: &Token<'_>, text: &str) -> String {
    let place = |token: &Token<'_>| token.text.as_ptr().addr() - source.as_ptr().addr();
    format!("{}{text}{}", &source[..place(first)], &source[place(last) + last.text.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "use sync::atomic::{AtomicU8, Ordering, fence};
/// Ordering::Acquire in a comment.
fn take(&self) -> Release {
    self.0.fetch_or(bit(1), Ordering::AcqRel);
    self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
    fence(Ordering::Release);
    self.0.store(f(Release::Free), Release);
    self.0.store(0, Ordering::Release);
    Release::Nothing
}
#[cfg(test)]
mod tests { fn t() { x.load(Ordering::SeqCst); } }
";

    #[test]
    fn every_ordering_is_found_and_weakened() {
        let found = mutants("a.rs", SAMPLE).unwrap();
        let names: Vec<&str> = found.iter().map(|mutant| mutant.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "a.rs take fetch_or AcqRel->Acquire",
                "a.rs take fetch_or AcqRel->Release",
                "a.rs take compare_exchange Acquire->Relaxed",
                "a.rs take fence Release->nothing",
                "a.rs take store Release->Relaxed",
                "a.rs take store Release->Relaxed#2",
            ]
        );
        assert!(found[0].text.contains("fetch_or(bit(1), Ordering::Acquire)"));
        assert!(found[3].text.contains("    ();\n"));
        assert!(found[5].text.contains("store(0, Ordering::Relaxed)"));
        assert!(found.iter().all(|mutant| mutant.text != SAMPLE));
    }

    #[test]
    fn a_full_fence_keeps_its_halves() {
        let found = mutants("a.rs", "fn f() { fence(Ordering::SeqCst); x.load(Ordering::SeqCst); }").unwrap();
        assert_eq!(found[0].name, "a.rs f fence SeqCst->AcqRel");
        assert_eq!(found[1].name, "a.rs f load SeqCst->Acquire");
    }

    #[test]
    fn an_ordering_that_goes_elsewhere_is_refused() {
        assert!(mutants("a.rs", "const HOW: Ordering = Ordering::AcqRel;").is_err());
        assert!(mutants("a.rs", "fn f() { g(Ordering::AcqRel) }").is_err());
    }
}
