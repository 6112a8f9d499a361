//! The clock against servers on loopback, honest, lying, refusing and silent ones.

use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;

/// From 1900 to 1970, seconds.
const NTP_EPOCH: f64 = 2_208_988_800.0;

#[derive(Clone, Copy)]
enum Kind {
    /// Its clock is ahead of ours by so many seconds.
    Ahead(f64),
    /// Says that it does not know the time itself.
    Unsynchronised,
    /// Answers with another's question in it: an off-path attacker.
    Spoofing,
    /// "Stop asking" (kiss of death, RATE).
    Refusing,
    Silent,
    Short,
}

/// A server on a port of its own, for as long as the test runs.
fn server(kind: Kind) -> NtpServer {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("bound").port();
    thread::spawn(move || {
        let mut question = [0; 128];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            if let Some(answer) = answer(kind, &question[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    format!("127.0.0.1:{port}").parse().expect("an address")
}

fn answer(kind: Kind, question: &[u8]) -> Option<Vec<u8>> {
    let mut packet = vec![0; 48];
    // No warning, version 4, server; stratum 2.
    packet[0] = 0b00_100_100;
    packet[1] = 2;
    packet[12..16].copy_from_slice(&[127, 0, 0, 1]);
    packet[24..32].copy_from_slice(&question[40..48]);
    let mut ahead = 0.0;
    match kind {
        Kind::Ahead(seconds) => ahead = seconds,
        Kind::Unsynchronised => packet[0] = 0b11_100_100,
        Kind::Spoofing => packet[24] ^= 0x55,
        Kind::Refusing => {
            packet[1] = 0;
            packet[12..16].copy_from_slice(b"RATE");
        }
        Kind::Silent => return None,
        Kind::Short => return Some(vec![0x24; 20]),
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() + ahead + NTP_EPOCH;
    let stamp = ((now * 4_294_967_296.0) as u128) as u64;
    for at in [16, 32, 40] {
        packet[at..at + 8].copy_from_slice(&stamp.to_be_bytes());
    }
    Some(packet)
}

fn config(kinds: &[Kind]) -> Config {
    Config {
        servers: kinds.iter().map(|kind| server(*kind)).collect(),
        not_before: 1_750_000_000,
        timing: Timing {
            patience: Duration::from_millis(600),
            first_retry: Duration::from_millis(20),
            last_retry: Duration::from_millis(80),
            interval: Duration::from_hours(1),
        },
    }
}

#[test]
fn honest_servers_are_believed_against_a_minority_of_others() {
    let cases: [&[Kind]; 4] = [
        &[Kind::Ahead(42.0)],
        &[Kind::Ahead(42.0), Kind::Ahead(42.02), Kind::Ahead(-5000.0)],
        &[Kind::Ahead(42.0), Kind::Silent, Kind::Spoofing, Kind::Unsynchronised, Kind::Refusing, Kind::Short],
        // Before the build: not even counted.
        &[Kind::Ahead(42.0), Kind::Ahead(-1e9)],
    ];
    for kinds in cases {
        let found = round(&config(kinds)).expect("is believed");
        assert!((found.offset - 42.0).abs() < 0.2, "{found:?}");
    }
}

#[test]
fn without_an_answer_that_can_be_believed_the_reason_is_told() {
    let cases: [(&[Kind], &str); 5] = [
        (&[Kind::Silent], "no time server answers"),
        (&[Kind::Ahead(0.0), Kind::Ahead(900.0)], "no more than 1 agree"),
        (&[Kind::Ahead(-1e9)], "cannot be"),
        (&[Kind::Refusing], "Kiss"),
        (&[Kind::Unsynchronised, Kind::Short], "not synchronized"),
    ];
    for (kinds, said) in cases {
        let why = round(&config(kinds)).expect_err("nobody is believed");
        assert!(why.contains(said), "{why}");
    }
}

#[test]
fn it_asks_again_after_longer_and_longer_pauses_and_stops_when_told() {
    let config = config(&[Kind::Refusing]);
    let (stop, stopped) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let asking = thread::spawn(move || serve(&config, &stopped, |event| tell.send(event).expect("is heard")));
    for _ in 0..4 {
        let event = told.recv_timeout(Duration::from_secs(10)).expect("is told");
        assert!(matches!(event, Event::Failed { .. }), "{event:?}");
    }
    stop.send(()).expect("is heard");
    asking.join().expect("ends");
}

#[test]
fn a_success_is_told_with_the_number_of_those_that_agreed() {
    let config = config(&[Kind::Ahead(3.0), Kind::Ahead(3.0), Kind::Ahead(90.0)]);
    let (stop, stopped) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let asking = thread::spawn(move || serve(&config, &stopped, |event| tell.send(event).expect("is heard")));
    let event = told.recv_timeout(Duration::from_secs(10)).expect("is told");
    let Event::Offset { microseconds, agreeing: 2, answers: 3 } = event else { panic!("{event:?}") };
    assert!((microseconds - 3_000_000).abs() < 200_000, "{microseconds}");
    drop(stop);
    asking.join().expect("ends when nobody is left to stop it");
}
