//! Signed files: as they come from outside, and with a good signature over whatever they say. What is opened is what was signed;
//! a header that passes its check keeps to its slot; and what anybody may look at is shown or refused.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use warppool_ota::bundle::Bundle;
use warppool_ota::envelope::{EnvelopeError, HEAD, Kind, open, seal};
use warppool_ota::feed::{Channel, Feed, FeedError};
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

    // The same under a good signature: without the kind in the first byte, or what lies in an envelope.
    let Some((&first, rest)) = bytes.split_first() else { return };
    let payload = bytes.get(HEAD..).filter(|_| bytes.starts_with(b"WP")).unwrap_or(rest);
    let kind = match first % 3 {
        0 => Kind::Bundle,
        1 => Kind::Slot,
        _ => Kind::Feed,
    };
    let sealed = seal(kind, &KEY, payload).expect("inputs are shorter than envelopes may be");
    match kind {
        Kind::Bundle => bundle(&sealed),
        Kind::Slot => {
            if let Ok(manifest) = SlotManifest::open(&sealed, &TRUST) {
                let again = manifest.seal(&KEY).expect("it fitted before");
                assert_eq!(SlotManifest::open(&again, &TRUST), Ok(manifest));
            }
        }
        Kind::Feed => match Feed::open(&sealed, &TRUST, Channel::Stable, 3, Some(2000)) {
            Ok(feed) => {
                assert!(feed.channel == Channel::Stable && feed.serial >= 3 && feed.expires >= 2000);
                assert!(feed.product == TRUST.product);
            }
            // Whatever is wrong with it, it is not the envelope.
            Err(FeedError::Envelope(why)) => assert_eq!(why, EnvelopeError::Unreadable(Kind::Feed)),
            Err(_) => {}
        },
    }
});
