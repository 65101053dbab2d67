//! Rules about `unsafe`: where it may be, and that each use names the fact it relies on.

use super::lexer::{Kind, Token};
use super::{File, Finding, fail};

/// Checks the attribute of a crate root.
pub fn check_root(file: &File<'_>, may_be_unsafe: bool, findings: &mut Vec<Finding>) {
    let forbids = file.source.contains("#![forbid(unsafe_code)]");
    let opts_in =
        ["#![expect(unsafe_code", "#![allow(unsafe_code"].iter().find_map(|attribute| file.source.find(attribute));
    match (may_be_unsafe, forbids, opts_in) {
        (false, false, _) => fail(findings, file.path, 1, "this crate must say `#![forbid(unsafe_code)]`"),
        (true, false, Some(at)) => {
            let attribute = file.source[at..].split(']').next().unwrap_or_default();
            if !attribute.contains("reason") {
                fail(findings, file.path, 1, "the attribute that opts in to `unsafe` must give its reason");
            }
        }
        _ => {}
    }
}

/// Checks every use of `unsafe` in a file.
pub fn check(file: &File<'_>, findings: &mut Vec<Finding>) {
    for used in uses(file).filter(|used| !used.justified) {
        let what = if used.needs == Justification::Contract {
            "`unsafe fn` or trait without a `# Safety` section"
        } else {
            "`unsafe` without a `// SAFETY:` comment"
        };
        fail(findings, file.path, used.line, what);
    }
}

/// How many uses of `unsafe` in a file are justified, and how many need to be.
pub fn count(file: &File<'_>) -> (usize, usize) {
    uses(file).fold((0, 0), |(justified, all), used| (justified + usize::from(used.justified), all + 1))
}

/// A use of `unsafe` that needs a justification.
struct Use {
    line: usize,
    needs: Justification,
    justified: bool,
}

fn uses<'a>(file: &'a File<'_>) -> impl Iterator<Item = Use> + 'a {
    file.tokens.iter().enumerate().filter(|(_, token)| token.is("unsafe")).filter_map(|(index, token)| {
        let (before, after) = (&file.tokens[..index], &file.tokens[index + 1..]);
        let following: Vec<&Token<'_>> = after.iter().filter(|next| next.kind != Kind::Comment).take(5).collect();
        let needs = needed(&following);
        let wanted = match needs {
            Justification::None => return None,
            Justification::Contract if in_trait_impl(before) => return None,
            Justification::Contract => "# Safety",
            Justification::Reason => "SAFETY:",
        };
        Some(Use { line: token.line, needs, justified: justified(before, wanted) })
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Justification {
    None,
    /// A use of unsafe: say why it is sound.
    Reason,
    /// A declaration: say what the user must do.
    Contract,
}

fn needed(following: &[&Token<'_>]) -> Justification {
    let Some(next) = following.first() else { return Justification::None };
    let declares = next.is("extern") && following.iter().take(3).any(|token| token.is("{"));
    if next.is("(") || declares {
        // The attribute form, `#[unsafe(naked)]`; a block of foreign declarations, justified where they are used.
        return Justification::None;
    }
    if next.is("{") || next.is("impl") {
        return Justification::Reason;
    }
    let function = following.iter().position(|token| token.is("fn"));
    match function {
        // `unsafe extern "C" fn(usize)` is a type.
        Some(at) if following.get(at + 1).is_some_and(|token| token.is("(")) => Justification::None,
        Some(_) => Justification::Contract,
        None if next.is("trait") => Justification::Contract,
        None => Justification::Reason,
    }
}

/// Whether a comment with `wanted` stands before the last token, within the same statement or item.
fn justified(before: &[Token<'_>], wanted: &str) -> bool {
    let mut index = before.len();
    while let Some(at) = index.checked_sub(1) {
        index = at;
        let token = &before[at];
        if token.kind == Kind::Comment {
            if token.text.contains(wanted) || token.text.contains("# Safety") {
                return true;
            }
        } else if token.is("}")
            && before.get(at + 1).is_some_and(|next| [".", "?", ")", ","].iter().any(|mark| next.is(mark)))
        {
            // A block inside an expression that goes on.
            index = opening(before, at);
        } else if [";", "{", "}"].iter().any(|mark| token.is(mark)) {
            return false;
        }
    }
    false
}

/// Index of the brace that opens the block which ends at `close`.
fn opening(tokens: &[Token<'_>], close: usize) -> usize {
    let mut depth = 0_i32;
    for (index, token) in tokens[..=close].iter().enumerate().rev() {
        depth += i32::from(token.is("}")) - i32::from(token.is("{"));
        if depth == 0 {
            return index;
        }
    }
    0
}

/// Whether the innermost open `impl` is that of a trait, whose contract is written at the trait.
fn in_trait_impl(before: &[Token<'_>]) -> bool {
    let mut depth = 0_i32;
    for (index, token) in before.iter().enumerate().rev() {
        match (token.kind, token.text) {
            (Kind::Mark, "}") => depth += 1,
            (Kind::Mark, "{") if depth > 0 => depth -= 1,
            (Kind::Mark, "{") => {
                let header =
                    before[..index].iter().rev().take_while(|token| !(token.is(";") || token.is("{") || token.is("}")));
                let words: Vec<&str> =
                    header.filter(|token| token.kind == Kind::Word).map(|token| token.text).collect();
                return words.contains(&"impl") && words.contains(&"for");
            }
            _ => {}
        }
    }
    false
}
