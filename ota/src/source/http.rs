//! A bundle on a web server, asked in ranges for what is missing.
//!
//! Neighbouring ranges become one request. A broken connection is taken up where it broke; a server that knows no ranges is read
//! through once.

use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::time::Duration;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::{Source, SourceError, Take};

/// Ranges with at most this many bytes between them are asked for as one: a new request costs more.
const GAP: u64 = 32 * 1024;
const MOST_REDIRECTS: u32 = 5;
const USER_AGENT: &str = concat!("warppool/", env!("CARGO_PKG_VERSION"));

/// How a web server is talked to.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Plain http too: what comes is signed, but others see and can hold up what is fetched.
    pub allow_http: bool,
    pub connect_timeout: Duration,
    /// The longest silence in the midst of an answer.
    pub read_timeout: Duration,
    /// Attempts one after the other that bring nothing before it is given up.
    pub attempts: u32,
    /// Pause before the second attempt; each further one takes twice as long, up to a minute.
    pub back_off: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            allow_http: false,
            connect_timeout: Duration::from_secs(20),
            read_timeout: Duration::from_secs(30),
            attempts: 6,
            back_off: Duration::from_secs(1),
        }
    }
}

/// A file on a web server.
#[derive(Debug)]
pub struct HttpSource {
    agent: Agent,
    url: String,
    options: HttpOptions,
    size: Option<u64>,
}

/// What went wrong with one attempt: worth another, or not.
enum Trouble {
    Passing(SourceError),
    Final(SourceError),
}

impl HttpSource {
    /// Does not connect yet.
    pub fn new(url: &str, options: HttpOptions) -> Result<Self, SourceError> {
        let https = url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
        let http = url.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"));
        if !(https || http && options.allow_http) {
            return Err(SourceError::NotHttps(url.to_owned()));
        }
        let config = Agent::config_builder()
            .https_only(!options.allow_http)
            .http_status_as_error(false)
            .max_redirects(MOST_REDIRECTS)
            .user_agent(USER_AGENT)
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_recv_response(Some(options.read_timeout))
            .timeout_per_read(Some(options.read_timeout))
            .build();
        Ok(Self { agent: config.new_agent(), url: url.to_owned(), options, size: None })
    }

    fn unreachable(&self, error: &impl ToString) -> SourceError {
        SourceError::Unreachable { url: self.url.clone(), error: error.to_string() }
    }

    fn nonsense(&self, what: &'static str) -> Trouble {
        Trouble::Final(SourceError::Nonsense { url: self.url.clone(), what })
    }

    /// Asks for a range, or for the whole; returns the answer and where in the file its body begins.
    fn ask(&mut self, range: Option<&Range<u64>>) -> Result<(Response<Body>, u64), Trouble> {
        // A cut must be told from an end, so the body has to come as it is, unpacked by nobody.
        let mut request = self.agent.get(&self.url).header(header::ACCEPT_ENCODING, "identity");
        if let Some(range) = range {
            request = request.header(header::RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        let response = request.call().map_err(|error| match error {
            ureq::Error::RequireHttpsOnly(url) => Trouble::Final(SourceError::NotHttps(url)),
            ureq::Error::BadUri(_) | ureq::Error::TooManyRedirects => Trouble::Final(self.unreachable(&error)),
            error => Trouble::Passing(self.unreachable(&error)),
        })?;
        match response.status() {
            StatusCode::OK => {
                self.size = response.body().content_length().or(self.size);
                Ok((response, 0))
            }
            StatusCode::PARTIAL_CONTENT => {
                let told = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                let Some((start, total)) = told.and_then(parse_content_range) else {
                    return Err(self.nonsense("a part without saying which"));
                };
                if range.is_none_or(|range| range.start != start) {
                    return Err(self.nonsense("another part"));
                }
                self.size = total.or(self.size);
                Ok((response, start))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(Trouble::Final(SourceError::TooShort(range.map_or(0, |range| range.start))))
            }
            status => {
                let error = SourceError::Refused { url: self.url.clone(), status: status.as_u16() };
                let passing = status.is_server_error()
                    || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
                Err(if passing { Trouble::Passing(error) } else { Trouble::Final(error) })
            }
        }
    }

    /// One request: delivers ranges from `first` on as far as its answer goes, and says how many have been delivered in all.
    fn attempt(&mut self, ranges: &[Range<u64>], first: &mut usize, take: &mut Take<'_>) -> Result<(), Trouble> {
        let run = run_from(ranges, *first);
        let (response, mut at) = self.ask(Some(&(ranges[*first].start..ranges[run - 1].end)))?;
        // An answer with the whole file serves everything that is still wanted.
        let run = if response.status() == StatusCode::OK { ranges.len() } else { run };
        let mut body = response.into_body().into_reader();
        let mut buffer = Vec::new();
        for (number, range) in ranges.iter().enumerate().take(run).skip(*first) {
            self.skip(&mut body, range.start - at)?;
            buffer.resize((range.end - range.start) as usize, 0);
            body.read_exact(&mut buffer).map_err(|error| self.broken(&error))?;
            at = range.end;
            *first = number + 1;
            if take(number, &buffer).is_break() {
                return Err(Trouble::Final(SourceError::Cancelled));
            }
        }
        Ok(())
    }

    fn skip(&self, body: &mut impl Read, count: u64) -> Result<(), Trouble> {
        let skipped = std::io::copy(&mut body.take(count), &mut std::io::sink());
        match skipped {
            Ok(skipped) if skipped == count => Ok(()),
            Ok(_) => Err(self.broken(&ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &std::io::Error) -> Trouble {
        Trouble::Passing(self.unreachable(error))
    }

    /// Tries again, slower every time, as long as attempts that bring nothing are few.
    fn persist<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> (bool, Result<T, Trouble>),
    ) -> Result<T, SourceError> {
        let mut fruitless = 0;
        loop {
            match attempt(self) {
                (_, Ok(value)) => return Ok(value),
                (_, Err(Trouble::Final(error))) => return Err(error),
                (fruit, Err(Trouble::Passing(error))) => {
                    fruitless = if fruit { 1 } else { fruitless + 1 };
                    if fruitless >= self.options.attempts {
                        return Err(error);
                    }
                    let pause = self.options.back_off.saturating_mul(1 << (fruitless - 1).min(16));
                    std::thread::sleep(pause.min(Duration::from_mins(1)));
                }
            }
        }
    }
}

impl Source for HttpSource {
    fn size(&self) -> Option<u64> {
        self.size
    }

    fn fetch(&mut self, ranges: &[Range<u64>], take: &mut Take<'_>) -> Result<(), SourceError> {
        let mut first = 0;
        while first < ranges.len() {
            self.persist(|source| {
                let before = first;
                let result = source.attempt(ranges, &mut first, take);
                (first > before, result)
            })?;
        }
        Ok(())
    }
}

/// Fetches a small file whole.
pub fn get(url: &str, limit: u64, options: HttpOptions) -> Result<Vec<u8>, SourceError> {
    HttpSource::new(url, options)?.persist(|source| {
        let result = source.ask(None).and_then(|(response, _)| {
            let mut bytes = Vec::new();
            let mut body = response.into_body().into_reader().take(limit + 1);
            body.read_to_end(&mut bytes).map_err(|error| source.broken(&error))?;
            if bytes.len() as u64 > limit {
                return Err(Trouble::Final(SourceError::TooLong { url: source.url.clone(), limit }));
            }
            Ok(bytes)
        });
        (false, result)
    })
}

/// The end of the run of near neighbours that begins with range `first`.
fn run_from(ranges: &[Range<u64>], first: usize) -> usize {
    let mut end = first + 1;
    while end < ranges.len() && ranges[end].start - ranges[end - 1].end <= GAP {
        end += 1;
    }
    end
}

/// `bytes 5-9/100`: the start, and the whole length unless it is `*`.
fn parse_content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}
