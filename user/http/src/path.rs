//! Request targets as paths: percent-decoding first, then `.` and `..`, so that no encoding of a dot or a slash gets past.

use alloc::string::String;
use alloc::vec::Vec;

/// Value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|d| d as u8)
}

/// Replaces `%xx`; `None` if one is malformed.
fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let (high, low) = (digit(*bytes.get(at + 1)?)?, digit(*bytes.get(at + 2)?)?);
            out.push(high * 16 + low);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    Some(out)
}

/// The path below the served directory that a target means, without leading slash: `""` is the directory itself. A slash
/// at the end stays. `None` for what is malformed, not UTF-8, contains NUL, or leaves the directory.
#[must_use]
pub fn resolve(target: &str) -> Option<String> {
    let path = target.split(['?', '#']).next()?;
    let decoded = String::from_utf8(decode(path.strip_prefix('/')?)?).ok()?;
    if decoded.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    let directory = decoded.ends_with('/') || decoded.ends_with("/.") || decoded.ends_with("/..");
    let mut out = parts.join("/");
    if directory && !out.is_empty() {
        out.push('/');
    }
    Some(out)
}

/// Encodes a file name for a link.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for &byte in name.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&alloc::format!("%{byte:02X}")),
        }
    }
    out
}
