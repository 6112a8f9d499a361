//! A message of the node's ZMQ publisher: each frame is a length byte and that many bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warppool_node::parse_hashblock;

fuzz_target!(|bytes: &[u8]| {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let Some((&length, tail)) = rest.split_first() {
        let (frame, tail) = tail.split_at(tail.len().min(length.into()));
        frames.push(frame);
        rest = tail;
    }
    if let Ok(news) = parse_hashblock(&frames) {
        let mut shown = news.hash;
        shown.reverse();
        assert_eq!(frames, [&b"hashblock"[..], &shown, &news.sequence.to_le_bytes()]);
    }
});
