//! From a word to the fields it stands for: `~`, variables, splitting of unquoted values at blanks, then patterns.

use crate::glob::{self, Directories, Pattern};
use crate::lex::{Part, Word};
use alloc::string::String;
use alloc::vec::Vec;

/// Where values come from.
pub trait Variables {
    /// The value of `name`; `None` if it is not set.
    fn value(&self, name: &str) -> Option<String>;
}

/// Fields under construction: an unquoted blank value ends one without beginning the next.
#[derive(Default)]
struct Fields {
    done: Vec<Pattern>,
    current: Option<Pattern>,
}

impl Fields {
    fn text(&mut self, text: &str, quoted: bool) {
        let current = self.current.get_or_insert_default();
        text.chars().for_each(|c| current.push(c, !quoted));
    }

    fn end(&mut self) {
        self.done.extend(self.current.take());
    }

    fn split(&mut self, value: &str) {
        for (i, piece) in value.split([' ', '\t', '\n']).enumerate() {
            if i > 0 {
                self.end();
            }
            if !piece.is_empty() {
                self.text(piece, false);
            }
        }
    }
}

/// The patterns a word stands for, before files are looked for.
fn patterns(word: &Word, variables: &impl Variables) -> Vec<Pattern> {
    let mut fields = Fields::default();
    for (i, part) in word.iter().enumerate() {
        match part {
            Part::Text { text, quoted } => {
                let home = (i == 0 && !quoted).then(|| tilde(text, variables)).flatten();
                match home {
                    Some((home, rest)) => {
                        fields.text(&home, true);
                        fields.text(rest, false);
                    }
                    None => fields.text(text, *quoted),
                }
            }
            Part::Variable { name, quoted } => {
                let value = variables.value(name).unwrap_or_default();
                if *quoted { fields.text(&value, true) } else { fields.split(&value) }
            }
        }
    }
    fields.end();
    fields.done
}

fn tilde<'a>(text: &'a str, variables: &impl Variables) -> Option<(String, &'a str)> {
    let rest = text.strip_prefix('~')?;
    (rest.is_empty() || rest.starts_with('/')).then_some(())?;
    Some((variables.value("HOME")?, rest))
}

/// The fields of a word: each pattern is replaced by the files it matches, or kept as it is if there are none.
pub fn fields(word: &Word, variables: &impl Variables, files: &impl Directories) -> Vec<String> {
    let mut out = Vec::new();
    for pattern in patterns(word, variables) {
        let found = if pattern.is_literal() { Vec::new() } else { glob::expand(&pattern, files) };
        if found.is_empty() {
            out.push(pattern.literal());
        } else {
            out.extend(found);
        }
    }
    out
}

/// The one text of a word, for assignments and redirections: nothing is split, no files are looked for.
pub fn text(word: &Word, variables: &impl Variables) -> String {
    patterns(word, variables).iter().map(Pattern::literal).collect::<Vec<_>>().join(" ")
}
