//! The first bytes of a connection through a proxy: more bytes never change what fewer bytes have said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warppool_stratum::proxy::parse;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    if let Ok(Some((_, length))) = whole {
        assert!(length <= bytes.len());
        assert_eq!(parse(&bytes[..length]), whole, "the header ends where it says");
    }
    for length in 0..bytes.len().min(64) {
        match parse(&bytes[..length]) {
            Ok(None) => {}
            decided => assert_eq!(decided, whole, "{length} bytes decided otherwise"),
        }
    }
});
