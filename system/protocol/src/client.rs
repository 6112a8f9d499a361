//! Asking PID 1.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::{Answer, FrameError, Progress, Refusal, Reply, Request, read_frame, write_frame};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("nobody answers at {0} ({1}): this is no WarpPool appliance, or its system process is gone")]
    NotHere(String, io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the connection ended before there was an answer")]
    Closed,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A connection to PID 1; one request at a time.
#[derive(Debug)]
pub struct Client {
    #[cfg(unix)]
    stream: std::os::unix::net::UnixStream,
}

#[cfg(unix)]
impl Client {
    /// Connects. A read or write that makes no headway for `patience` fails.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self, ClientError> {
        let stream = std::os::unix::net::UnixStream::connect(socket)
            .map_err(|why| ClientError::NotHere(socket.display().to_string(), why))?;
        stream.set_read_timeout(Some(patience)).map_err(FrameError::from)?;
        stream.set_write_timeout(Some(patience)).map_err(FrameError::from)?;
        Ok(Self { stream })
    }

    /// Asks, shows what progress there is, and waits for the answer.
    pub fn ask(&mut self, request: &Request, mut progress: impl FnMut(Progress)) -> Result<Reply, ClientError> {
        write_frame(&mut self.stream, request)?;
        loop {
            match read_frame(&mut self.stream)?.ok_or(ClientError::Closed)? {
                Answer::Progress(step) => progress(step),
                Answer::Done(answer) => return Ok(answer?),
            }
        }
    }
}

#[cfg(not(unix))]
impl Client {
    pub fn connect(socket: &Path, _patience: Duration) -> Result<Self, ClientError> {
        Err(ClientError::NotHere(socket.display().to_string(), io::ErrorKind::Unsupported.into()))
    }

    pub fn ask(&mut self, _request: &Request, _progress: impl FnMut(Progress)) -> Result<Reply, ClientError> {
        Err(ClientError::Closed)
    }
}
