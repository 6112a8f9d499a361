//! `wpa_supplicant`: its configuration, and its word on whether it is connected.

use std::fmt::Write;
use std::num::NonZeroU32;
#[cfg(target_os = "linux")]
use std::path::Path;
#[cfg(target_os = "linux")]
use std::time::Duration;

use ring::pbkdf2;

use crate::Wifi;
use crate::plan::RUN;

/// The content of `wpa_supplicant.conf`. Name and password are written in hexadecimal: its parser takes quotation marks
/// and `#` inside a password for its own.
pub fn configuration(wifi: &Wifi) -> String {
    let mut lines = vec![
        // The control socket: "GROUP=" is left out, so that only the user it runs as and root can speak to it.
        format!("ctrl_interface=DIR={RUN}/wpa"),
        "update_config=0".to_owned(),
        format!("country={}", wifi.country.as_str()),
        "network={".to_owned(),
        format!("\tssid={}", hex(wifi.ssid.as_str().as_bytes())),
    ];
    if wifi.hidden {
        lines.push("\tscan_ssid=1".to_owned());
    }
    match &wifi.passphrase {
        None => lines.push("\tkey_mgmt=NONE".to_owned()),
        Some(key) if key.is_key() => {
            lines.push("\tkey_mgmt=WPA-PSK WPA-PSK-SHA256".to_owned());
            lines.push(format!("\tpsk={}", key.reveal()));
        }
        Some(passphrase) => {
            // WPA3 where the router has it, and protected frames where it offers them.
            lines.push("\tkey_mgmt=WPA-PSK WPA-PSK-SHA256 SAE".to_owned());
            lines.push("\tieee80211w=1".to_owned());
            lines.push(format!("\tpsk={}", hex(&key_of(passphrase.reveal(), wifi.ssid.as_str()))));
            lines.push(format!("\tsae_password={}", hex(passphrase.reveal().as_bytes())));
        }
    }
    lines.push("}\n".to_owned());
    lines.join("\n")
}

/// The key that WPA2 makes of a passphrase and the network's name (IEEE 802.11, J.4.1).
fn key_of(passphrase: &str, ssid: &str) -> [u8; 32] {
    let mut key = [0; 32];
    let rounds = NonZeroU32::new(4096).expect("is not zero");
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, rounds, ssid.as_bytes(), passphrase.as_bytes(), &mut key);
    key
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What `wpa_supplicant` says of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// It has joined a network and may send.
    pub connected: bool,
    /// The network's name; bytes that are no UTF-8 are replaced.
    pub ssid: Option<String>,
}

/// Reads an answer to the question `STATUS`.
pub fn parse_status(answer: &str) -> Status {
    let mut status = Status::default();
    for (key, value) in answer.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "wpa_state" => status.connected = value == "COMPLETED",
            "ssid" => status.ssid = Some(unescaped(value)),
            _ => {}
        }
    }
    status
}

/// Takes back its escaping of names (`printf_encode` there).
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b'r') => bytes.push(b'\r'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'e') => bytes.push(0x1b),
            Some(b'x') => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|it| char::from(it).to_digit(16)));
                if let [Some(high), Some(low)] = digits {
                    bytes.push((high * 16 + low) as u8);
                }
            }
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Asks the `wpa_supplicant` of an interface. `None` when none answers.
#[cfg(target_os = "linux")]
pub fn status(interface: &str) -> Option<Status> {
    status_at(&Path::new(RUN).join("wpa").join(interface))
}

#[cfg(target_os = "linux")]
fn status_at(socket: &Path) -> Option<Status> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::sync::atomic::{AtomicU32, Ordering};

    static ASKED: AtomicU32 = AtomicU32::new(0);
    // An abstract name: a file of root's would not be writable for the other side's user.
    let count = ASKED.fetch_add(1, Ordering::Relaxed);
    let name = format!("warppool-wpa-{}-{count}", std::process::id());
    let here = SocketAddr::from_abstract_name(name).ok()?;
    let link = UnixDatagram::bind_addr(&here).ok()?;
    link.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    link.set_write_timeout(Some(Duration::from_millis(500))).ok()?;
    link.connect(socket).ok()?;
    link.send(b"STATUS").ok()?;
    let mut answer = [0; 4096];
    let length = link.recv(&mut answer).ok()?;
    Some(parse_status(&String::from_utf8_lossy(&answer[..length])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Addressing;

    fn wifi(ssid: &str, passphrase: Option<&str>) -> Wifi {
        Wifi {
            ssid: ssid.parse().expect("a name"),
            passphrase: passphrase.map(|it| it.parse().expect("a password")),
            country: "DE".parse().expect("a country"),
            hidden: true,
            addressing: Addressing::default(),
        }
    }

    #[test]
    fn a_network_is_written_as_wpa_supplicant_reads_it() {
        // Name, password and key are the example of IEEE 802.11, J.4.2.
        let text = configuration(&wifi("IEEE", Some("password")));
        let want = "ctrl_interface=DIR=/run/warppool/net/wpa\nupdate_config=0\ncountry=DE\nnetwork={\n\
                    \tssid=49454545\n\tscan_ssid=1\n\tkey_mgmt=WPA-PSK WPA-PSK-SHA256 SAE\n\tieee80211w=1\n\
                    \tpsk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e\n\
                    \tsae_password=70617373776f7264\n}\n";
        assert_eq!(text, want);
    }

    #[test]
    fn an_open_network_and_a_key_are_written_without_quotation_marks() {
        assert!(configuration(&wifi("Cafe", None)).contains("\tkey_mgmt=NONE\n"));
        let key = "0123456789abcdef".repeat(4);
        assert!(configuration(&wifi("Home", Some(&key))).contains(&format!("\tpsk={key}\n")));
    }

    #[test]
    fn a_status_tells_whether_it_is_connected_and_to_what() {
        let cases = [
            ("bssid=02:00:00:00:00:01\nssid=M\\xc3\\xbcller\\\\1\nwpa_state=COMPLETED\n", true, Some("M\u{fc}ller\\1")),
            ("wpa_state=SCANNING\naddress=02:00:00:00:00:00\n", false, None),
            ("FAIL\n", false, None),
            ("ssid=\\x4\nwpa_state=COMPLETED", true, Some("")),
        ];
        for (answer, connected, ssid) in cases {
            assert_eq!(parse_status(answer), Status { connected, ssid: ssid.map(str::to_owned) }, "{answer}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_control_socket_is_asked_and_its_answer_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wlan0");
        assert_eq!(status_at(&path), None, "nobody is there");
        let other = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
        let answering = std::thread::spawn(move || {
            let mut question = [0; 64];
            let (length, from) = other.recv_from(&mut question).expect("is asked");
            other.send_to_addr(b"ssid=Home\nwpa_state=COMPLETED\n", &from).expect("answers");
            question[..length].to_vec()
        });
        let status = status_at(&path).expect("is answered");
        assert_eq!(status, Status { connected: true, ssid: Some("Home".into()) });
        assert_eq!(answering.join().expect("was asked"), b"STATUS");
    }

    proptest! {
        #[test]
        fn no_name_or_password_adds_a_line(ssid in "\\PC{1,8}", passphrase in "[ -~]{8,63}") {
            let plain = configuration(&wifi("x", Some("12345678"))).lines().count();
            prop_assert_eq!(configuration(&wifi(&ssid, Some(&passphrase))).lines().count(), plain);
        }
    }
}
