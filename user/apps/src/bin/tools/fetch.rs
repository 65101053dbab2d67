//! `fetch`: a small HTTP client.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::{String, ToString};
use rt::io::{self, BufRead, BufReader, Read, Write};
use rt::net::{Ipv4Addr, SocketAddr, TcpStream};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "fetch",
    usage: "[-i] [-o FILE] http://ADDRESS[:PORT]/PATH\nGets a page; ADDRESS is a number (or localhost). -i: with the head",
    options: Some("io:"),
    run,
};

/// Address, `Host` and path of a URL.
fn parse(url: &str) -> Result<(SocketAddr, String, String), String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let address = host.replace("localhost", "127.0.0.1");
    let numeric = address.parse::<SocketAddr>().ok();
    let numeric = numeric.or_else(|| address.parse::<Ipv4Addr>().ok().map(|ip| (ip, 80).into()));
    let address = numeric.ok_or_else(|| alloc::format!("{host}: not a numeric address"))?;
    Ok((address, host.to_string(), path.to_string()))
}

fn run(options: &Options) -> Outcome {
    let [url] = options.args.as_slice() else { return Err("needs one URL".to_string()) };
    let (address, host, path) = parse(url)?;
    let mut stream = TcpStream::connect(address).map_err(about(&host))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: fetch\r\n\r\n")
        .map_err(about(&host))?;
    let mut reader = BufReader::new(stream);
    let (status, length) = head(&mut reader, options.has('i')).map_err(about(&host))?;
    let received = match options.value('o') {
        Some(name) => {
            let mut file = rt::fs::File::create(name).map_err(about(name))?;
            body(&mut reader, &mut file, length)
        }
        None => body(&mut reader, &mut io::stdout(), length),
    };
    received.map_err(about(&host))?;
    Ok(i32::from(!(200..300).contains(&status)))
}

/// Reads the head; the status and the length of the body, if it says.
fn head(reader: &mut impl BufRead, show: bool) -> io::Result<(u16, Option<u64>)> {
    let malformed = io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
    let (mut status, mut length) = (None, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(malformed);
        }
        if show {
            rt::print!("{line}");
        }
        let line = line.trim_end();
        if status.is_none() {
            let code = line.strip_prefix("HTTP/1.").and_then(|l| l.split(' ').nth(1)).and_then(|c| c.parse().ok());
            status = Some(code.ok_or(malformed)?);
        } else if line.is_empty() {
            return Ok((status.unwrap_or(0), length));
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
}

fn body(reader: &mut impl Read, out: &mut impl Write, length: Option<u64>) -> io::Result<()> {
    let received = io::copy(reader, out)?;
    out.flush()?;
    match length {
        Some(length) if length != received => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection broke")),
        _ => Ok(()),
    }
}
