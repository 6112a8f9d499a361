//! The example in `docs/bundle-format.md` is the very bytes that this crate writes and reads.

use std::io::Cursor;

use warppool_ota::bundle::{Bundle, BundleHeader, Chunk, ZeroRun};
use warppool_ota::envelope::{self, Kind};
use warppool_ota::source::FileSource;
use warppool_ota::trust::TrustedKey;
use warppool_ota::{Digest, PrivateKey, Trust, Version};

use crate::slots::trust;

/// The key of RFC 6979, A.2.5: known to everybody, trusted by nobody.
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCDJr6nYRbp1FmtcIVdn
sdaTTlDD2zbomxJ7imIrEg9nIQ==
-----END PRIVATE KEY-----
";

fn example() -> BundleHeader {
    let chunk = |offset, length, content: &[u8], late| Chunk { offset, length, sha256: Digest::of(content), late };
    BundleHeader {
        product: "warppool".into(),
        hardware: "rpi5".into(),
        version: Version::new(1, 2, 3),
        built: 1_790_000_000,
        minimum_eeprom: 1_765_152_000,
        slot_size: 268_435_456,
        chunks: vec![
            chunk(1_067_008, 2048, b"a file", false),
            chunk(0, 16_384, b"the boot sectors", true),
            chunk(1_064_960, 2048, b"the root directory", true),
        ],
        zeros: vec![ZeroRun { offset: 16_896, length: 523_776 }],
    }
}

#[test]
fn the_example_of_the_document_is_what_is_written_and_read() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bundle-format.md")).unwrap();
    let block = document.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let mut shown = Vec::new();
    for line in block.lines() {
        let digits: String = line.split(';').next().unwrap_or_default().split_whitespace().collect();
        for pair in digits.as_bytes().chunks(2) {
            shown.push(u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        }
    }
    let key = PrivateKey::from_pem(PEM).unwrap();
    let payload = postcard::to_stdvec(&example()).unwrap();
    let written = envelope::seal(Kind::Bundle, &key, &payload).unwrap();
    let hex: String = written
        .chunks(16)
        .map(|row| row.iter().fold(String::new(), |row, byte| format!("{row}{byte:02x} ")) + "\n")
        .collect();
    assert!(document.contains(&key.public().to_string()), "the document's trust.toml names {}", key.public());
    assert!(shown == written, "the document's example should be\n{hex}");

    let trust = Trust { keys: vec![TrustedKey { name: "RFC 6979".into(), public: key.public() }], ..trust() };
    let file = [&shown[..], &vec![0; 2048 + 16_384 + 2048]].concat();
    let bundle = Bundle::open(&mut FileSource::new(Cursor::new(file)).unwrap(), &trust).unwrap();
    assert_eq!(bundle.header, example());
    assert_eq!(bundle.chunks_at as usize, shown.len());
}
