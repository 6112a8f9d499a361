//! Updates: one that is good, and all the ways in which one is not.

use std::path::Path;
use std::time::{Duration, Instant};

use warppool_machine::End;
use warppool_ota::PrivateKey;

use crate::guest::{BOOT, Guest, from};
use crate::kit::{FIRST, Kit, Variant};
use crate::server::Server;

/// Writing a slot and reading it back.
const INSTALL: Duration = Duration::from_mins(3);

impl Guest {
    /// Installs from a URL until the machine resets for the trial.
    pub fn install(&mut self, url: &str) {
        self.machine.type_line(&format!("warppool ota install {url}")).expect("the machine is on");
        assert_eq!(self.ends(INSTALL), End::Reset);
    }

    /// Tries to install; gives why not.
    pub fn refused(&mut self, url: &str) -> String {
        let (said, installed) = self.shell(&format!("warppool ota install {url}"), INSTALL);
        assert!(!installed, "{url} was installed: {said}");
        said
    }
}

fn name(bundle: &Path) -> String {
    bundle.file_name().expect("a file").to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_a_good_update_is_tried_and_committed() {
    let Some(kit) = Kit::find() else { return };
    let bundle = kit.bundle(&Variant::of("0.1.1"));
    let server = Server::start(kit.folder());
    let mut guest = Guest::mining(&kit).await;
    guest.mine().await;
    guest.install(&server.url(&name(&bundle)));
    let size = std::fs::metadata(&bundle).expect("made").len();
    let fetched = server.given();
    println!("a release of the pool alone: {fetched} of {size} bytes fetched, {} %", fetched * 100 / size);
    assert!(fetched * 2 <= size, "{fetched} of {size} bytes were fetched");

    let trial = guest.power_on();
    assert_eq!(from(&trial), (3, true));
    guest.wait("gate: committed slot B", BOOT);
    guest.mine().await;
    guest.machine.cut_power();

    let boot = guest.power_on();
    assert_eq!(from(&boot), (3, false));
    guest.wait("version 0.1.1 slot B", BOOT);
    guest.healthy();
    guest.mine().await;
    guest.has_lost_no_block().await;

    // And the next one goes into slot A.
    let next = kit.bundle(&Variant::of("0.1.2"));
    guest.install(&server.url(&name(&next)));
    assert_eq!(guest.power_on().partition, 2);
    guest.wait("gate: committed slot A", BOOT);
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_a_trial_that_panics_hangs_or_fails_the_gate_gives_way_to_the_old_version() {
    let Some(kit) = Kit::find() else { return };
    let server = Server::start(kit.folder());
    let mut guest = Guest::mining(&kit).await;
    for (version, fault, end) in [
        ("0.2.0", "warppool.fault=panic:2", End::Reset),
        ("0.2.1", "warppool.fault=hang:2", End::Watchdog),
        ("0.2.2", "warppool.fault=gate", End::Reset),
    ] {
        let bundle = kit.bundle(&Variant::with(version, &[fault, "warppool.gate-limit=20"]));
        guest.install(&server.url(&name(&bundle)));
        assert_eq!(from(&guest.power_on()), (3, true), "{fault}: no trial");
        guest.wait(&format!("version {version}"), BOOT);
        let hung = (end == End::Watchdog).then(|| {
            guest.wait("fault: the main loop stalls now", BOOT);
            Instant::now()
        });
        assert_eq!(guest.ends(BOOT), end, "{fault}");
        let back = guest.power_on();
        assert_eq!(from(&back), (2, false), "{fault}");
        guest.wait(&format!("version {FIRST} slot A"), BOOT);
        if let Some(hung) = hung {
            println!(
                "a hung trial: {:.1} s from the hang to the old version's first process",
                hung.elapsed().as_secs_f64()
            );
            assert!(hung.elapsed() < Duration::from_secs(30), "back after {:?}", hung.elapsed());
        }
        guest.healthy();
        guest.mine().await;
        let status = guest.run("warppool ota status");
        assert!(status.contains(version) && status.contains("trial"), "{fault} is not told: {status}");
    }
    guest.has_lost_no_block().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_what_is_no_update_for_this_device_is_refused_and_changes_nothing() {
    let Some(kit) = Kit::find() else { return };
    let server = Server::start(kit.folder());
    let good = std::fs::read(kit.bundle(&Variant::of("0.1.1"))).expect("made");
    let write = |name: &str, bytes: &[u8]| std::fs::write(kit.folder().join(name), bytes).expect("there is room");
    write("truncated.bundle", &good[..good.len() / 2]);
    let mut flipped = good.clone();
    flipped[good.len() * 3 / 4] ^= 1;
    write("flipped.bundle", &flipped);
    let mut header = good.clone();
    header[100] ^= 1;
    write("header.bundle", &header);
    write("text.bundle", b"this is no bundle");
    let stranger = Variant { key: Some(PrivateKey::generate()), ..Variant::of("0.1.3") };
    let stranger = name(&kit.bundle(&stranger));
    let older = name(&kit.bundle(&Variant::of("0.0.9")));

    let mut guest = Guest::mining(&kit).await;
    for (bundle, said) in [
        ("truncated.bundle", "cut"),
        ("flipped.bundle", "damaged"),
        ("header.bundle", "signature"),
        ("text.bundle", "bundle"),
        (stranger.as_str(), "key"),
        ("missing.bundle", "404"),
    ] {
        let why = guest.refused(&server.url(bundle));
        assert!(why.to_lowercase().contains(said), "{bundle}: {why}");
    }
    // An older version is for somebody who stands beside the device.
    guest.machine.type_line(&format!("warppool ota install {}", server.url(&older))).expect("the machine is on");
    guest.wait("led: waiting for confirmation", INSTALL);
    guest.mine().await;
    guest.machine.cut_power();
    let boot = guest.power_on();
    assert_eq!(from(&boot), (2, false));
    guest.healthy();
    guest.mine().await;
    guest.has_lost_no_block().await;
}
