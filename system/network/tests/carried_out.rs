//! Plans and files in the hands of the programs they are meant for: `ip` of `BusyBox` and `wpa_supplicant`.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{Cable, Running, has, until};
use warppool_network::plan::{RUN, Step, plan};
use warppool_network::{Addressing, Hostname, Network, Static4, Static6, Wifi, supplicant};

#[test]
fn a_fixed_address_is_set_up_by_busybox_again_and_again() {
    if !Path::new("/bin/busybox").exists() {
        println!("NOT RUN: /bin/busybox is missing");
        return;
    }
    let Some(cable) = Cable::new() else { return };
    let ethernet = Addressing {
        v4: Static4::new("192.168.79.20/24".parse().expect("a network"), "192.168.79.1".parse().ok()).ok(),
        v6: Static6::new("fd79::20/64".parse().expect("a network"), "fe80::1".parse().ok()).ok(),
        dns: Vec::new(),
    };
    let network = Network { ethernet, wifi: None };
    let steps = plan(&network, &Hostname::default(), &["eth0".to_owned()]).remove(0).1;
    // PID 1 may have died after some of them: all of them can be done twice.
    for _ in 0..2 {
        for step in &steps {
            let Step::Run(command) = step else { continue };
            let output = cable.command(0, &command[0]).args(&command[1..]).output().expect("starts");
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let addresses = cable.says(0, "ip", &["addr", "show", "eth0"]);
    assert!(
        addresses.contains("192.168.79.20/24 brd 192.168.79.255") && addresses.contains("fd79::20/64"),
        "{addresses}"
    );
    let routes = cable.says(0, "ip", &["route"]) + &cable.says(0, "ip", &["-6", "route"]);
    for want in ["default via 192.168.79.1 dev eth0 metric 100", "default via fe80::1 dev eth0 metric 100"] {
        assert!(routes.contains(want), "{routes}");
    }
    assert_eq!(routes.matches("default").count(), 2, "{routes}");
}

#[test]
fn wpa_supplicant_reads_every_configuration() {
    if !has("wpa_supplicant") {
        println!("NOT RUN: wpa_supplicant (wpasupplicant) is missing");
        return;
    }
    let Some(cable) = Cable::new() else { return };
    let key = "0123456789abcdef".repeat(4);
    let cases = [
        ("Home", Some("correct horse")),
        ("M\u{fc}ller \"5G\"}#\n", Some("quote \" hash # brace } back\\slash")),
        ("Key", Some(key.as_str())),
        ("Open", None),
    ];
    for (ssid, passphrase) in cases {
        let wifi = Wifi {
            ssid: ssid.parse().expect("a name"),
            passphrase: passphrase.map(|it| it.parse().expect("a password")),
            country: "DE".parse().expect("a country"),
            hidden: false,
            addressing: Addressing::default(),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path().to_str().expect("is text");
        let file = folder.path().join("wpa.conf");
        fs::write(&file, supplicant::configuration(&wifi).replace(RUN, here)).expect("written");
        let log = folder.path().join("log");
        // There is no radio here; the driver for cables reads the same file.
        let mut command = cable.command(0, "wpa_supplicant");
        command.args(["-D", "wired", "-i", "eth0", "-c"]).arg(&file).arg("-f").arg(&log);
        let running = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"));
        let up = until(Duration::from_secs(10), || folder.path().join("wpa/eth0").exists());
        let said = fs::read_to_string(&log).unwrap_or_default();
        assert!(up && !said.contains("Line "), "{ssid}: {said}");
        drop(running);
    }
}
