//! A lexer for Rust that knows just what the rules need: words, punctuation, literals and comments, each
//! with its line; and which lines are tests.
//!
//! It sees inside macros, where a parser would give up, and never fails: what it does not understand is
//! punctuation.

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Identifier or keyword.
    Word,
    /// One character of punctuation.
    Mark,
    /// String, character, byte string or number.
    Literal,
    /// Comment, documentation included.
    Comment,
}

/// One token.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// Line of its first character, from 1.
    pub line: usize,
}

impl Token<'_> {
    /// Whether this is the given word or mark.
    pub fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Mark) && self.text == text
    }
}

/// Splits a source file into tokens.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (kind, length) = token(rest, first);
        let (text, after) = rest.split_at(length);
        if let Some(kind) = kind {
            tokens.push(Token { kind, text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

fn token(rest: &str, first: char) -> (Option<Kind>, usize) {
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if rest.starts_with("//") {
        return (Some(Kind::Comment), rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Some(Kind::Comment), block_comment(rest));
    }
    if let Some(length) = string(rest) {
        return (Some(Kind::Literal), length);
    }
    if first == '\'' {
        return quote(rest);
    }
    if first.is_ascii_digit() {
        return (Some(Kind::Literal), word_length(rest));
    }
    if first.is_alphabetic() || first == '_' {
        return (Some(Kind::Word), word_length(rest));
    }
    (Some(Kind::Mark), first.len_utf8())
}

fn word_length(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (1, 2),
            [b'*', b'/', ..] => (-1, 2),
            _ => (0, 1),
        };
        depth += step.0;
        at += step.1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a string literal with any prefix (`b`, `c`, `r#`), if one starts here.
fn string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c| !matches!(c, 'b' | 'c' | 'r'))?;
    let raw = rest[..prefix].ends_with('r');
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let body = prefix + hashes;
    if prefix > 2 || !rest[body..].starts_with('"') || (hashes > 0 && !raw) {
        return None;
    }
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(rest[body + 1..].find(&end).map_or(rest.len(), |at| body + 1 + at + end.len()));
    }
    let mut escaped = false;
    let end = rest[body + 1..].bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    Some(end.map_or(rest.len(), |at| body + 1 + at + 1))
}

/// A character literal, or a lifetime.
fn quote(rest: &str) -> (Option<Kind>, usize) {
    let inner = rest[1..].chars().next().unwrap_or(' ');
    let after = 1 + inner.len_utf8();
    if inner == '\\' {
        let end = rest[3..].find('\'').map_or(rest.len(), |at| 3 + at + 1);
        return (Some(Kind::Literal), end);
    }
    if rest[after..].starts_with('\'') {
        return (Some(Kind::Literal), after + 1);
    }
    (Some(Kind::Mark), 1 + word_length(&rest[1..]))
}

/// Index of the mark that closes the bracket at `open`, or the last index.
pub fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_i32;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        if token.kind == Kind::Mark {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return index;
            }
        }
    }
    tokens.len().saturating_sub(1)
}

/// Lines (first, last) of items under `#[cfg(test)]` or `#[cfg(all(test, ...))]`, and of `#[test]` functions.
pub fn test_regions(tokens: &[Token<'_>]) -> Vec<(usize, usize)> {
    let mut regions: Vec<(usize, usize)> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if !token.is("#") || !tokens.get(index + 1).is_some_and(|next| next.is("[")) {
            continue;
        }
        let end = closing(tokens, index + 1);
        let attribute = &tokens[index + 2..end.max(index + 2)];
        let is_test = match attribute.first() {
            Some(word) if word.is("test") => true,
            Some(word) if word.is("cfg") => {
                attribute.iter().any(|token| token.is("test"))
                    && !attribute.iter().any(|token| token.is("not") || token.is("any"))
            }
            _ => false,
        };
        if is_test {
            let body = tokens.iter().enumerate().skip(end + 1).find(|(_, token)| token.is("{") || token.is(";"));
            let last = body.map_or(
                token.line,
                |(at, mark)| if mark.is("{") { tokens[closing(tokens, at)].line } else { mark.line },
            );
            regions.push((token.line, last));
        }
    }
    regions
}
