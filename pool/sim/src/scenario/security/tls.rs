//! TLS as it should not be spoken any more, and bytes that are no TLS at all. Client hellos are written by hand: no
//! library of today still sends them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Findings, under};
use crate::scenario::certificates::Certificate;
use crate::scenario::net::{self, STRANGER};
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

const ALERT: u8 = 0x15;
const HANDSHAKE: u8 = 0x16;
const ECDHE_ECDSA_AES128_GCM: u16 = 0xc02b;
/// The pool gives a handshake ten seconds.
const LONGEST: Duration = Duration::from_secs(13);

/// Version, suites, and whether the pool should speak so.
const HELLOS: [(&str, u16, &[u16], bool); 13] = [
    ("SSL 3.0", 0x0300, &[0x000a, 0x002f], false),
    ("TLS 1.0", 0x0301, &[0xc009, 0xc00a, 0x002f, 0x0035], false),
    ("TLS 1.1", 0x0302, &[0xc009, 0xc00a, 0x002f, 0x0035], false),
    ("TLS 1.1 with a suite of 1.2", 0x0302, &[ECDHE_ECDSA_AES128_GCM], false),
    ("TLS 1.2, RSA key exchange, CBC", 0x0303, &[0x002f, 0x0035, 0x003c], false),
    ("TLS 1.2, RSA key exchange, GCM", 0x0303, &[0x009c, 0x009d], false),
    ("TLS 1.2, DHE", 0x0303, &[0x0033, 0x009e, 0x009f], false),
    ("TLS 1.2, ECDHE with CBC", 0x0303, &[0xc009, 0xc00a, 0xc013, 0xc023], false),
    ("TLS 1.2, 3DES", 0x0303, &[0x000a, 0xc008, 0xc012], false),
    ("TLS 1.2, RC4", 0x0303, &[0x0005, 0xc007, 0xc011], false),
    ("TLS 1.2, no encryption", 0x0303, &[0x0001, 0x0002, 0x003b, 0xc006], false),
    ("TLS 1.2, anonymous", 0x0303, &[0x0034, 0x00a6, 0xc018], false),
    ("TLS 1.2, ECDHE with GCM", 0x0303, &[ECDHE_ECDSA_AES128_GCM], true),
];

fn with_tls(dir: &std::path::Path) -> Result<impl FnOnce(Setup) -> Setup + use<>> {
    let served = Certificate::write(dir, "served", false)?;
    Ok(move |setup: Setup| {
        setup
            .text("stratum.tls_listen", "127.0.0.1:0")
            .path("stratum.tls_cert_path", &served.file)
            .path("stratum.tls_key_path", &served.key)
    })
}

pub(super) async fn weak(stage: &mut Stage) -> Result<()> {
    let adapt = with_tls(stage.dir())?;
    under(stage, adapt, |target| async move {
        let tls = target.tls.context("no TLS port")?;
        let mut findings = Findings::default();
        for (what, version, suites, good) in HELLOS {
            let answer = say(tls, &hello(version, suites), Duration::from_secs(5)).await?;
            let (refused, said) = match answer.as_deref() {
                Some([HANDSHAKE, ..]) => (false, "accepted".to_owned()),
                Some([ALERT, _, _, _, _, level, code, ..]) => (true, format!("refused with alert {level}/{code}")),
                Some([]) => (true, "dropped".to_owned()),
                Some(other) => (false, format!("answered with {:02x?}", &other[..other.len().min(8)])),
                None => (false, "left waiting".to_owned()),
            };
            let passed = refused != good && (refused || said == "accepted");
            findings.check(passed, format!("{what} is {said}"));
        }
        Ok(findings)
    })
    .await
}

pub(super) async fn garbage(stage: &mut Stage) -> Result<()> {
    let adapt = with_tls(stage.dir())?;
    under(stage, adapt, |target| async move {
        let tls = target.tls.context("no TLS port")?;
        let good = hello(0x0303, &[ECDHE_ECDSA_AES128_GCM]);
        let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut oversized = good.clone();
        oversized[3..5].copy_from_slice(&[0xff, 0xff]);
        oversized.extend(vec![0; 70_000]);
        let mut long_handshake = good.clone();
        long_handshake[6..9].copy_from_slice(&[0xff, 0xff, 0xff]);
        let cases: [(&str, Vec<u8>); 9] = [
            ("noise", noise),
            ("a line of Stratum", b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n".to_vec()),
            ("HTTP", b"GET / HTTP/1.1\r\nHost: pool\r\n\r\n".to_vec()),
            ("a record longer than any", oversized),
            ("a handshake message of 16 MiB", long_handshake),
            ("an alert", vec![ALERT, 3, 3, 0, 2, 2, 40]),
            ("application data first", vec![0x17, 3, 3, 0, 4, 1, 2, 3, 4]),
            ("half a hello", good[..good.len() / 2].to_vec()),
            ("nothing", Vec::new()),
        ];
        let mut findings = Findings::default();
        let mut talks = tokio::task::JoinSet::new();
        for (what, bytes) in cases {
            // Several of each, so that one place for handshakes after the other would be taken if they were kept.
            for _ in 0..3 {
                let bytes = bytes.clone();
                talks.spawn(async move { (what, say_and_wait(tls, &bytes).await) });
            }
        }
        let ends = talks.join_all().await;
        let all = ends.len();
        let mut wrong = Vec::new();
        for (what, ended) in ends {
            if !ended? {
                wrong.push(what.to_owned());
            }
        }
        findings.cases(all, &wrong, "connections that do not shake hands are dropped within 13 s");
        let answer = say(tls, &good, Duration::from_secs(5)).await?;
        findings.check(
            answer.is_some_and(|bytes| bytes.first() == Some(&HANDSHAKE)),
            "a good hello is answered after that",
        );
        Ok(findings)
    })
    .await
}

/// Sends a hello; gives the answer's first bytes, none at its end, `None` while nothing comes.
async fn say(tls: SocketAddr, bytes: &[u8], within: Duration) -> Result<Option<Vec<u8>>> {
    let mut stream = net::connect(tls, STRANGER).await?;
    stream.write_all(bytes).await?;
    let mut answer = vec![0; 512];
    match timeout(within, stream.read(&mut answer)).await {
        Err(_) => Ok(None),
        Ok(length) => {
            answer.truncate(length.unwrap_or(0));
            Ok(Some(answer))
        }
    }
}

/// Whether the pool ends what begins like this.
async fn say_and_wait(tls: SocketAddr, bytes: &[u8]) -> Result<bool> {
    let mut stream = net::connect(tls, STRANGER).await?;
    // It may be ended before all is written.
    let _ = stream.write_all(bytes).await;
    let mut rest = Vec::new();
    Ok(timeout(LONGEST, stream.read_to_end(&mut rest)).await.is_ok())
}

/// A client hello of this version with these suites, in one record.
fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let prefixed = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let extension = |kind: u16, bytes: &[u8]| [&kind.to_be_bytes()[..], &prefixed(bytes)].concat();
    let groups = prefixed(&[0x00, 0x1d, 0x00, 0x17, 0x00, 0x18]);
    let signatures = prefixed(&[0x04, 0x03, 0x05, 0x03, 0x08, 0x04, 0x04, 0x01, 0x02, 0x01, 0x02, 0x03]);
    let extensions =
        [extension(10, &groups), extension(11, &[1, 0]), extension(13, &signatures), extension(23, &[])].concat();
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let body = [
        &version.to_be_bytes()[..],
        &[0x5a; 32],
        // No session, these suites, no compression.
        &[0],
        &prefixed(&suites),
        &[1, 0],
        &prefixed(&extensions),
    ]
    .concat();
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    // A record's own version is that of the oldest which could be spoken.
    let record = version.min(0x0301).to_be_bytes();
    [&[HANDSHAKE][..], &record, &prefixed(&message)].concat()
}
