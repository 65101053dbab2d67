//! Requests: from received bytes to what is asked for.
//!
//! A server keeps what it received in a buffer of at most [`MAX_HEAD`] bytes and calls [`parse`] after each read:
//! `Ok(None)` asks for more, `Ok(Some)` says how much of the buffer the request took (the rest is the next request),
//! `Err` is answered with that status, and the connection closed.

use alloc::string::{String, ToString};

/// Longest head in bytes, request line and headers with the empty line.
pub const MAX_HEAD: usize = 8192;
/// Most headers.
const MAX_HEADERS: usize = 64;

/// Methods that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Head and body.
    Get,
    /// Head alone.
    Head,
}

/// A request for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Target as sent, in origin form.
    pub target: String,
    /// Whether the connection stays open for another request.
    pub keep_alive: bool,
    /// A header line has said that it does not, whatever others say (RFC 9112, 9.3).
    close: bool,
    /// `Range`.
    pub range: Option<String>,
    /// `If-Range`.
    pub if_range: Option<String>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
}

/// The status that a bad request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// 400: malformed.
    Malformed,
    /// 405: a method that is not served.
    Method,
    /// 413: has a body, which no served method needs.
    Body,
    /// 414: the request line alone is too long.
    Target,
    /// 431: head too large, or too many headers.
    Head,
    /// 505: not HTTP/1.
    Version,
}

impl Bad {
    /// The status code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Method => 405,
            Self::Body => 413,
            Self::Target => 414,
            Self::Head => 431,
            Self::Version => 505,
        }
    }
}

fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || special.contains(&b))
}

/// Where the head ends (behind the empty line), if it has arrived. Empty lines before it count with it.
fn end_of_head(buf: &[u8]) -> Option<(usize, usize)> {
    let start = buf.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let end = buf[start..].windows(4).position(|w| w == b"\r\n\r\n")?;
    Some((start, start + end + 4))
}

/// Looks for a request at the start of `buf`; returns it and how many bytes it took.
///
/// # Errors
/// [`Bad`] for what can never become a request.
pub fn parse(buf: &[u8]) -> Result<Option<(Request, usize)>, Bad> {
    let Some((start, end)) = end_of_head(buf) else {
        return if buf.len() < MAX_HEAD { Ok(None) } else { Err(too_long(buf)) };
    };
    if end > MAX_HEAD {
        return Err(too_long(&buf[..end]));
    }
    let head = core::str::from_utf8(&buf[start..end - 4]).map_err(|_| Bad::Malformed)?;
    let (line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let (mut request, minor) = request_line(line)?;
    header_lines(&mut request, minor, headers)?;
    Ok(Some((request, end)))
}

fn too_long(buf: &[u8]) -> Bad {
    if buf.windows(2).any(|w| w == b"\r\n") { Bad::Head } else { Bad::Target }
}

fn request_line(line: &str) -> Result<(Request, u8), Bad> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Bad::Malformed);
    };
    let minor = match version.as_bytes() {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9'] => minor - b'0',
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(Bad::Version),
        _ => return Err(Bad::Malformed),
    };
    if !is_token(method) || target.is_empty() || target.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(Bad::Malformed);
    }
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return Err(Bad::Method),
    };
    let request = Request {
        method,
        target: origin_form(target).ok_or(Bad::Malformed)?.to_string(),
        keep_alive: minor >= 1,
        close: false,
        range: None,
        if_range: None,
        if_modified_since: None,
        if_none_match: None,
    };
    Ok((request, minor))
}

/// The path and query of a target that is a path or, as proxies send it, a whole address.
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let rest = target.strip_prefix("http://")?;
    Some(rest.find('/').map_or("/", |at| &rest[at..]))
}

fn header_lines(request: &mut Request, minor: u8, headers: &str) -> Result<(), Bad> {
    let mut hosts = 0;
    for (count, line) in headers.split("\r\n").filter(|_| !headers.is_empty()).enumerate() {
        if count >= MAX_HEADERS {
            return Err(Bad::Head);
        }
        let (name, value) = line.split_once(':').ok_or(Bad::Malformed)?;
        if !is_token(name) || value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
            return Err(Bad::Malformed);
        }
        hosts += usize::from(name.eq_ignore_ascii_case("host"));
        header(request, name, value.trim_matches([' ', '\t']))?;
    }
    if hosts > 1 || (hosts == 0 && minor >= 1) {
        return Err(Bad::Malformed);
    }
    Ok(())
}

fn header(request: &mut Request, name: &str, value: &str) -> Result<(), Bad> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let says = |word: &str| value.split(',').any(|w| w.trim().eq_ignore_ascii_case(word));
    if is("connection") {
        request.close |= says("close");
        request.keep_alive = !request.close && (request.keep_alive || says("keep-alive"));
    } else if is("content-length") {
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Bad::Malformed);
        }
        if value.bytes().any(|b| b != b'0') {
            return Err(Bad::Body);
        }
    } else if is("transfer-encoding") {
        return Err(Bad::Body);
    } else if is("range") {
        request.range = Some(value.to_string());
    } else if is("if-range") {
        request.if_range = Some(value.to_string());
    } else if is("if-modified-since") {
        request.if_modified_since = Some(value.to_string());
    } else if is("if-none-match") {
        request.if_none_match = Some(value.to_string());
    }
    Ok(())
}
