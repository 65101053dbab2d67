//! Tests of the whole crate: examples from the RFCs, and properties over hostile input.

use crate::range::{ByteRange, Selection, select};
use crate::request::{Bad, MAX_HEAD, Method, parse};
use crate::response::Version;
use crate::{date, listing, mime, path};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

fn get(text: &str) -> Result<Option<(crate::request::Request, usize)>, Bad> {
    parse(text.as_bytes())
}

#[test]
fn a_simple_request() {
    let text = "GET /a%20b?q HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\nConnection: close\r\n\r\nGET";
    let (request, used) = get(text).unwrap().unwrap();
    assert_eq!(used, text.len() - 3);
    assert_eq!((request.method, request.keep_alive), (Method::Get, false));
    assert_eq!(request.range.as_deref(), Some("bytes=0-1"));
    assert_eq!(path::resolve(&request.target).as_deref(), Some("a b"));
}

#[test]
fn bad_requests_have_their_status() {
    let h = "Host: x\r\n";
    for (text, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_string(), 400),
        (format!("GET / HTTP/1.1\r\n{h}{h}\r\n"), 400),
        (format!("GET /\r\n{h}\r\n"), 400),
        (format!("GET  / HTTP/1.1\r\n{h}\r\n"), 400),
        (format!("GET / HTTP/2.0\r\n{h}\r\n"), 505),
        (format!("POST / HTTP/1.1\r\n{h}\r\n"), 405),
        (format!("G(T / HTTP/1.1\r\n{h}\r\n"), 400),
        (format!("GET x HTTP/1.1\r\n{h}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{h}Bad Name: x\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{h}no colon\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{h}Content-Length: 5\r\n\r\n"), 413),
        (format!("GET / HTTP/1.1\r\n{h}Content-Length: -5\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n"), 413),
        (format!("GET / HTTP/1.1\r\n{h}{}\r\n", "A: b\r\n".repeat(70)), 431),
        (format!("GET / HTTP/1.1\r\n{h}A: {}\r\n\r\n", "x".repeat(MAX_HEAD)), 431),
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(MAX_HEAD)), 431),
        (format!("GET /{}", "x".repeat(MAX_HEAD)), 414),
    ] {
        assert_eq!(get(&text).map_err(Bad::status), Err(status), "{text:.60}");
    }
    assert_eq!(get("GET / HTTP/1.1\r\nHost"), Ok(None));
    // Whoever says that it closes is not overruled.
    for (lines, expected) in [
        ("Connection: close\r\nConnection: keep-alive\r\n", false),
        ("Connection: keep-alive\r\nConnection: close\r\n", false),
        ("Connection: keep-alive, close\r\n", false),
        ("Connection: keep-alive\r\n", true),
    ] {
        let request = get(&format!("GET / HTTP/1.0\r\n{lines}\r\n")).unwrap().unwrap().0;
        assert_eq!(request.keep_alive, expected, "{lines}");
    }
    assert!(get("GET / HTTP/1.0\r\n\r\n").unwrap().is_some_and(|(r, _)| !r.keep_alive));
    assert!(get("GET http://x/y HTTP/1.1\r\nHost: x\r\n\r\n").unwrap().is_some_and(|(r, _)| r.target == "/y"));
}

#[test]
fn paths_stay_below() {
    for (target, expected) in [
        ("/", Some("")),
        ("/a/./b//c", Some("a/b/c")),
        ("/a/../b/", Some("b/")),
        ("/a/..", Some("")),
        ("/..", None),
        ("/a/../../etc", None),
        ("/%2e%2e/etc", None),
        ("/..%2fetc", None),
        ("/a%2f..%2f..%2fetc", None),
        ("/%00", None),
        ("/%zz", None),
        ("/%4", None),
        ("/%ff", None),
        ("/%E4%B8%AD.txt", Some("中.txt")),
        ("x", None),
    ] {
        assert_eq!(path::resolve(target).as_deref(), expected, "{target}");
    }
}

#[test]
fn ranges_follow_the_rfc() {
    let r = |first, last| ByteRange { first, last };
    for (header, expected) in [
        ("bytes=0-499", Selection::Ranges(vec![r(0, 499)])),
        ("bytes=9500-", Selection::Ranges(vec![r(9500, 9999)])),
        ("bytes=-500", Selection::Ranges(vec![r(9500, 9999)])),
        ("bytes=-20000", Selection::Ranges(vec![r(0, 9999)])),
        ("bytes=0-0,-1", Selection::Ranges(vec![r(0, 0), r(9999, 9999)])),
        ("bytes=5-99999999999999999999999", Selection::Ranges(vec![r(5, 9999)])),
        ("bytes=10000-", Selection::Unsatisfiable),
        ("bytes=-0", Selection::Unsatisfiable),
        ("bytes=5-1", Selection::Whole),
        ("bytes=a-1", Selection::Whole),
        ("items=0-1", Selection::Whole),
        ("bytes=0-,0-", Selection::Whole),
        ("bytes=0-1,", Selection::Whole),
    ] {
        assert_eq!(select(Some(header), 10_000), expected, "{header}");
    }
    assert_eq!(select(Some("bytes=0-"), 0), Selection::Unsatisfiable);
    assert_eq!(select(Some(&format!("bytes={}", vec!["0-1"; 17].join(","))), 1 << 30), Selection::Whole);
}

#[test]
fn dates_and_conditions() {
    assert_eq!(date::format(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(date::parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
    assert_eq!(date::parse("Sunday, 06-Nov-94 08:49:37 GMT"), None);
    let version = Version { size: 10, mtime: 784_111_777, mtime_nsec: 5 };
    let ask = |headers: &str| get(&format!("GET / HTTP/1.0\r\n{headers}\r\n")).unwrap().unwrap().0;
    assert!(version.not_modified(&ask("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n")));
    assert!(!version.not_modified(&ask("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n")));
    assert!(!version.not_modified(&ask("If-Modified-Since: yesterday\r\n")));
    assert!(version.not_modified(&ask(&format!("If-None-Match: \"a\", W/{}\r\n", version.tag()))));
    let part = |condition: &str| version.selection(&ask(&format!("Range: bytes=1-2\r\n{condition}")));
    assert_ne!(part(""), Selection::Whole);
    assert_ne!(part(&format!("If-Range: {}\r\n", version.tag())), Selection::Whole);
    assert_eq!(part("If-Range: \"other\"\r\n"), Selection::Whole);
    assert_eq!(part("If-Range: Sun, 06 Nov 1994 08:49:36 GMT\r\n"), Selection::Whole);
    let head = get("HEAD / HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\n\r\n").unwrap().unwrap().0;
    assert_eq!(version.selection(&head), Selection::Whole);
}

#[test]
fn types_and_listing() {
    assert_eq!(mime::of("a/b.HTML"), "text/html; charset=utf-8");
    assert_eq!(mime::of("x.tar/none"), "application/octet-stream");
    let item = listing::Item { name: "<a\"&'>.txt".into(), directory: false, size: 3, mtime: 0 };
    let page = listing::page("/<x>/", vec![item]);
    assert!(!page.contains("<x>") && !page.contains("<a\""));
    assert!(page.contains("./%3Ca%22%26%27%3E.txt"));
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((_, used))) = parse(&bytes) {
            prop_assert!(used <= bytes.len());
        }
    }

    #[test]
    fn a_request_in_pieces_is_the_same(path in "/[a-z%./]{0,20}", junk in "[A-Za-z-]{1,8}", cut in 0usize..60) {
        let text = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{junk}: v\r\n\r\n");
        let whole = get(&text);
        let cut = cut.min(text.len() - 1);
        // Before the end there is never an answer, after it always the same.
        prop_assert_eq!(get(&text[..cut]), Ok(None));
        prop_assert_eq!(get(&(text.clone() + "GET / HTTP")), whole);
    }

    #[test]
    fn resolved_paths_never_leave(target in "/([a-c]|\\.|/|%2e|%2f|%5c){0,24}") {
        if let Some(path) = path::resolve(&target) {
            prop_assert!(!path.starts_with('/'));
            prop_assert!(path.split('/').all(|part| part != ".." && part != "."));
        }
    }

    #[test]
    fn names_survive_encoding(name in "[^/\0]{1,20}") {
        prop_assume!(name != "." && name != "..");
        prop_assert_eq!(path::resolve(&format!("/{}", path::encode(&name))), Some(name));
    }

    #[test]
    fn ranges_lie_within(header in "bytes=[0-9,-]{0,30}", size in 0u64..1000) {
        if let Selection::Ranges(ranges) = select(Some(&header), size) {
            prop_assert!(!ranges.is_empty());
            prop_assert!(ranges.iter().all(|r| r.first <= r.last && r.last < size));
        }
    }

    #[test]
    fn dates_survive(seconds in 0i64..250_000_000_000) {
        prop_assert_eq!(date::parse(&date::format(seconds)), Some(seconds));
    }

    #[test]
    fn escaped_text_has_no_markup(text in any::<String>()) {
        let escaped: Vec<char> = listing::escape(&text).chars().collect();
        prop_assert!(!escaped.iter().any(|c| ['<', '>', '"', '\''].contains(c)));
    }
}
