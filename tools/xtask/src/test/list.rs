//! `test --list`: the index of guest cases with the requirements that they show, read from their source.

use crate::matrix::Matrix;
use crate::project::Project;
use crate::tidy::lexer::{self, Kind, Token};
use anyhow::Result;
use std::path::Path;

/// A case as declared in source: `case!("name", "P3,D1", function)`.
#[derive(Debug, PartialEq, Eq)]
struct Case {
    name: String,
    requirements: Vec<String>,
}

/// Prints the index, and the requirements that no case shows.
pub fn print(project: &Project) -> Result<u8> {
    let mut cases = Vec::new();
    collect(&project.root.join("user/suite/src"), &mut cases);
    for case in &cases {
        println!("{:<48} {}", case.name, case.requirements.join(" "));
    }
    let shown = |number: &String| cases.iter().any(|case| case.requirements.contains(number));
    let missing: Vec<String> =
        Matrix::load(project)?.requirements()?.into_iter().filter(|number| !shown(number)).collect();
    println!("\n{} cases; requirements without a case: {}", cases.len(), missing.join(" "));
    Ok(0)
}

fn collect(folder: &Path, cases: &mut Vec<Case>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, cases);
        } else if let Ok(source) = std::fs::read_to_string(&path) {
            cases.extend(declared(&source));
        }
    }
}

fn declared(source: &str) -> Vec<Case> {
    let tokens: Vec<Token<'_>> =
        lexer::tokens(source).into_iter().filter(|token| token.kind != Kind::Comment).collect();
    let declaration = |window: &[Token<'_>]| {
        let opens = window[0].is("case") && window[1].is("!") && (window[2].is("(") || window[2].is("{"));
        let texts = window[3].kind == Kind::Literal && window[4].is(",") && window[5].kind == Kind::Literal;
        (opens && texts).then(|| Case {
            name: window[3].text.trim_matches('"').to_owned(),
            requirements: window[5]
                .text
                .trim_matches('"')
                .split([',', ' '])
                .filter(|id| !id.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    };
    tokens.windows(6).filter_map(declaration).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_found_in_source() {
        let cases = declared(
            "// case!(\"no\", \"P1\", f)\ncase!(\"fork\", \"P1, D15\", fork);\ncase!(\n    \"pipe\",\n    \"D3\",\n    pipe\n);",
        );
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0], Case { name: "fork".into(), requirements: vec!["P1".into(), "D15".into()] });
    }
}
