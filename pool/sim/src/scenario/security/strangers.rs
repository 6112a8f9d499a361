//! Other protocols on the miners' port: told apart by their first bytes, and shown the door.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::{Findings, under};
use crate::scenario::net::STRANGER;
use crate::scenario::raw::{Heard, PATIENCE, Raw};
use crate::scenario::stage::Stage;

/// A PROXY header of version 2 that claims to speak for 192.0.2.7.
const PROXY_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xc0\x01\x0d\x05";

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup,
        |target| async move {
            let mut findings = Findings::default();
            let ping = b"{\"id\":1,\"method\":\"mining.ping\",\"params\":[]}\n";
            let dropped: [(&str, Vec<u8>); 6] = [
                ("a PROXY header of version 2 from a stranger", [PROXY_2, ping].concat()),
                ("a PROXY header of version 1", [&b"PROXY TCP4 192.0.2.7 10.0.0.1 49153 3333\r\n"[..], ping].concat()),
                ("a TLS hello", [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[0; 194]].concat()),
                ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n\n\n\nx\nx\nx\nx\nx\n".to_vec()),
                ("Stratum V2's first message", [&[0x80; 64][..], b"\n\n"].concat().repeat(5)),
                ("SMTP", b"EHLO example.org\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nQUIT\r\n".to_vec()),
            ];
            for (what, bytes) in dropped {
                let mut raw = Raw::connect(target.plain, STRANGER).await?;
                raw.send(&bytes).await;
                let closed = raw.closes(PATIENCE).await;
                findings.check(closed, format!("{what} is dropped"));
            }
            for verb in ["GET", "POST", "HEAD", "PUT", "OPTIONS"] {
                let mut raw = Raw::connect(target.plain, STRANGER).await?;
                raw.send(format!("{verb} / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await;
                let told = matches!(raw.hear(PATIENCE).await, Heard::Line(line) if line.starts_with("HTTP/1.1 400"));
                let closed = raw.closes(PATIENCE).await;
                findings.check(told && closed, format!("HTTP {verb} is answered with 400 and closed"));
            }
            let (trusted, named) = behind_proxy(target).await?;
            findings.check(trusted, "a header claimed by a stranger gives no other address");
            findings.check(named, "a miner is let in as ever");
            Ok(findings)
        },
    )
    .await
}

/// Whether the claimed address is nowhere believed, and whether an honest connection from here works.
async fn behind_proxy(target: super::Target) -> Result<(bool, bool)> {
    let mut raw = Raw::connect(target.plain, Ipv4Addr::LOCALHOST).await?;
    raw.send(PROXY_2).await;
    let closed = raw.closes(Duration::from_secs(5)).await;
    let mut raw = Raw::connect(target.plain, Ipv4Addr::LOCALHOST).await?;
    Ok((closed, raw.is_alive().await))
}
