//! Completion: which part of a line is to be completed, and by how much the candidates agree.

use alloc::string::{String, ToString};

/// What is to be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The unfinished word.
    pub word: String,
    /// Whether it is in the place of a command's name.
    pub command: bool,
}

/// Finds the unfinished word at the end of `line` (the text before the cursor). Quotes are not looked into.
#[must_use]
pub fn target(line: &str) -> Target {
    let separator = |c: char| matches!(c, ' ' | '\t' | ';' | '|' | '&' | '<' | '>');
    let start = line.rfind(separator).map_or(0, |at| at + 1);
    let before = line[..start].trim_end();
    let command = before.is_empty() || before.ends_with([';', '|', '&']);
    Target { word: line[start..].to_string(), command }
}

/// The longest text that all candidates begin with.
#[must_use]
pub fn common_prefix<'a>(mut candidates: impl Iterator<Item = &'a str>) -> String {
    let Some(first) = candidates.next() else { return String::new() };
    let mut prefix = first;
    for candidate in candidates {
        let same = prefix.char_indices().zip(candidate.chars()).find(|((_, a), b)| a != b);
        let len = same.map_or(prefix.len().min(candidate.len()), |((at, _), _)| at);
        prefix = &prefix[..len];
    }
    prefix.to_string()
}
