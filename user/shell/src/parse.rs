//! The grammar:
//!
//! ```text
//!   list      = { and_or ( ";" | "&" | newline ) }
//!   and_or    = pipeline { ( "&&" | "||" ) pipeline }
//!   pipeline  = [ "!" ] command { "|" command }
//!   command   = { NAME=word } { word | redirect },  not empty
//!   redirect  = [ digit ] ( "<" | ">" | ">>" | ">&" ) word
//! ```

use crate::lex::{self, Error, Part, Redirection, Token, Word};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::iter::Peekable;

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Pipelines with the operator before each; the first has [`Condition::Always`].
    pub pipelines: Vec<(Condition, Pipeline)>,
    /// Whether the shell goes on without waiting.
    pub background: bool,
}

/// When a pipeline runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// First of its job.
    Always,
    /// After `&&`.
    Success,
    /// After `||`.
    Failure,
}

/// Commands connected by pipes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Whether `!` turns the status round.
    pub negated: bool,
    /// The commands, at least one.
    pub commands: Vec<Command>,
}

/// One command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Variables set for it, or for the shell if there are no words.
    pub assignments: Vec<(String, Word)>,
    /// Name and arguments.
    pub words: Vec<Word>,
    /// Redirections, in order.
    pub redirects: Vec<Redirect>,
}

/// A redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Descriptor that changes.
    pub fd: u32,
    /// How.
    pub operator: Redirection,
    /// File, or descriptor for [`Redirection::Duplicate`].
    pub target: Word,
}

/// Parses a text of one or more lines.
///
/// # Errors
/// [`Error::Incomplete`] when another line may complete it, [`Error::Unexpected`] otherwise.
pub fn parse(text: &str) -> Result<Vec<Job>, Error> {
    let mut parser = Parser { rest: lex::tokens(text)?.into_iter().peekable() };
    let mut jobs = Vec::new();
    loop {
        while parser.take(&Token::Semicolon) {}
        if parser.rest.peek().is_none() {
            return Ok(jobs);
        }
        let pipelines = parser.and_or()?;
        let background = match parser.rest.next() {
            None | Some(Token::Semicolon) => false,
            Some(Token::Background) => true,
            Some(token) => return Err(unexpected(&token)),
        };
        jobs.push(Job { pipelines, background });
    }
}

fn unexpected(token: &Token) -> Error {
    Error::Unexpected(match token {
        Token::Word(_) => "word",
        Token::Pipe => "|",
        Token::And => "&&",
        Token::Or => "||",
        Token::Semicolon => ";",
        Token::Background => "&",
        Token::Redirect { .. } => "redirection",
    })
}

struct Parser<I: Iterator<Item = Token>> {
    rest: Peekable<I>,
}

impl<I: Iterator<Item = Token>> Parser<I> {
    fn take(&mut self, token: &Token) -> bool {
        self.rest.next_if_eq(token).is_some()
    }

    fn and_or(&mut self) -> Result<Vec<(Condition, Pipeline)>, Error> {
        let mut pipelines = Vec::new();
        let mut condition = Condition::Always;
        loop {
            pipelines.push((condition, self.pipeline()?));
            condition = if self.take(&Token::And) {
                Condition::Success
            } else if self.take(&Token::Or) {
                Condition::Failure
            } else {
                return Ok(pipelines);
            };
            self.more()?;
        }
    }

    /// After an operator that needs something behind it: line ends are skipped, the end of the text is not the end.
    fn more(&mut self) -> Result<(), Error> {
        while self.take(&Token::Semicolon) {}
        if self.rest.peek().is_none() { Err(Error::Incomplete) } else { Ok(()) }
    }

    fn pipeline(&mut self) -> Result<Pipeline, Error> {
        let bang = Token::Word(alloc::vec![Part::Text { text: "!".to_string(), quoted: false }]);
        let negated = self.take(&bang);
        let mut commands = alloc::vec![self.command()?];
        while self.take(&Token::Pipe) {
            self.more()?;
            commands.push(self.command()?);
        }
        Ok(Pipeline { negated, commands })
    }

    fn command(&mut self) -> Result<Command, Error> {
        let mut command = Command::default();
        loop {
            match self.rest.peek() {
                Some(Token::Word(_)) => self.word(&mut command),
                Some(Token::Redirect { .. }) => self.redirect(&mut command)?,
                _ if command != Command::default() => return Ok(command),
                Some(token) => return Err(unexpected(token)),
                None => return Err(Error::Incomplete),
            }
        }
    }

    fn word(&mut self, command: &mut Command) {
        let Some(Token::Word(word)) = self.rest.next() else { return };
        match assignment(&word) {
            Some(assignment) if command.words.is_empty() => command.assignments.push(assignment),
            _ => command.words.push(word),
        }
    }

    fn redirect(&mut self, command: &mut Command) -> Result<(), Error> {
        let Some(Token::Redirect { fd, operator }) = self.rest.next() else { return Ok(()) };
        let target = match self.rest.next() {
            Some(Token::Word(word)) => word,
            Some(token) => return Err(unexpected(&token)),
            None => return Err(Error::Unexpected("end after redirection")),
        };
        let fd = fd.unwrap_or(u32::from(operator != Redirection::Input));
        command.redirects.push(Redirect { fd, operator, target });
        Ok(())
    }
}

/// Whether `name` can be a variable's.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `NAME=value`, with the name unquoted.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Part::Text { text, quoted: false }) = word.first() else { return None };
    let (name, value) = text.split_once('=')?;
    if !is_name(name) {
        return None;
    }
    let mut rest = Word::new();
    if !value.is_empty() {
        rest.push(Part::Text { text: value.to_string(), quoted: false });
    }
    rest.extend_from_slice(&word[1..]);
    Some((name.to_string(), rest))
}
