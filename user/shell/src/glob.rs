//! Patterns of file names: `*` any characters, `?` any one; neither matches a slash, nor a dot at the start of a name.

use alloc::string::String;
use alloc::vec::Vec;

/// A pattern: characters, each of which may be special.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(Vec<(char, bool)>);

impl Pattern {
    /// A pattern in which `*` and `?` are special throughout.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.chars().map(|c| (c, true)).collect())
    }

    /// Adds a character; `special` if it was not quoted.
    pub fn push(&mut self, c: char, special: bool) {
        self.0.push((c, special));
    }

    /// Whether it matches itself only.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        !self.0.iter().any(|&(c, special)| special && matches!(c, '*' | '?'))
    }

    /// Its characters.
    #[must_use]
    pub fn literal(&self) -> String {
        self.0.iter().map(|&(c, _)| c).collect()
    }

    /// Whether the name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.0, name)
    }
}

/// Greedy matching that returns to the last star only: time is at most the product of the lengths.
fn matches(pattern: &[(char, bool)], name: &str) -> bool {
    if name.starts_with('.') && pattern.first().is_none_or(|&(c, _)| c != '.') {
        return false;
    }
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(('*', true)) => {
                star = Some((p, n));
                p += 1;
            }
            Some(&(c, special)) if c == name[n] || (special && c == '?') => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == ('*', true))
}

/// Where names come from.
pub trait Directories {
    /// The names in a directory (`""` is the working directory), in any order; nothing if it cannot be read.
    fn names(&self, directory: &str) -> Vec<String>;
    /// Whether a path exists.
    fn exists(&self, path: &str) -> bool;
}

/// The paths that match, sorted.
pub fn expand(pattern: &Pattern, files: &impl Directories) -> Vec<String> {
    let mut paths = alloc::vec![String::new()];
    let parts: Vec<&[(char, bool)]> = pattern.0.split(|&(c, _)| c == '/').collect();
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        let mut next = Vec::new();
        for base in &paths {
            step(base, part, files, &mut next);
        }
        if !last {
            next.iter_mut().for_each(|p| p.push('/'));
        }
        paths = next;
    }
    paths.sort();
    paths
}

/// Extends `base`, which is empty or ends with a slash, by one component.
fn step(base: &str, part: &[(char, bool)], files: &impl Directories, out: &mut Vec<String>) {
    let pattern = Pattern(part.to_vec());
    if pattern.is_literal() {
        let path = alloc::format!("{base}{}", pattern.literal());
        if part.is_empty() || files.exists(&path) {
            out.push(path);
        }
        return;
    }
    let names = files.names(base);
    out.extend(names.iter().filter(|n| pattern.matches(n)).map(|n| alloc::format!("{base}{n}")));
}
