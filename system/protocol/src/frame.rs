//! A message on the wire: its length as u32 big-endian, then postcard.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message, bytes. The longest there is is a status with a journal, or a page of the log.
pub const MAX_FRAME: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("a message of {0} bytes is longer than the {MAX_FRAME} allowed")]
    TooLong(usize),
    #[error("a message cannot be read: {0}; the two sides are of different versions")]
    Format(#[from] postcard::Error),
}

/// Writes one message.
pub fn write_frame(to: &mut impl Write, message: &impl Serialize) -> Result<(), FrameError> {
    let body = postcard::to_stdvec(message)?;
    if body.len() > MAX_FRAME {
        return Err(FrameError::TooLong(body.len()));
    }
    // One write: a reader that is fast never sees a length without its message.
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)?;
    to.flush()?;
    Ok(())
}

/// Reads one message; `None` when the other side has closed before one began.
pub fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(postcard::from_bytes(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Reply, Request};

    #[test]
    fn a_message_comes_back_as_it_went() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &Request::Status).expect("fits");
        write_frame(&mut wire, &Answer::Done(Ok(Reply::Accepted))).expect("fits");
        let mut from = wire.as_slice();
        assert_eq!(read_frame::<Request>(&mut from).expect("whole"), Some(Request::Status));
        assert_eq!(read_frame::<Answer>(&mut from).expect("whole"), Some(Answer::Done(Ok(Reply::Accepted))));
        assert_eq!(read_frame::<Request>(&mut from).expect("closed between messages"), None);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let cases: [(&[u8], &str); 4] = [
            (&[0xff; 4], "longer"),
            (&[0, 0, 0, 9, 1], "broke"),
            (&[0, 0], "broke"),
            (&[0, 0, 0, 1, 0x7f], "cannot be read"),
        ];
        for (bytes, said) in cases {
            let mut from = bytes;
            let why = read_frame::<Request>(&mut from).expect_err("is refused").to_string();
            assert!(why.contains(said), "{why}");
        }
    }
}
