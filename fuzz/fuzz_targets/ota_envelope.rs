//! Signed files: as they come from outside, and with a good signature over whatever they say. What is opened is what was signed;
//! a header that passes its check keeps to its slot; and what anybody may look at is shown or refused.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use warppool_ota::bundle::Bundle;
use warppool_ota::envelope::{HEAD, Kind, open, seal};
use warppool_ota::feed::{Channel, Feed};
use warppool_ota::source::FileSource;
use warppool_ota::trust::TrustedKey;
use warppool_ota::{PrivateKey, SlotManifest, Trust, Version, cli};

/// The key of RFC 6979, A.2.5: everybody knows it, so inputs may be signed by it.
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCDJr6nYRbp1FmtcIVdn
sdaTTlDD2zbomxJ7imIrEg9nIQ==
-----END PRIVATE KEY-----
";

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from_pem(PEM).expect("a key"));
static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust {
    product: "warppool".into(),
    hardware: "rpi5".into(),
    minimum_version: Version::new(0, 0, 0),
    feed: String::new(),
    revoked: Vec::new(),
    keys: vec![TrustedKey { name: "RFC 6979".into(), public: KEY.public() }],
});

fn bundle(file: &[u8]) {
    let mut source = FileSource::new(Cursor::new(file)).expect("memory can be read");
    let Ok(bundle) = Bundle::open(&mut source, &TRUST) else { return };
    assert_eq!(bundle.size(), file.len() as u64);
    let slot = bundle.header.slot_size;
    assert!(bundle.header.chunks.iter().all(|chunk| chunk.length > 0 && chunk.end() <= slot));
    assert!(bundle.header.zeros.iter().all(|run| run.length > 0 && run.end() <= slot));
}

fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Bundle, Kind::Slot, Kind::Feed] {
        if let Ok(payload) = open(kind, bytes, &TRUST) {
            assert_eq!(payload, &bytes[HEAD..]);
        }
    }
    bundle(bytes);

    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(file.path(), bytes).expect("a temporary file can be written");
    if let Ok(inspection) = cli::inspect(file.path(), Some(&TRUST)) {
        assert!(inspection.to_string().contains("signed by"));
    }

    // The payload of an envelope, as if its signature were good; else the whole input.
    let payload = bytes.get(HEAD..).filter(|_| bytes.starts_with(b"WP")).unwrap_or(bytes);
    let [as_bundle, as_slot, as_feed] = [Kind::Bundle, Kind::Slot, Kind::Feed].map(|kind| {
        let sealed = seal(kind, &KEY, payload).expect("inputs are shorter than envelopes may be");
        assert_eq!(open(kind, &sealed, &TRUST), Ok(payload));
        sealed
    });
    bundle(&as_bundle);
    if let Ok(manifest) = SlotManifest::open(&as_slot, &TRUST) {
        let again = manifest.seal(&KEY).expect("it fitted before");
        assert_eq!(SlotManifest::open(&again, &TRUST), Ok(manifest));
    }
    for channel in [Channel::Stable, Channel::Beta] {
        if let Ok(feed) = Feed::open(&as_feed, &TRUST, channel, 3, Some(2000)) {
            assert!(feed.channel == channel && feed.serial >= 3 && feed.expires >= 2000);
            assert!(feed.product == TRUST.product);
        }
    }
});
