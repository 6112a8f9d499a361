//! Fetching from a web server, and from servers that are not what they should be.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use warppool_ota::install::install;
use warppool_ota::slot::verify;
use warppool_ota::source::{HttpOptions, HttpSource, Source, SourceError, get};
use warppool_ota::worker::{self, CheckJob, Frames, Job, Message, Outcome};
use warppool_ota::{Disk, MemDisk};

use crate::slots::{SLOT, admission, bundle, noise, slot, trust};

/// How a server behaves.
#[derive(Clone, Copy, Default)]
struct Habits {
    /// Knows nothing of ranges.
    whole_only: bool,
    /// Breaks every answer off after so many bytes of body.
    breaks_after: Option<usize>,
    /// Answers so many requests with this status first.
    fails_first: Option<(usize, u16)>,
    /// Sends another part than was asked for.
    other_part: bool,
    /// Redirects every request to itself.
    redirects: bool,
    /// Never answers.
    silent: bool,
}

/// A server of one file; remembers the ranges it was asked for and the bytes it sent.
struct Server {
    address: String,
    log: Arc<Mutex<Vec<Option<Range<u64>>>>>,
    sent: Arc<Mutex<u64>>,
}

impl Server {
    fn start(content: Vec<u8>, habits: Habits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (log, sent) = (Arc::new(Mutex::new(vec![])), Arc::new(Mutex::new(0)));
        let (told, counted) = (Arc::clone(&log), Arc::clone(&sent));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let mut range = None;
                while let Some(Ok(line)) = lines.next() {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                        let (start, end) = value.split_once('-').unwrap();
                        range = Some(start.parse::<u64>().unwrap()..end.parse::<u64>().unwrap() + 1);
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                told.lock().unwrap().push(range.clone());
                let count = told.lock().unwrap().len();
                if habits.silent {
                    std::thread::sleep(Duration::from_secs(20));
                    continue;
                }
                let (head, body) = answer(&content, range, habits, count);
                let body = &body[..habits.breaks_after.map_or(body.len(), |most| most.min(body.len()))];
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(body);
                *counted.lock().unwrap() += body.len() as u64;
            }
        });
        Self { address, log, sent }
    }

    fn url(&self) -> String {
        format!("http://{}/b", self.address)
    }

    fn requests(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    fn source(&self) -> HttpSource {
        HttpSource::new(&self.url(), quick()).unwrap()
    }
}

fn answer(content: &[u8], range: Option<Range<u64>>, habits: Habits, count: usize) -> (String, Vec<u8>) {
    let len = content.len() as u64;
    let close = "Connection: close\r\n";
    if let Some((_, status)) = habits.fails_first.filter(|(times, _)| count <= *times) {
        return (format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n{close}\r\n"), vec![]);
    }
    if habits.redirects {
        return (format!("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n{close}\r\n"), vec![]);
    }
    let Some(range) = range.filter(|_| !habits.whole_only) else {
        return (format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n{close}\r\n"), content.to_vec());
    };
    if range.start >= len {
        return (format!("HTTP/1.1 416 No\r\nContent-Length: 0\r\n{close}\r\n"), vec![]);
    }
    let start = range.start + u64::from(habits.other_part);
    let end = range.end.min(len);
    let head = format!(
        "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{len}\r\nContent-Length: {}\r\n{close}\r\n",
        end - 1,
        end - start
    );
    (head, content[start as usize..end as usize].to_vec())
}

fn quick() -> HttpOptions {
    HttpOptions {
        allow_http: true,
        read_timeout: Duration::from_millis(400),
        back_off: Duration::from_millis(1),
        attempts: 3,
        ..HttpOptions::default()
    }
}

/// Fetches these ranges and compares what comes.
fn fetch(source: &mut HttpSource, content: &[u8], ranges: &[Range<u64>]) -> Result<(), SourceError> {
    let mut next = 0;
    source.fetch(ranges, &mut |number, bytes| {
        assert_eq!(number, next, "each once, in order");
        assert_eq!(bytes, &content[ranges[number].start as usize..ranges[number].end as usize]);
        next += 1;
        ControlFlow::Continue(())
    })?;
    assert_eq!(next, ranges.len());
    Ok(())
}

#[test]
fn neighbours_are_asked_for_together_and_what_lies_far_off_by_itself() {
    let content = noise(1, 1_000_000);
    let server = Server::start(content.clone(), Habits::default());
    let mut source = server.source();
    let ranges = [0..10, 10..5000, 6000..7000, 500_000..600_000, 999_000..1_000_000];
    fetch(&mut source, &content, &ranges).unwrap();
    assert_eq!(*server.log.lock().unwrap(), [Some(0..7000), Some(500_000..600_000), Some(999_000..1_000_000)]);
    assert_eq!(source.size(), Some(1_000_000));
}

#[test]
fn a_server_that_knows_no_ranges_is_read_through_once() {
    let content = noise(1, 300_000);
    let server = Server::start(content.clone(), Habits { whole_only: true, ..Habits::default() });
    let mut source = server.source();
    fetch(&mut source, &content, &[5..10, 100_000..100_001, 250_000..300_000]).unwrap();
    assert_eq!((server.requests(), source.size()), (1, Some(300_000)));
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let content = noise(1, 300_000);
    for whole_only in [false, true] {
        let habits = Habits { breaks_after: Some(120_000), whole_only, ..Habits::default() };
        let server = Server::start(content.clone(), habits);
        let ranges: Vec<Range<u64>> =
            (0..if whole_only { 11 } else { 30 }).map(|n| n * 10_000..(n + 1) * 10_000).collect();
        let result = fetch(&mut server.source(), &content, &ranges);
        assert_eq!(result.is_ok(), !whole_only || ranges.last().unwrap().end <= 120_000);
        assert!(*server.sent.lock().unwrap() <= 400_000, "nothing is fetched twice");
    }
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_is_told() {
    let content = noise(1, 1000);
    let try_with = |habits: Habits| {
        let server = Server::start(content.clone(), habits);
        let result = fetch(&mut server.source(), &content, std::slice::from_ref(&(0..100)));
        (result.map_err(|error| error.to_string()), server.requests())
    };
    let failing = |times, status| Habits { fails_first: Some((times, status)), ..Habits::default() };
    assert_eq!(try_with(failing(2, 503)), (Ok(()), 3));
    assert_eq!(try_with(failing(2, 429)), (Ok(()), 3));
    for (habits, requests, expected) in [
        (failing(99, 500), 3, "answers 500"),
        (failing(99, 404), 1, "answers 404"),
        (failing(99, 403), 1, "answers 403"),
        (Habits { breaks_after: Some(50), ..Habits::default() }, 3, "cannot be reached"),
        (Habits { other_part: true, ..Habits::default() }, 1, "another part"),
        (Habits { redirects: true, ..Habits::default() }, 6, "redirect"),
        (Habits { silent: true, ..Habits::default() }, 1, "timeout"),
    ] {
        let (result, asked) = try_with(habits);
        let error = result.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(habits.silent || asked == requests, "{expected}: {asked} requests");
    }
    let server = Server::start(content.clone(), Habits::default());
    let error = server.source().read(1000..1010).unwrap_err();
    assert!(matches!(error, SourceError::TooShort(1000)), "{error}");
    let mut cancelled = server.source();
    let error = cancelled.fetch(&[0..1, 5..6], &mut |_, _| ControlFlow::Break(())).unwrap_err();
    assert!(matches!(error, SourceError::Cancelled));
}

#[test]
fn plain_http_must_be_allowed() {
    for (url, allow_http, fine) in [
        ("https://example.org/b", false, true),
        ("HTTPS://example.org/b", false, true),
        ("http://example.org/b", false, false),
        ("http://example.org/b", true, true),
        ("file:///etc/passwd", true, false),
        ("ftp://example.org/b", true, false),
        ("", true, false),
    ] {
        let made = HttpSource::new(url, HttpOptions { allow_http, ..HttpOptions::default() });
        assert_eq!(made.is_ok(), fine, "{url:?} {allow_http}");
    }
}

#[test]
fn a_small_file_is_fetched_whole_up_to_a_limit() {
    let server = Server::start(noise(1, 5000), Habits { fails_first: Some((1, 502)), ..Habits::default() });
    assert_eq!(get(&server.url(), 5000, quick()).unwrap(), noise(1, 5000));
    assert!(matches!(get(&server.url(), 4999, quick()), Err(SourceError::TooLong { .. })));
    let cut = Server::start(noise(1, 5000), Habits { breaks_after: Some(100), ..Habits::default() });
    assert!(matches!(get(&cut.url(), 5000, quick()), Err(SourceError::Unreachable { .. })));
}

#[test]
fn a_point_release_over_http_fetches_a_fraction_of_the_bundle_and_goes_on_after_a_break() {
    let content = bundle(2);
    for habits in [Habits::default(), Habits { breaks_after: Some(280_000), ..Habits::default() }] {
        let server = Server::start(content.clone(), habits);
        let mut target = MemDisk::new(SLOT);
        let mut running = slot(1);
        let running: &mut dyn Disk = &mut running;
        let mut source = server.source();
        let ready = install(&mut source, Some(running), &mut target, &trust(), &admission(1), &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(verify(&mut target, &trust()).is_sound());
        let sent = *server.sent.lock().unwrap();
        assert!(ready.fetched <= sent && sent < content.len() as u64 / 2, "sent {sent} of {}", content.len());
    }
}

#[test]
fn a_child_hands_a_feed_on_as_it_came() {
    // The longest there can be, and nothing that could be parsed.
    let content = noise(5, (1 << 20) + 88);
    let server = Server::start(content.clone(), Habits { whole_only: true, ..Habits::default() });
    let (mut order, mut said) = (Vec::new(), Vec::new());
    worker::send(&mut order, &Job::Check(CheckJob { url: server.url(), allow_http: true })).unwrap();
    worker::serve(&mut order.as_slice(), &mut said).unwrap();
    let mut frames = Frames::<Message>::default();
    frames.push(&said);
    assert_eq!(frames.next().unwrap(), Some(Message::Done(Ok(Outcome::Feed(content)))));
}
