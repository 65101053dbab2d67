//! `httpd`: serves the files of a directory over HTTP/1.1, one task a connection.
//!
//! `httpd [-a ADDRESS] [-p PORT] [DIRECTORY]`. What a request means is decided in the crate `http`; `connection` reads requests
//! and keeps the time limits, `answer` finds the file and sends it in pieces, so that memory does not grow with
//! the file's size.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod answer;
mod connection;

use alloc::string::ToString;
use core::sync::atomic::{AtomicUsize, Ordering};
use rt::async_net::TcpListener;
use rt::net::{IpAddr, Ipv4Addr, SocketAddr};
use rt::time::{Duration, sleep};
use rt::{env, eprintln, fs, io, println, process::ExitCode, sync::Arc, task};

rt::main!(main);

const USAGE: &str = "usage: httpd [-a ADDRESS] [-p PORT] [DIRECTORY]
Serves the files of DIRECTORY (default: /srv/share) at ADDRESS (0.0.0.0), PORT (80).";

/// Connections beyond this many are answered with 503.
const MOST_CONNECTIONS: usize = 512;
/// How long to wait when the system has no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(50);

struct Options {
    addr: SocketAddr,
    root: &'static str,
}

fn options() -> Result<Option<Options>, &'static str> {
    let (mut ip, mut port, mut root) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80, "/srv/share");
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg {
            "--help" => return Ok(None),
            "-a" => ip = args.next().and_then(|a| a.parse().ok()).ok_or("-a needs an address")?,
            "-p" => port = args.next().and_then(|p| p.parse().ok()).ok_or("-p needs a port number")?,
            _ if arg.starts_with('-') => return Err("unknown option"),
            _ => root = arg,
        }
    }
    Ok(Some(Options { addr: SocketAddr::new(ip, port), root }))
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("httpd: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match task::block_on(serve(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("httpd: {}: {error}", options.addr);
            ExitCode::FAILURE
        }
    }
}

/// Counts a connection as long as it lives.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        // Relaxed: a count, nothing is ordered by it.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(options: &Options) -> io::Result<()> {
    if !fs::metadata(options.root)?.is_dir() {
        return Err(rt::abi::Errno::ENOTDIR.into());
    }
    let listener = TcpListener::bind(options.addr)?;
    let root: Arc<str> = options.root.trim_end_matches('/').to_string().into();
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // The client left again, or descriptors are short: both pass.
                sleep(PAUSE).await;
                continue;
            }
        };
        let full = open.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS;
        let (root, place) = (root.clone(), Place(open.clone()));
        task::spawn(async move {
            let _place = place;
            connection::serve(stream, &root, full).await;
        });
    }
}
