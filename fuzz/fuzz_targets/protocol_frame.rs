//! What passes between the pool and PID 1: messages come out whole, as they would go in again, or not at all.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use warppool_protocol::{Answer, FrameError, MAX_FRAME, Request, read_frame, write_frame};

fn read_all<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let mut from = bytes;
    while let Ok(Some(message)) = read_frame::<T>(&mut from) {
        let mut wire = Vec::new();
        match write_frame(&mut wire, &message) {
            Ok(()) => assert!(wire.len() <= 4 + MAX_FRAME),
            Err(FrameError::TooLong(_)) => continue,
            Err(why) => panic!("{message:?} cannot be written: {why}"),
        }
        let again = read_frame::<T>(&mut wire.as_slice()).expect("what was written is read");
        assert_eq!(again.as_ref(), Some(&message));
    }
}

fuzz_target!(|bytes: &[u8]| {
    read_all::<Request>(bytes);
    read_all::<Answer>(bytes);
    // A frame of exactly these bytes.
    let framed = [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    read_all::<Request>(&framed);
    read_all::<Answer>(&framed);
});
