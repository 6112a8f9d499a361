//! A web server for bundles: it knows ranges, and counts the bytes it gives.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Serves the files of a folder on loopback until the process ends.
#[derive(Debug)]
pub struct Server {
    port: u16,
    given: Arc<AtomicU64>,
}

impl Server {
    pub fn start(folder: impl Into<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let (folder, given) = (folder.into(), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&given);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, counter) = (folder.clone(), Arc::clone(&counter));
                std::thread::spawn(move || while answer(&stream, &folder, &counter).unwrap_or(false) {});
            }
        });
        Self { port, given }
    }

    /// As the guest reaches it.
    pub fn url(&self, name: &str) -> String {
        format!("http://10.0.2.2:{}/{name}", self.port)
    }

    /// Bytes of bodies given so far.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }
}

/// One request; true when there may be another on this connection.
fn answer(mut stream: &TcpStream, folder: &std::path::Path, given: &AtomicU64) -> std::io::Result<bool> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(false) };
    let mut range = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("range")
        {
            range = value.trim().strip_prefix("bytes=").map(str::to_owned);
        }
    }
    let path = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
    let Ok(file) = std::fs::read(folder.join(path)) else {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?;
        return Ok(true);
    };
    let part = range.and_then(|range| {
        let (from, to) = range.split_once('-')?;
        let from = from.parse::<usize>().ok()?;
        let to = if to.is_empty() { file.len() - 1 } else { to.parse::<usize>().ok()?.min(file.len() - 1) };
        (from <= to).then_some((from, to))
    });
    let (status, body, extra) = match part {
        Some((from, to)) => {
            ("206 Partial Content", &file[from..=to], format!("content-range: bytes {from}-{to}/{}\r\n", file.len()))
        }
        None => ("200 OK", &file[..], String::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\naccept-ranges: bytes\r\n{extra}\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    if !first.starts_with("HEAD") {
        stream.write_all(body)?;
        given.fetch_add(body.len() as u64, Ordering::Relaxed);
    }
    Ok(true)
}
