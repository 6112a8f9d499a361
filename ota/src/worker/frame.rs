//! Frames between PID 1 and a worker: a length, u32 little-endian, and so many bytes of postcard.

use std::io::{self, Read, Write};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::encode;

/// The longest frame that is taken, bytes: the longest feed, and what a message adds to it.
const LONGEST: usize = (1 << 20) + 4096;

/// The other side does not speak as it should: it is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    #[error("a worker's message is longer than {} bytes", LONGEST)]
    TooLong,
    #[error("a worker's message makes no sense")]
    Nonsense,
}

pub(super) fn write(output: &mut dyn Write, message: &impl Serialize) -> io::Result<()> {
    let body = encode(message);
    if body.len() > LONGEST {
        return Err(io::Error::other(FrameError::TooLong));
    }
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&body);
    output.write_all(&frame)?;
    output.flush()
}

pub(super) fn read<T: DeserializeOwned>(input: &mut dyn Read) -> io::Result<T> {
    let mut frames = Frames::default();
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    frames.push(&length);
    let mut body = vec![0; (u32::from_le_bytes(length) as usize).min(LONGEST)];
    input.read_exact(&mut body)?;
    frames.push(&body);
    frames.next().map_err(io::Error::other)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Puts frames together from the bytes that a pipe delivers, without ever waiting for more.
#[derive(Debug)]
pub struct Frames<T> {
    bytes: Vec<u8>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Default for Frames<T> {
    fn default() -> Self {
        Self { bytes: Vec::new(), kind: PhantomData }
    }
}

impl<T: DeserializeOwned> Frames<T> {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    #[allow(clippy::should_implement_trait)] // It is no iterator: after `None` there may be more.
    pub fn next(&mut self) -> Result<Option<T>, FrameError> {
        let Some(head) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > LONGEST {
            return Err(FrameError::TooLong);
        }
        let Some(body) = self.bytes[4..].get(..length) else { return Ok(None) };
        let message = postcard::from_bytes(body).map_err(|_| FrameError::Nonsense)?;
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_bytes_arrive() {
        let mut bytes = Vec::new();
        for text in ["one", "", "three"] {
            write(&mut bytes, &text).unwrap();
        }
        let mut frames = Frames::<String>::default();
        let mut seen = Vec::new();
        for byte in bytes {
            frames.push(&[byte]);
            while let Some(text) = frames.next().unwrap() {
                seen.push(text);
            }
        }
        assert_eq!(seen, ["one", "", "three"]);
    }

    #[test]
    fn a_worker_that_talks_nonsense_is_noticed() {
        let mut frames = Frames::<String>::default();
        frames.push(&[0xff, 0xff, 0xff, 0xff]);
        assert_eq!(frames.next(), Err(FrameError::TooLong));
        let mut frames = Frames::<String>::default();
        frames.push(&[2, 0, 0, 0, 9, b'x']);
        assert_eq!(frames.next(), Err(FrameError::Nonsense));
        assert!(read::<String>(&mut &[1u8, 0, 0][..]).is_err());
        assert_eq!(read::<String>(&mut &[2u8, 0, 0, 0, 1, b'x'][..]).unwrap(), "x");
    }
}
