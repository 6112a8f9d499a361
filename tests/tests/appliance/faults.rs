//! What goes wrong inside the appliance, and what it makes of it.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use warppool_machine::End;
use warppool_ota::Layout;

use crate::guest::{BOOT, Guest, MOMENT, setup};
use crate::kit::{FIRST, Kit};

/// Prints the pool's process id.
const POOL: &str = "for p in /proc/[0-9]*; do grep -q pool.--config $p/cmdline 2>/dev/null && basename $p; done; true";

fn overwrite(disk: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(disk).expect("the disk");
    file.seek(SeekFrom::Start(at)).expect("a file");
    file.write_all(bytes).expect("there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_the_watchdog_bites_a_first_process_that_stalls() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::off(setup(&kit.image()).argument("warppool.fault=hang:3")).await;
    guest.hand_over();
    guest.power_on();
    guest.wait("fault: the main loop stalls now", BOOT);
    assert_eq!(guest.ends(MOMENT), End::Watchdog);
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_a_pool_that_dies_at_once_ends_in_safe_mode_and_mines() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::mining(&kit).await;
    guest.mine().await;
    // The last configuration that worked is kept after a minute of health.
    guest.wait("pool: its configuration works; kept", 2 * MOMENT);
    guest.run(&format!("echo 'this is no configuration' > /data/pool/config.toml; kill $({POOL})"));
    guest.wait("pool: safe mode", 2 * MOMENT);
    guest.mine().await;
    assert!(guest.run("warppool ota status").contains("safe mode"));
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_a_panic_of_the_first_process_keeps_the_pool_running() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::off(setup(&kit.image()).argument("warppool.fault=stumble:25")).await;
    guest.hand_over();
    guest.power_on();
    guest.healthy();
    let before = guest.run(POOL);
    guest.wait("(again, after a panic)", BOOT);
    guest.mine().await;
    assert_eq!(guest.run(POOL), before, "the pool was started again");
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_a_damaged_first_partition_is_repaired_from_the_copy() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::mining(&kit).await;
    guest.power_off();
    let p1 = Layout::default().boot.bytes();
    let noise: Vec<u8> = (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    overwrite(guest.machine.disk(), p1.start, &noise);
    let boot = guest.power_on();
    assert_eq!(boot.partition, 2, "the loader falls back to the first slot");
    guest.wait("autoboot.txt", BOOT);
    guest.healthy();
    guest.power_off();
    assert_eq!(guest.power_on().partition, 2);
    guest.wait(&format!("version {FIRST} slot A"), BOOT);
    guest.healthy();
    guest.mine().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_a_data_partition_that_cannot_be_used_is_told_and_a_blank_one_is_formatted() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::mining(&kit).await;
    guest.power_off();
    let start = Layout::default().data.bytes().start;
    let noise: Vec<u8> = (0..8 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    // A damaged beginning is repaired from a copy of the superblock; damaged copies leave nothing to go by.
    overwrite(guest.machine.disk(), start, &noise);
    for copy in [1, 3, 5, 7, 9] {
        overwrite(guest.machine.disk(), start + copy * (128 << 20), &noise[..4096]);
    }
    guest.power_on();
    guest.wait("data: in memory", BOOT);
    assert!(guest.run("warppool ota status").contains("factory reset"), "the remedy is told");
    guest.power_off();
    overwrite(guest.machine.disk(), start, &vec![0; 8 << 20]);
    guest.hand_over();
    guest.power_on();
    guest.wait("is blank; making a file system", BOOT);
    guest.healthy();
    guest.mine().await;
}

/// A file manager that looked at the card, and wrote its own files there.
#[tokio::test(flavor = "multi_thread")]
async fn qemu_files_of_another_system_in_the_slots_do_no_harm() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::mining(&kit).await;
    guest.power_off();
    let layout = Layout::default();
    for start in [layout.boot.bytes().start, layout.slot_a.bytes().start] {
        let partition = format!("{}@@{start}", guest.machine.disk().display());
        for command in [["mmd", "::System Volume Information"], ["mmd", "::.Trashes"]] {
            let done = std::process::Command::new(command[0]).args(["-i", &partition, command[1]]).status();
            assert!(done.expect("mtools is installed").success());
        }
    }
    guest.power_on();
    guest.healthy();
    assert!(guest.run("warppool ota verify").contains("sound"));
    guest.mine().await;
}
