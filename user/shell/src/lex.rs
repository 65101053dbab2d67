//! Tokens: words with their quoting kept, and operators.
//!
//! Quoting: `\x` takes one character literally, `'...'` everything, `"..."` everything but `$`, `\`, and `"`. `#` at the
//! start of a word begins a comment.

use alloc::string::String;
use alloc::vec::Vec;
use core::iter::Peekable;
use core::str::Chars;

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text; quoted text is never a pattern and never split.
    Text {
        /// The text.
        text: String,
        /// Whether it was quoted.
        quoted: bool,
    },
    /// A variable's value.
    Variable {
        /// Its name: a name, a digit, or one of `? $ ! # @ *`.
        name: String,
        /// Whether it stood in double quotes.
        quoted: bool,
    },
}

/// A word before expansion.
pub type Word = Vec<Part>;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word.
    Word(Word),
    /// `|`
    Pipe,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `;` or a line's end
    Semicolon,
    /// `&`
    Background,
    /// `<`, `>`, `>>`, `>&` with the descriptor before it
    Redirect {
        /// Descriptor, if one was written.
        fd: Option<u32>,
        /// Which operator.
        operator: Redirection,
    },
}

/// A redirection operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirection {
    /// `<`
    Input,
    /// `>`
    Output,
    /// `>>`
    Append,
    /// `>&`
    Duplicate,
}

/// Why a text is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It may become one with more lines.
    Incomplete,
    /// It never will; what was found and not expected.
    Unexpected(&'static str),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Incomplete => f.write_str("unexpected end of input"),
            Self::Unexpected(what) => write!(f, "unexpected {what}"),
        }
    }
}

/// Takes a text apart.
///
/// # Errors
/// [`Error::Incomplete`] inside quotes or after a backslash; [`Error::Unexpected`] for a malformed `${`.
pub fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { rest: text.chars().peekable(), tokens: Vec::new() };
    while let Some(&c) = lexer.rest.peek() {
        lexer.token(c)?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn token(&mut self, first: char) -> Result<(), Error> {
        match first {
            ' ' | '\t' | '\r' => {
                self.rest.next();
            }
            '#' => while self.rest.next_if(|&c| c != '\n').is_some() {},
            '\n' | ';' => self.operator(Token::Semicolon),
            '|' => self.doubled('|', Token::Pipe, Token::Or),
            '&' => self.doubled('&', Token::Background, Token::And),
            '<' | '>' => self.redirect(None),
            _ => {
                let word = self.word()?;
                match digits(&word) {
                    Some(fd) if matches!(self.rest.peek(), Some('<' | '>')) => self.redirect(Some(fd)),
                    _ => self.tokens.push(Token::Word(word)),
                }
            }
        }
        Ok(())
    }

    fn operator(&mut self, token: Token) {
        self.rest.next();
        self.tokens.push(token);
    }

    fn doubled(&mut self, c: char, single: Token, double: Token) {
        self.rest.next();
        let token = if self.rest.next_if_eq(&c).is_some() { double } else { single };
        self.tokens.push(token);
    }

    fn redirect(&mut self, fd: Option<u32>) {
        let operator = match self.rest.next() {
            Some('<') => Redirection::Input,
            _ if self.rest.next_if_eq(&'>').is_some() => Redirection::Append,
            _ if self.rest.next_if_eq(&'&').is_some() => Redirection::Duplicate,
            _ => Redirection::Output,
        };
        self.tokens.push(Token::Redirect { fd, operator });
    }

    fn word(&mut self) -> Result<Word, Error> {
        let mut word = Word::new();
        while let Some(&c) = self.rest.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '|' | '&' | '<' | '>' => break,
                '\'' => self.single(&mut word)?,
                '"' => self.double(&mut word)?,
                '$' => self.variable(&mut word, false)?,
                '\\' => {
                    self.rest.next();
                    match self.rest.next() {
                        None => return Err(Error::Incomplete),
                        Some('\n') => {}
                        Some(c) => push(&mut word, c, true),
                    }
                }
                _ => {
                    self.rest.next();
                    push(&mut word, c, false);
                }
            }
        }
        Ok(word)
    }

    fn single(&mut self, word: &mut Word) -> Result<(), Error> {
        self.rest.next();
        open_quote(word);
        loop {
            match self.rest.next().ok_or(Error::Incomplete)? {
                '\'' => return Ok(()),
                c => push(word, c, true),
            }
        }
    }

    fn double(&mut self, word: &mut Word) -> Result<(), Error> {
        self.rest.next();
        open_quote(word);
        loop {
            match *self.rest.peek().ok_or(Error::Incomplete)? {
                '"' => {
                    self.rest.next();
                    return Ok(());
                }
                '$' => self.variable(word, true)?,
                '\\' => {
                    self.rest.next();
                    match self.rest.next().ok_or(Error::Incomplete)? {
                        '\n' => {}
                        c @ ('"' | '\\' | '$' | '`') => push(word, c, true),
                        c => {
                            push(word, '\\', true);
                            push(word, c, true);
                        }
                    }
                }
                c => {
                    self.rest.next();
                    push(word, c, true);
                }
            }
        }
    }

    fn variable(&mut self, word: &mut Word, quoted: bool) -> Result<(), Error> {
        self.rest.next();
        let braces = self.rest.next_if_eq(&'{').is_some();
        let mut name = String::new();
        if let Some(c) = self.rest.next_if(|c| matches!(c, '?' | '$' | '!' | '#' | '@' | '*' | '0'..='9')) {
            name.push(c);
        } else {
            while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                name.push(c);
            }
        }
        if braces {
            match self.rest.next() {
                Some('}') if !name.is_empty() => {}
                None => return Err(Error::Incomplete),
                Some(_) => return Err(Error::Unexpected("character in ${}")),
            }
        }
        if name.is_empty() {
            push(word, '$', true);
        } else {
            word.push(Part::Variable { name, quoted });
        }
        Ok(())
    }
}

/// Makes sure that a quoted part comes last, even if nothing is in it.
fn open_quote(word: &mut Word) {
    if !matches!(word.last(), Some(Part::Text { quoted: true, .. } | Part::Variable { quoted: true, .. })) {
        word.push(Part::Text { text: String::new(), quoted: true });
    }
}

/// Adds a character to the last part if it is quoted alike.
fn push(word: &mut Word, c: char, quoted: bool) {
    match word.last_mut() {
        Some(Part::Text { text, quoted: q }) if *q == quoted => text.push(c),
        _ => word.push(Part::Text { text: String::from(c), quoted }),
    }
}

/// The number that a word consists of.
fn digits(word: &Word) -> Option<u32> {
    match word.as_slice() {
        [Part::Text { text, quoted: false }] if text.len() < 4 && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().ok()
        }
        _ => None,
    }
}
