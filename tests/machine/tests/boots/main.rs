//! The harness with a real kernel and a root of one script, which does what is typed on its console.
//!
//! Needs QEMU, the folder of an unpacked Debian `linux-image-*-arm64` in `$MACHINE_KERNEL` and a static arm64 `BusyBox` in
//! `$MACHINE_BUSYBOX`; says NOT RUN without them.

#![allow(clippy::unwrap_used, reason = "this is a test as a whole")]

mod disk;
mod root;

use std::path::PathBuf;
use std::time::Duration;

use warppool_firmware::{Board, Eeprom, Firmware, Medium};
use warppool_machine::{Attached, Bus, End, Machine, Setup, Write, read_writes};

/// Emulation on a busy host is slow; a machine that does not come up fails all the same.
const LONG: Duration = Duration::from_secs(90);

const READY: &str = "init: ready";

/// A disk with two slots, or nothing where the parts are missing.
fn bench() -> Option<(tempfile::TempDir, PathBuf)> {
    let parts = [std::env::var_os("MACHINE_KERNEL"), std::env::var_os("MACHINE_BUSYBOX")];
    let [Some(kernel), Some(busybox)] = parts else {
        println!("NOT RUN: MACHINE_KERNEL and MACHINE_BUSYBOX are not set");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    let parts = root::parts(kernel.as_ref(), busybox.as_ref());
    disk::make(&disk, &parts);
    Some((folder, disk))
}

fn board(medium: Medium) -> Firmware {
    Firmware::new(Eeprom::current(), Board::Virt, medium)
}

/// Types a command and waits for the line it answers with.
#[track_caller]
fn answers(machine: &mut Machine, command: &str, answer: &str) {
    machine.console().wait_for(READY, LONG).unwrap();
    machine.type_line(command).unwrap();
    machine.console().wait_for(answer, LONG).unwrap();
}

#[test]
fn a_trial_armed_by_the_guest_boots_the_other_slot_once() {
    let Some((_folder, disk)) = bench() else { return };
    let setup = Setup::new(disk).forward(80).argument("extra=7");
    let mut machine = Machine::new(setup, board(Medium::Nvme)).unwrap();

    let boot = machine.power_on().unwrap();
    assert_eq!((boot.partition, boot.chosen.tryboot, boot.files), (2, 0, None));
    answers(&mut machine, "chosen", "chosen: boot-mode=00000006 partition=00000002 tryboot=00000000 count=00000001");
    machine.console().wait_for("slot=2 extra=7", LONG).unwrap();
    answers(&mut machine, "serve", "serve: listening");
    let answer = machine.ask(80, b"GET /name HTTP/1.0\r\n\r\n", LONG).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let address = machine.address(80).unwrap();
    assert!(machine.ask(81, b"", LONG).is_err(), "this port is not forwarded");

    answers(&mut machine, "arm", "arm: 1c000000 00000080 64800300 04000000 04000080 01000000 00000000");
    assert!(machine.firmware().armed());
    machine.type_line("reboot -f").unwrap();
    assert_eq!(machine.wait_end(LONG).unwrap(), End::Reset);

    assert_eq!(machine.power_on().unwrap().partition, 3);
    assert_eq!(machine.address(80).unwrap(), address, "clients find the guest again");
    answers(&mut machine, "chosen", "chosen: boot-mode=00000006 partition=00000003 tryboot=00000001 count=00000002");
    // A panic resets too, and the flag is used up.
    machine.type_line("panic").unwrap();
    machine.wait_over_resets("slot=2 extra=7", 1, LONG).unwrap();
    answers(&mut machine, "chosen", "chosen: boot-mode=00000006 partition=00000002 tryboot=00000000 count=00000003");
    assert_eq!(machine.console().count("init: ready"), 3);
}

#[test]
fn a_card_the_power_key_and_the_watchdog_work() {
    let Some((_folder, disk)) = bench() else { return };
    let mut machine = Machine::new(Setup::new(disk).without_network(), board(Medium::SdCard)).unwrap();

    machine.power_on().unwrap();
    answers(&mut machine, "chosen", "chosen: boot-mode=00000001 partition=00000002");
    answers(&mut machine, "ls /dev", "mmcblk0p3");
    // Nobody feeds it again: it bites after five seconds.
    answers(&mut machine, "watchdog -T 5 -t 60 /dev/watchdog", "init: done");
    assert_eq!(machine.wait_end(LONG).unwrap(), End::Watchdog);

    assert_eq!(machine.power_on().unwrap().chosen.count, Some(2));
    answers(&mut machine, "key", "key: waiting");
    machine.press_power().unwrap();
    assert_eq!(machine.wait_end(LONG).unwrap(), End::PowerOff);
    assert_eq!(machine.power_on().unwrap().chosen.count, Some(1), "power was off");
}

#[test]
fn a_cut_keeps_what_was_written_and_the_log_tells_it() {
    let Some((folder, disk)) = bench() else { return };
    let other = folder.path().join("other.img");
    std::fs::write(&other, vec![b'o'; 1 << 20]).unwrap();
    let log = folder.path().join("log");
    let attached = Attached { disk: other, bus: Bus::Nvme, first: true };
    let setup = Setup::new(&disk).on_a_copy().disk_size(300 << 20).attach(attached).record(&log);
    let mut machine = Machine::new(setup, board(Medium::Nvme)).unwrap();

    machine.power_on().unwrap();
    answers(&mut machine, "sizes", "sizes: 2 disks, one of 614400 sectors, one of 2048");
    // In the free space between table and first partition of the boot disk.
    answers(&mut machine, "mark", "mark: written");
    machine.type_line("arm").unwrap();
    machine.console().wait_for("arm: ", LONG).unwrap();
    assert!(machine.firmware().armed());
    machine.cut_power();
    assert!(!machine.firmware().armed() && machine.pid().is_none());

    let mut sector = [0; 512];
    let file = std::fs::File::open(machine.disk()).unwrap();
    warppool_firmware::Disk::read(&file, 512 * 1000, &mut sector).unwrap();
    assert_eq!(sector, [b'm'; 512]);
    let writes = read_writes(&folder.path().join("log.1")).unwrap();
    let marked = |write: &Write| match write {
        Write::Data { sector, data, .. } => (*sector..sector + data.len() as u64 / 512).contains(&1000),
        _ => false,
    };
    let at = writes.iter().position(marked).expect("the write is in the log");
    assert!(writes[at..].contains(&Write::Flush), "and flushed");

    let mut sector = [1; 512];
    warppool_firmware::Disk::read(&std::fs::File::open(&disk).unwrap(), 512 * 1000, &mut sector).unwrap();
    assert_eq!(sector, [0; 512], "the original is left alone");
    machine.power_on().unwrap();
    answers(&mut machine, "chosen", "tryboot=00000000 count=00000001");
}
