//! Answers: status lines, heads, and what validates or divides a file.

use crate::date;
use crate::range::{self, ByteRange, Selection};
use crate::request::{Method, Request};
use alloc::string::String;
use core::fmt::Write;

/// The text of a status code.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// A response head being written.
#[derive(Clone, Debug)]
pub struct Head(String);

impl Head {
    /// Status line, date and connection.
    #[must_use]
    pub fn new(status: u16, now: i64, keep_alive: bool) -> Self {
        let (reason, date) = (reason(status), date::format(now));
        let connection = if keep_alive { "keep-alive" } else { "close" };
        Self(alloc::format!(
            "HTTP/1.1 {status} {reason}\r\nServer: asyncos-httpd\r\nDate: {date}\r\nConnection: {connection}\r\n"
        ))
    }

    /// Adds a header. The value is the server's own, or encoded: it contains no line break.
    pub fn header(&mut self, name: &str, value: impl core::fmt::Display) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{name}: {value}\r\n");
        self
    }

    /// The finished head.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.0.push_str("\r\n");
        self.0
    }
}

/// Which version of a file there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Size in bytes.
    pub size: u64,
    /// Last change, seconds since 1970.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_nsec: u64,
}

impl Version {
    /// The entity tag.
    #[must_use]
    pub fn tag(self) -> String {
        alloc::format!("\"{:x}-{:x}-{:x}\"", self.size, self.mtime, self.mtime_nsec)
    }

    /// Whether the client has this version already: 304.
    #[must_use]
    pub fn not_modified(self, request: &Request) -> bool {
        if let Some(tags) = &request.if_none_match {
            let own = self.tag();
            return tags.split(',').map(str::trim).any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == own);
        }
        let since = request.if_modified_since.as_deref().and_then(date::parse);
        since.is_some_and(|since| self.mtime <= since)
    }

    /// Which bytes to send.
    #[must_use]
    pub fn selection(self, request: &Request) -> Selection {
        let valid = match request.if_range.as_deref() {
            None => true,
            Some(tag) if tag.starts_with('"') => tag == self.tag(),
            Some(date) => date::parse(date) == Some(self.mtime),
        };
        // Only GET has ranges (RFC 9110, section 14.2): what HEAD tells is what GET would without.
        let valid = valid && request.method == Method::Get;
        range::select(request.range.as_deref().filter(|_| valid), self.size)
    }
}

/// What separates the parts of an answer with several ranges; the random part keeps it from occurring in a file.
#[must_use]
pub fn boundary(random: u64) -> String {
    alloc::format!("part-{random:016x}")
}

/// What precedes a part.
#[must_use]
pub fn part_head(boundary: &str, kind: &str, range: ByteRange, size: u64) -> String {
    let ByteRange { first, last } = range;
    alloc::format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n")
}

/// What follows the last part.
#[must_use]
pub fn part_end(boundary: &str) -> String {
    alloc::format!("\r\n--{boundary}--\r\n")
}
