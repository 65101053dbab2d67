//! `tests/model/word.table`: the task word as a table, and as Promela.

use anyhow::{Context, Result, bail};
use std::fmt::Write;

/// The letters of the bits, in the order of the real word.
const BITS: &str = "SRCXNFIW";
/// What the models count references in.
const MOST_REFS: u8 = 255;

/// The bit with this letter.
pub const fn bit(letter: char) -> u8 {
    let (bits, mut at) = (BITS.as_bytes(), 0);
    while at < bits.len() && bits[at] as char != letter {
        at += 1;
    }
    1 << at
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The operation it belongs to.
    pub operation: String,
    /// Bits that must be set, and bits that must not.
    pub needs: u8,
    /// See `needs`.
    pub lacks: u8,
    /// The fewest and the most references.
    refs: (u8, u8),
    /// Bits that it sets, and that it clears.
    pub sets: u8,
    /// See `sets`.
    pub clears: u8,
    /// What it adds to the references.
    adds: i8,
    /// What the caller is told.
    pub answer: String,
    /// Only in this mutant.
    mutant: Option<String>,
}

impl Row {
    /// Whether it applies to these bits, with some number of references.
    pub fn may_apply(&self, bits: u8) -> bool {
        bits & self.needs == self.needs && bits & self.lacks == 0
    }

    /// Whether it applies whatever the references are.
    fn asks_no_refs(&self) -> bool {
        self.refs == (0, MOST_REFS)
    }

    /// The bits afterwards.
    pub fn applied(&self, bits: u8) -> u8 {
        bits & !self.clears | self.sets
    }
}

/// The table.
#[derive(Debug)]
pub struct WordTable {
    rows: Vec<Row>,
}

impl WordTable {
    /// Reads the text of the file.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let rows = lines.map(|(number, line)| row(line).with_context(|| format!("line {}: {line}", number + 1)));
        Ok(Self { rows: rows.collect::<Result<_>>()? })
    }

    /// The mutants that it has lines for.
    pub fn mutants(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| row.mutant.as_deref())
    }

    /// What an operation can do to a task with these bits, the references being unknown.
    pub fn possible(&self, operation: &str, bits: u8) -> Vec<&Row> {
        let rows = self.rows.iter().filter(|row| row.mutant.is_none() && row.operation == operation);
        let mut possible = Vec::new();
        for row in rows.filter(|row| row.may_apply(bits)) {
            possible.push(row);
            if row.asks_no_refs() {
                break;
            }
        }
        possible
    }

    /// The operations as macros of Promela on `bits[t]` and `refs[t]`, each one atomic step.
    pub fn promela(&self) -> String {
        let mut text = String::from("/* Made from word.table; not to be edited. */\n");
        for (at, letter) in BITS.chars().enumerate() {
            let _ = writeln!(text, "#define {letter} {}", 1 << at);
        }
        let mut answers: Vec<&str> = self.rows.iter().map(|row| row.answer.as_str()).collect();
        answers.sort_unstable();
        answers.dedup();
        for (at, answer) in answers.iter().enumerate() {
            let _ = writeln!(text, "#define {} {}", answer.to_uppercase(), at + 1);
        }
        text.push_str("byte bits[TASKS];\nbyte refs[TASKS];\nbool freed[TASKS];\n");
        let mut operations: Vec<&str> = self.rows.iter().map(|row| row.operation.as_str()).collect();
        operations.dedup();
        for operation in operations {
            self.write_operation(operation, &mut text);
        }
        text
    }

    fn write_operation(&self, operation: &str, text: &mut String) {
        let _ = writeln!(
            text,
            "inline word_{operation}(t, answer) {{\n  d_step {{\n    assert(!freed[t]);\n    answer = 0;"
        );
        for row in self.rows.iter().filter(|row| row.operation == operation) {
            if let Some(mutant) = &row.mutant {
                let _ = writeln!(text, "#ifdef {mutant}");
            }
            let (fewest, most) = row.refs;
            let _ = writeln!(
                text,
                "    if\n    :: answer == 0 && (bits[t] & {}) == {} && refs[t] >= {fewest} && refs[t] <= {most} -> \
                 bits[t] = (bits[t] & {}) | {}; refs[t] = refs[t] + {}; answer = {}\n    :: else\n    fi;",
                row.needs | row.lacks,
                row.needs,
                !row.clears,
                row.sets,
                row.adds,
                row.answer.to_uppercase()
            );
            if row.mutant.is_some() {
                text.push_str("#endif\n");
            }
        }
        text.push_str("    assert(answer != 0)\n  }\n}\n");
    }
}

fn row(line: &str) -> Result<Row> {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [operation, when, then, answer, mutant] = columns[..] else { bail!("five columns are expected") };
    if operation.is_empty() || answer.is_empty() {
        bail!("an operation and an answer are expected");
    }
    let mut row = Row {
        operation: operation.into(),
        needs: 0,
        lacks: 0,
        refs: (0, MOST_REFS),
        sets: 0,
        clears: 0,
        adds: 0,
        answer: answer.into(),
        mutant: (!mutant.is_empty()).then(|| mutant.into()),
    };
    for word in when.split_whitespace() {
        match (signed(word), word.strip_prefix("refs=").map(str::parse), word.strip_prefix("refs>=").map(str::parse)) {
            (Some(('+', bit)), ..) => row.needs |= bit,
            (Some((_, bit)), ..) => row.lacks |= bit,
            (_, Some(Ok(count)), _) => row.refs = (count, count),
            (_, _, Some(Ok(count))) => row.refs = (count, MOST_REFS),
            _ => bail!("`{word}` is no condition"),
        }
    }
    for word in then.split_whitespace() {
        match (signed(word), word.strip_prefix("refs").map(str::parse)) {
            (Some(('+', bit)), _) => row.sets |= bit,
            (Some((_, bit)), _) => row.clears |= bit,
            (_, Some(Ok(adds))) => row.adds = adds,
            _ => bail!("`{word}` is no change"),
        }
    }
    Ok(row)
}

/// A sign and a bit.
fn signed(word: &str) -> Option<(char, u8)> {
    let mut letters = word.chars();
    let (sign, letter) = (letters.next()?, letters.next()?);
    let known = ['+', '-'].contains(&sign) && BITS.contains(letter) && letters.next().is_none();
    known.then(|| (sign, bit(letter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let table = WordTable::parse(
            "# no\n\npause | +S -X | -R | requeue |\npause | refs=0 | | orphan | ODD\npause || refs-1 | idle |\n",
        );
        let table = table.unwrap();
        assert_eq!(table.rows.len(), 3);
        assert_eq!((table.rows[0].needs, table.rows[0].lacks), (bit('S'), bit('X')));
        assert_eq!((table.rows[0].clears, table.rows[0].sets), (bit('R'), 0));
        assert_eq!(table.mutants().collect::<Vec<_>>(), ["ODD"]);
        assert_eq!((table.rows[2].adds, table.rows[2].refs), (-1, (0, MOST_REFS)));
        for bad in ["a | | | x", "a | +Q | | x |", "a | | refs* | x |", "a | refs=q | | x |", " | | | x |"] {
            assert!(WordTable::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_row_that_surely_applies_is_the_last_possible_one() {
        let text = "d | refs>=2 | refs-1 | nothing |\nd | +C | | free |\nd | | | enqueue |\n";
        let table = WordTable::parse(text).unwrap();
        let answers = |bits| table.possible("d", bits).iter().map(|row| row.answer.clone()).collect::<Vec<_>>();
        assert_eq!(answers(bit('C')), ["nothing", "free"]);
        assert_eq!(answers(0), ["nothing", "enqueue"]);
    }
}
