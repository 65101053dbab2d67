//! Answers: finds what a request names below the served directory, and sends it.

use crate::connection::{PIECE, send};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use http::listing::{self, Item};
use http::range::{ByteRange, Selection};
use http::request::{Method, Request};
use http::response::{self, Head, Version};
use http::{mime, path};
use rt::async_net::TcpStream;
use rt::fs::{self, File};
use rt::io::{self, ErrorKind};
use rt::time::SystemTime;

fn now() -> i64 {
    SystemTime::now().since_epoch().as_secs() as i64
}

/// Answers one request.
pub async fn answer(stream: &TcpStream, root: &str, request: &Request) -> io::Result<()> {
    let Some(below) = path::resolve(&request.target) else {
        return fail(stream, request, 400).await;
    };
    let full = rt::path::join(root, below.trim_end_matches('/'));
    let result = match fs::metadata(&full) {
        Ok(meta) if meta.is_dir() => return directory(stream, request, &full, &below).await,
        Ok(meta) if meta.is_file() && !below.ends_with('/') => File::open(&full),
        Ok(_) => Err(ErrorKind::NotFound.into()),
        Err(error) => Err(error),
    };
    match result {
        Ok(file) => send_file(stream, request, &file, &full).await,
        Err(error) => fail(stream, request, status_of(error)).await,
    }
}

fn status_of(error: io::Error) -> u16 {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => 404,
        ErrorKind::PermissionDenied => 403,
        _ if error == rt::abi::Errno::ENAMETOOLONG.into() => 404,
        _ => 500,
    }
}

/// A directory: its `index.html`, or its listing. Without a slash at the end links would lead astray, so that
/// is redirected.
async fn directory(stream: &TcpStream, request: &Request, full: &str, below: &str) -> io::Result<()> {
    if !below.is_empty() && !below.ends_with('/') {
        let mut head = Head::new(301, now(), request.keep_alive);
        head.header("Location", format_args!("/{}/", path::encode(below))).header("Content-Length", 0);
        return send(stream, head.finish().as_bytes()).await;
    }
    let index = rt::path::join(full, "index.html");
    if let Ok(file) = File::open(&index)
        && file.metadata()?.is_file()
    {
        return send_file(stream, request, &file, &index).await;
    }
    let page = match items(full) {
        Ok(items) => listing::page(&alloc::format!("/{below}"), items),
        Err(error) => return fail(stream, request, status_of(error)).await,
    };
    let mut head = Head::new(200, now(), request.keep_alive);
    head.header("Content-Type", "text/html; charset=utf-8").header("Content-Length", page.len());
    let mut bytes = head.finish().into_bytes();
    if request.method == Method::Get {
        bytes.extend_from_slice(page.as_bytes());
    }
    send(stream, &bytes).await
}

fn items(full: &str) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    for entry in fs::read_dir(full)? {
        // What vanished since is not listed.
        if let Ok(meta) = fs::metadata(&rt::path::join(full, &entry.name)) {
            items.push(Item { name: entry.name, directory: meta.is_dir(), size: meta.size(), mtime: meta.mtime() });
        }
    }
    Ok(items)
}

async fn send_file(stream: &TcpStream, request: &Request, file: &File, name: &str) -> io::Result<()> {
    let meta = file.metadata()?;
    let version = Version { size: meta.size(), mtime: meta.mtime(), mtime_nsec: meta.stat().mtime_nsec };
    let validators = |head: &mut Head| {
        head.header("ETag", version.tag()).header("Last-Modified", http::date::format(version.mtime));
    };
    if version.not_modified(request) {
        let mut head = Head::new(304, now(), request.keep_alive);
        validators(&mut head);
        return send(stream, head.finish().as_bytes()).await;
    }
    let kind = mime::of(name);
    let (status, parts) = match version.selection(request) {
        Selection::Unsatisfiable => return unsatisfiable(stream, request, version.size).await,
        Selection::Whole if version.size == 0 => (200, Vec::new()),
        Selection::Whole => (200, vec![ByteRange { first: 0, last: version.size - 1 }]),
        Selection::Ranges(ranges) => (206, ranges),
    };
    let mut head = Head::new(status, now(), request.keep_alive);
    validators(&mut head);
    head.header("Accept-Ranges", "bytes");
    if parts.len() > 1 {
        return multipart(stream, request, file, head, &parts, kind, version.size).await;
    }
    head.header("Content-Type", kind).header("Content-Length", parts.first().map_or(0, |r| r.len()));
    if let (206, [range]) = (status, parts.as_slice()) {
        let (ByteRange { first, last }, size) = (range, version.size);
        head.header("Content-Range", format_args!("bytes {first}-{last}/{size}"));
    }
    body(stream, request, file, head.finish(), parts.first().copied()).await
}

async fn unsatisfiable(stream: &TcpStream, request: &Request, size: u64) -> io::Result<()> {
    let mut head = Head::new(416, now(), request.keep_alive);
    head.header("Content-Range", format_args!("bytes */{size}")).header("Content-Length", 0);
    send(stream, head.finish().as_bytes()).await
}

/// Several ranges, as `multipart/byteranges`.
async fn multipart(
    stream: &TcpStream,
    request: &Request,
    file: &File,
    mut head: Head,
    parts: &[ByteRange],
    kind: &str,
    size: u64,
) -> io::Result<()> {
    let mut random = [0u8; 8];
    rt::system::random(&mut random)?;
    let boundary = response::boundary(u64::from_le_bytes(random));
    let heads: Vec<String> = parts.iter().map(|&r| response::part_head(&boundary, kind, r, size)).collect();
    let end = response::part_end(&boundary);
    let length: u64 = parts.iter().zip(&heads).map(|(r, h)| r.len() + h.len() as u64).sum();
    head.header("Content-Type", format_args!("multipart/byteranges; boundary={boundary}"))
        .header("Content-Length", length + end.len() as u64);
    send(stream, head.finish().as_bytes()).await?;
    if request.method == Method::Get {
        for (&range, head) in parts.iter().zip(heads) {
            body(stream, request, file, head, Some(range)).await?;
        }
        send(stream, end.as_bytes()).await?;
    }
    Ok(())
}

/// Sends `head` and, unless only the head was asked for, the range of the file; a small file goes in the same piece.
async fn body(
    stream: &TcpStream,
    request: &Request,
    file: &File,
    head: String,
    range: Option<ByteRange>,
) -> io::Result<()> {
    let mut buf = head.into_bytes();
    let Some(ByteRange { first: mut at, last }) = range.filter(|_| request.method == Method::Get) else {
        return send(stream, &buf).await;
    };
    let mut used = buf.len();
    while at <= last {
        let want = (last - at + 1).min((PIECE - used.min(PIECE / 2)) as u64) as usize;
        buf.resize(used + want, 0);
        match file.read_at(&mut buf[used..], at)? {
            // The file became shorter: the length promised cannot be kept, only the connection ended.
            0 => return Err(io::Error::new(ErrorKind::UnexpectedEof, "file became shorter")),
            n => {
                send(stream, &buf[..used + n]).await?;
                at += n as u64;
            }
        }
        used = 0;
    }
    Ok(())
}

async fn fail(stream: &TcpStream, request: &Request, status: u16) -> io::Result<()> {
    error(stream, status, request.keep_alive, request.method == Method::Get).await
}

/// An error page.
pub async fn error(stream: &TcpStream, status: u16, keep_alive: bool, with_body: bool) -> io::Result<()> {
    let page = alloc::format!("{status} {}\n", response::reason(status)).to_string();
    let mut head = Head::new(status, now(), keep_alive);
    head.header("Content-Type", "text/plain; charset=utf-8").header("Content-Length", page.len());
    if status == 405 {
        head.header("Allow", "GET, HEAD");
    }
    let mut text = head.finish();
    if with_body {
        text.push_str(&page);
    }
    send(stream, text.as_bytes()).await
}
