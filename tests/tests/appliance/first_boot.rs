//! From a freshly written disk to a miner having its share accepted, and back after it.

use warppool_firmware::Medium;
use warppool_machine::{Attached, Bus, Machine};

use crate::guest::{BOOT, Guest, MOMENT, firmware, get, put, setup};
use crate::kit::{FIRST, Kit};

#[tokio::test(flavor = "multi_thread")]
async fn qemu_a_fresh_disk_boots_into_a_pool_that_mines() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::mining(&kit).await;
    guest.wait(&format!("version {FIRST} slot A"), MOMENT);
    guest.mine().await;

    // The data partition fills the disk, the pool is nobody, and nothing but the miners' port is open to the outside.
    let size = guest.run("df -m /data | tail -1 | awk '{print $2}'");
    assert!(size.trim().parse::<u64>().expect("a number") > 1200, "the data partition has {size} MiB of 2048");
    let pool = guest.run(
        "for p in /proc/[0-9]*; do grep -q pool.--config $p/cmdline 2>/dev/null && grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' $p/status; done; true",
    );
    for line in ["Uid:\t100\t100\t100\t100", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(pool.contains(line), "{line} is missing: {pool}");
    }
    let listening = guest.run("netstat -ltn | awk 'NR > 2 {print $4}'");
    for line in listening.lines() {
        assert!(line.ends_with(":3333") || line.starts_with("127.0.0.1:"), "open to the outside: {listening}");
    }
    let (touch, writable) = guest.shell("touch /etc/x", MOMENT);
    assert!(!writable, "the root can be written: {touch}");
    assert!(guest.run("warppool ota verify").contains("sound"));

    guest.power_off();
    let disk = guest.machine.disk().to_owned();
    assert!(get(&disk, "warppool.toml").is_none(), "the file with the password is still there");
    let result = get(&disk, "WARPPOOL-RESULT.txt").expect("the owner is told");
    assert!(result.contains("taken over"), "{result}");
    let bytes = std::fs::read(&disk).expect("the disk");
    let password = crate::guest::handed_over(&guest.node);
    let password = password.split("password = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("handed over");
    let layout = warppool_ota::Layout::default();
    let handover = &bytes[layout.handover.bytes().start as usize..layout.handover.bytes().end as usize];
    assert!(
        !handover.windows(password.len()).any(|window| window == password.as_bytes()),
        "the password can still be read on the hand-over partition"
    );

    // The second boot has everything it needs.
    guest.power_on();
    guest.healthy();
    guest.mine().await;
    guest.has_lost_no_block().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_without_a_hand_over_file_it_asks_for_set_up_and_takes_one_later() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::off(setup(&kit.image())).await;
    guest.power_on();
    guest.wait("led: needs set-up", BOOT);
    guest.power_off();
    put(guest.machine.disk(), "warppool.toml", "[node]\nurl = \"http://10.0.2.2:8332\"\nuser = 7\n");
    guest.power_on();
    guest.wait("led: fault", BOOT);
    guest.power_off();
    let result = get(guest.machine.disk(), "WARPPOOL-RESULT.txt").expect("the owner is told");
    assert!(result.contains("line 3") && result.contains("user"), "{result}");
    guest.hand_over();
    guest.power_on();
    guest.healthy();
    guest.mine().await;
}

/// As a Pi with an SD card, and with another flashed disk plugged in.
#[tokio::test(flavor = "multi_thread")]
async fn qemu_the_disk_that_was_booted_from_is_used_though_another_has_the_same_labels() {
    let Some(kit) = Kit::find() else { return };
    let other = kit.folder().join("other.img");
    std::fs::copy(kit.image(), &other).expect("there is room");
    let before = std::fs::read(&other).expect("the disk");
    let stick = Attached { disk: other.clone(), bus: Bus::Usb, first: true };
    let mut guest = Guest::off(setup(&kit.image()).attach(stick)).await;
    guest.machine = Machine::new(
        setup(&kit.image()).attach(Attached { disk: other.clone(), bus: Bus::Usb, first: true }),
        firmware(Medium::SdCard),
    )
    .expect("the machine is put together");
    guest.hand_over();
    guest.power_on();
    guest.wait("data: mounted /dev/mmcblk0p6", BOOT);
    guest.healthy();
    guest.mine().await;
    guest.power_off();
    assert!(std::fs::read(&other).expect("the disk") == before, "the other disk was written to");
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_the_power_key_ends_everything_in_order() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::mining(&kit).await;
    guest.mine().await;
    guest.power_off();
    let lines = guest.machine.console().lines();
    let at = |text: &str| {
        lines.iter().position(|line| line.text.contains(text)).unwrap_or_else(|| panic!("never said: {text}"))
    };
    assert!(at("shutdown: stopping the pool") < at("shutdown: stopping everything else"));
    guest.power_on();
    guest.healthy();
    assert!(guest.machine.console().find("damaged").is_none(), "the data partition was not put away");
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_a_factory_reset_forgets_the_settings() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::mining(&kit).await;
    guest.mine().await;
    guest.power_off();
    put(guest.machine.disk(), "reset.txt", "");
    guest.power_on();
    guest.machine.wait_over_resets("led: needs set-up", 2, BOOT).unwrap_or_else(|why| panic!("{why}"));
    assert!(guest.run("ls /data/pool").contains("config.toml"));
    let (_, kept) = guest.shell("grep -q 10.0.2.2 /data/pool/config.toml", MOMENT);
    assert!(!kept, "the node survived the reset");
    guest.power_off();
    guest.hand_over();
    guest.power_on();
    guest.healthy();
    guest.mine().await;
}
