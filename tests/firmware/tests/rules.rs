//! Every documented rule of the boot flow, on disks made for it.
//!
//! Facts are those of Raspberry Pi's documentation (named by section) and of the loader's release notes (named by day).

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use warppool_firmware::{
    Board, Boot, Eeprom, Firmware, Load, LostTryboot, Medium, Outcome, SET_REBOOT_FLAGS, Stuck, TRYBOOT, Unreadable,
    Zero, boot, request,
};

const MIB: usize = 1 << 20;
const A: &str = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n";
const CONFIG: &str = "kernel=kernel.img\ninitramfs base,pool followkernel\n";

/// A disk of `count` partitions of 4 MiB, each 1 MiB aligned.
struct Maker {
    disk: Vec<u8>,
}

impl Maker {
    fn new(count: usize) -> Self {
        let mut disk = vec![0; MIB + count * 4 * MIB];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let mut maker = Self { disk };
        for number in 1..=count {
            maker.entry(number, 0x0c, MIB + (number - 1) * 4 * MIB, 4 * MIB);
            maker.format(number, FatType::Fat16);
        }
        maker
    }

    fn entry(&mut self, number: usize, kind: u8, start: usize, length: usize) {
        let entry = &mut self.disk[446 + (number - 1) * 16..][..16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&((start / 512) as u32).to_le_bytes());
        entry[12..].copy_from_slice(&((length / 512) as u32).to_le_bytes());
    }

    fn range(&self, number: usize) -> std::ops::Range<usize> {
        let entry = &self.disk[446 + (number - 1) * 16..][..16];
        let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()) as usize * 512;
        word(8)..word(8) + word(12)
    }

    fn format(&mut self, number: usize, kind: FatType) {
        let range = self.range(number);
        let options = FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(512);
        format_volume(Cursor::new(&mut self.disk[range]), options).unwrap();
    }

    fn file(&mut self, number: usize, name: &str, content: impl AsRef<[u8]>) -> &mut Self {
        let range = self.range(number);
        let files = FileSystem::new(Cursor::new(&mut self.disk[range]), FsOptions::new()).unwrap();
        let mut file = files.root_dir().create_file(name).unwrap();
        file.truncate().unwrap();
        file.write_all(content.as_ref()).unwrap();
        drop(file);
        drop(files);
        self
    }

    fn remove(&mut self, number: usize, name: &str) -> &mut Self {
        let range = self.range(number);
        let files = FileSystem::new(Cursor::new(&mut self.disk[range]), FsOptions::new()).unwrap();
        files.root_dir().remove(name).unwrap();
        drop(files);
        self
    }

    fn slot(&mut self, number: usize) -> &mut Self {
        self.file(number, "config.txt", CONFIG)
            .file(number, "cmdline.txt", format!("slot={number}\n"))
            .file(number, "bcm2712-rpi-5-b.dtb", "tree")
            .file(number, "kernel.img", format!("kernel {number}"))
            .file(number, "base", "base")
            .file(number, "pool", "pool!")
    }
}

/// p1 with autoboot.txt, and slots in p2 and p3.
fn two_slots() -> Maker {
    let mut maker = Maker::new(3);
    maker.file(1, "autoboot.txt", A).slot(2).slot(3);
    maker
}

fn board(eeprom: Eeprom) -> Firmware {
    Firmware::new(eeprom, Board::Pi5, Medium::SdCard)
}

fn armed(eeprom: Eeprom) -> Firmware {
    let mut firmware = board(eeprom);
    firmware.mailbox(&mut request(SET_REBOOT_FLAGS, TRYBOOT));
    firmware
}

fn old() -> Eeprom {
    Eeprom::released(2025, 8, 12)
}

/// Which partition boots on a current loader and on one that does not walk, plainly and armed.
#[track_caller]
fn case(disk: &[u8], current: [Option<u32>; 2], without_walk: [Option<u32>; 2]) {
    for (eeprom, expected) in [(Eeprom::current(), current), (old(), without_walk)] {
        for (mut firmware, expected) in [board(eeprom), armed(eeprom)].into_iter().zip(expected) {
            let flag = firmware.armed();
            let outcome = boot(&disk, &mut firmware, Load::Names);
            assert_eq!(outcome.partition(), expected, "armed {flag}, {eeprom:?}: {outcome:?}");
        }
    }
}

#[track_caller]
fn started(outcome: Outcome) -> Boot {
    match outcome {
        Outcome::Started(boot) => *boot,
        Outcome::Stuck(why) => panic!("nothing runs: {why}"),
    }
}

#[track_caller]
fn stuck(outcome: Outcome) -> Stuck {
    match outcome {
        Outcome::Started(boot) => panic!("partition {} runs", boot.partition),
        Outcome::Stuck(why) => why,
    }
}

#[test]
fn the_flag_chooses_the_partition() {
    case(&two_slots().disk, [Some(2), Some(3)], [Some(2), Some(3)]);
}

/// "Fail-safe OS updates": the flag is used up by the boot it is for; a power cut loses it before.
#[test]
fn the_flag_is_for_one_boot_and_lost_without_power() {
    let disk = two_slots().disk;
    let mut firmware = armed(Eeprom::current());
    let boots: Vec<_> = (0..3).map(|_| boot(&disk, &mut firmware, Load::Names).partition()).collect();
    assert_eq!(boots, [Some(3), Some(2), Some(2)]);

    let mut firmware = armed(Eeprom::current());
    firmware.lose_power();
    assert_eq!(boot(&disk, &mut firmware, Load::Names).partition(), Some(2));
}

/// `boot_partition`: a partition given to `reboot` goes before autoboot.txt, once.
#[test]
fn a_partition_given_to_reboot_goes_first() {
    let disk = two_slots().disk;
    let mut firmware = board(Eeprom::current());
    firmware.restart("3");
    let boots: Vec<_> = (0..2).map(|_| boot(&disk, &mut firmware, Load::Names).partition()).collect();
    assert_eq!(boots, [Some(3), Some(2)]);
}

/// `PARTITION_WALK`, and 2025-01-27: without it the loader goes on to the next boot mode.
#[test]
fn a_partition_without_config_txt_is_walked_past() {
    let disk = two_slots().remove(2, "config.txt").disk.clone();
    case(&disk, [Some(3), Some(3)], [None, Some(3)]);
    let disk = two_slots().remove(3, "config.txt").disk.clone();
    case(&disk, [Some(2), Some(2)], [Some(2), None]);
}

/// `os_check`: no device tree of this board, no boot; `os_check=0` switches the question off.
#[test]
fn a_partition_without_a_device_tree_of_the_board_is_walked_past() {
    let disk = two_slots().remove(2, "bcm2712-rpi-5-b.dtb").disk.clone();
    case(&disk, [Some(3), Some(3)], [None, Some(3)]);
    let mut maker = two_slots();
    maker.remove(2, "bcm2712-rpi-5-b.dtb").file(2, "config.txt", format!("os_check=0\n{CONFIG}"));
    case(&maker.disk, [Some(2), Some(3)], [Some(2), Some(3)]);
    maker.file(2, "config.txt", format!("device_tree=mine.dtb\n{CONFIG}")).file(2, "mine.dtb", "tree");
    case(&maker.disk, [Some(2), Some(3)], [Some(2), Some(3)]);

    for (board, name) in [
        (Board::Pi500, "bcm2712-rpi-500.dtb"),
        (Board::Cm5, "bcm2712-rpi-cm5-cm5io.dtb"),
        (Board::Cm5, "bcm2712-rpi-cm5l-cm5io.dtb"),
    ] {
        let mut maker = two_slots();
        let mut firmware = Firmware::new(Eeprom::current(), board, Medium::SdCard);
        assert!(matches!(boot(&maker.disk, &mut firmware, Load::Names), Outcome::Stuck(_)), "{board:?}");
        maker.file(3, name, "tree");
        let boot = started(boot(&maker.disk, &mut firmware, Load::Names));
        assert_eq!((boot.partition, boot.device_tree.as_deref()), (3, Some(name)), "{board:?}");
    }
}

/// Without autoboot.txt the default partition is wanted. Only a loader that walks, or one that takes "first bootable FAT
/// partition" literally, finds a slot.
#[test]
fn a_lost_autoboot_txt_boots_the_first_bootable_partition_by_walking() {
    for lost in [
        two_slots().remove(1, "autoboot.txt").disk.clone(),
        two_slots().file(1, "autoboot.txt", [0xff; 78]).disk.clone(),
        two_slots().file(1, "autoboot.txt", A.repeat(9)).disk.clone(),
    ] {
        // The trial's flag asks for tryboot.txt, because nothing says tryboot_a_b: no slot has one.
        case(&lost, [Some(2), None], [None, None]);
        for eeprom in [Eeprom::current(), Eeprom { zero: Zero::FirstBootable, ..old() }] {
            let eeprom = Eeprom { lost_tryboot: LostTryboot::FallsBack, ..eeprom };
            for mut firmware in [board(eeprom), armed(eeprom)] {
                assert_eq!(boot(&lost, &mut firmware, Load::Names).partition(), Some(2), "{eeprom:?}");
            }
        }
    }
}

/// Under the flag and without `tryboot_a_b`, tryboot.txt takes the place of config.txt ("Fail-safe OS updates").
#[test]
fn without_a_b_the_flag_loads_tryboot_txt() {
    let mut maker = two_slots();
    maker.file(1, "autoboot.txt", "boot_partition=2\n").file(2, "tryboot.txt", "kernel=new\n").file(2, "new", "new");
    let boot = started(boot(&maker.disk, &mut armed(Eeprom::current()), Load::Names));
    assert_eq!((boot.partition, boot.kernel.as_str()), (2, "new"));
}

/// The walk reads no autoboot.txt, and partition 1 boots when it can: hence it must hold nothing bootable.
#[test]
fn a_bootable_first_partition_catches_the_walk() {
    let mut maker = two_slots();
    maker.remove(1, "autoboot.txt").slot(1);
    case(&maker.disk, [Some(1), None], [Some(1), None]);
}

/// The walk reaches logical partitions: a hand-over partition with a config.txt would boot.
#[test]
fn the_walk_reaches_logical_partitions() {
    let mut maker = Maker::new(4);
    maker.slot(4);
    let disk = {
        // The fourth becomes an extended one whose first logical partition is the FAT just made, one MiB further.
        let range = maker.range(4);
        let mut disk = maker.disk.clone();
        disk.resize(range.end + MIB, 0);
        disk.copy_within(range.clone(), range.start + MIB);
        disk[range.start..range.start + MIB].fill(0);
        maker.disk = disk;
        maker.entry(4, 0x0f, range.start, 5 * MIB);
        let table = &mut maker.disk[range.start..][..512];
        table[510..].copy_from_slice(&[0x55, 0xaa]);
        table[446 + 4] = 0x0c;
        table[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
        table[446 + 12..446 + 16].copy_from_slice(&8192_u32.to_le_bytes());
        maker.disk
    };
    case(&disk, [Some(5), None], [None, None]);
}

/// rpi-eeprom issues 259 and 313: types that are not FAT are no candidates, whatever lies there.
#[test]
fn the_type_byte_must_promise_fat() {
    for (kind, boots) in [(0x0c, 2), (0x0e, 2), (0x06, 2), (0x83, 3), (0x07, 3), (0x1c, 3)] {
        let mut maker = two_slots();
        let range = maker.range(2);
        maker.entry(2, kind, range.start, range.len());
        let outcome = boot(&maker.disk, &mut board(Eeprom::current()), Load::Names);
        assert_eq!(outcome.partition(), Some(boots), "{kind:#x}");
    }
}

/// rpi-eeprom issue 818: the number of clusters decides the type of a FAT.
#[test]
fn a_fat32_of_too_few_clusters_holds_nothing() {
    let mut disk = vec![0; 40 * MIB];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut maker = Maker { disk };
    maker.entry(1, 0x0c, MIB, 36 * MIB);
    maker.format(1, FatType::Fat32);
    maker.slot(1);
    assert_eq!(boot(&maker.disk, &mut board(Eeprom::current()), Load::Names).partition(), Some(1));

    // The same boot sector with half the sectors: still "FAT32" by its fields, by its clusters not.
    let sectors: u32 = 17 * 2048;
    let at = MIB + 32;
    maker.disk[at..at + 4].copy_from_slice(&sectors.to_le_bytes());
    let why = stuck(boot(&maker.disk, &mut board(Eeprom::current()), Load::Names));
    assert!(matches!(&why, Stuck::NothingBootable { .. }), "{why}");
}

/// 2026-04-14: a fatal error waited for ever; since then it resets the board, whose flag is used up by then.
#[test]
fn a_missing_kernel_still_counts_as_bootable_and_then_stops_everything() {
    let before = Eeprom::released(2026, 4, 13);
    let disk = two_slots().remove(3, "kernel.img").disk.clone();
    assert!(matches!(stuck(boot(&disk, &mut armed(before), Load::Names)), Stuck::Fatal(_)));
    assert_eq!(boot(&disk, &mut armed(Eeprom::current()), Load::Names).partition(), Some(2));

    let disk = two_slots().remove(2, "kernel.img").disk.clone();
    assert!(matches!(stuck(boot(&disk, &mut board(before), Load::Names)), Stuck::Fatal(_)));
    let why = stuck(boot(&disk, &mut board(Eeprom::current()), Load::Names));
    assert!(matches!(&why, Stuck::Resets(why) if why.contains("kernel.img")), "{why}");
}

#[test]
fn without_kernel_in_config_txt_the_loader_s_own_names_are_tried() {
    let mut maker = two_slots();
    maker.file(2, "config.txt", "").file(2, "kernel8.img", "8");
    assert_eq!(started(boot(&maker.disk, &mut board(Eeprom::current()), Load::Names)).kernel, "kernel8.img");
    maker.file(2, "kernel_2712.img", "2712");
    assert_eq!(started(boot(&maker.disk, &mut board(Eeprom::current()), Load::Names)).kernel, "kernel_2712.img");
}

/// `ramfsfile`: all files are joined; 2023-11-20: parts of odd lengths crashed the loader before.
#[test]
fn parts_of_the_initramfs_are_joined_at_multiples_of_four() {
    let mut maker = two_slots();
    let boot_now = |maker: &Maker, eeprom| boot(&maker.disk, &mut board(eeprom), Load::Whole);
    let files = started(boot_now(&maker, Eeprom::oldest())).files.unwrap();
    assert_eq!((files.kernel.as_slice(), files.initramfs.as_slice()), (&b"kernel 2"[..], &b"basepool!\0\0\0"[..]));

    maker.file(2, "base", "odd");
    let files = started(boot_now(&maker, Eeprom::current())).files.unwrap();
    assert_eq!(files.initramfs, b"odd\0pool!\0\0\0");
    assert!(matches!(stuck(boot_now(&maker, Eeprom::oldest())), Stuck::Fatal(_)));
}

#[test]
fn a_missing_part_or_command_line_is_a_complaint_and_the_kernel_starts_without() {
    let disk = two_slots().remove(2, "pool").remove(2, "cmdline.txt").disk.clone();
    let boot = started(boot(&disk, &mut board(Eeprom::current()), Load::Whole));
    assert_eq!((boot.cmdline.as_str(), boot.files.unwrap().initramfs.as_slice()), ("", &b"base"[..]));
    assert_eq!(boot.complaints.len(), 2, "{:?}", boot.complaints);
}

/// 2025-06-09: `NVMe` reads of 32 MiB and more failed.
#[test]
fn a_file_of_32_mib_does_not_load_from_nvme_with_an_old_loader() {
    let mut maker = Maker { disk: vec![0; 40 * MIB] };
    maker.disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    maker.entry(1, 0x0c, MIB, 38 * MIB);
    maker.format(1, FatType::Fat32);
    for (length, eeprom, medium, boots) in [
        (32 * MIB - 1, Eeprom::released(2025, 6, 8), Medium::Nvme, true),
        (32 * MIB, Eeprom::released(2025, 6, 8), Medium::Nvme, false),
        (32 * MIB, Eeprom::released(2025, 6, 8), Medium::SdCard, true),
        (32 * MIB, Eeprom::released(2025, 6, 9), Medium::Nvme, true),
    ] {
        let eeprom = Eeprom { zero: Zero::FirstBootable, ..eeprom };
        maker.slot(1).file(1, "kernel.img", vec![1; length]);
        let mut firmware = Firmware::new(eeprom, Board::Pi5, medium);
        assert_eq!(boot(&maker.disk, &mut firmware, Load::Names).partition().is_some(), boots, "{length} {eeprom:?}");
    }
}

/// What Linux reads from `/proc/device-tree/chosen/bootloader`.
#[test]
fn the_chosen_node_tells_what_the_loader_of_that_day_told() {
    let disk = two_slots().disk;
    let chosen = |mut firmware: Firmware| started(boot(&disk, &mut firmware, Load::Names)).chosen;

    let now = chosen(armed(Eeprom::current()));
    assert_eq!((now.partition, now.tryboot, now.boot_mode, now.count, now.arg1), (3, 1, 1, Some(1), Some(0)));
    assert_eq!(now.build_timestamp, 1_779_753_600);
    // 2024-05-13: before, the partition was always reported as 0.
    assert_eq!(chosen(armed(Eeprom::released(2024, 5, 12))).partition, 0);
    assert_eq!(chosen(board(Eeprom::released(2024, 5, 13))).partition, 2);
    // 2025-02-11: counter and argument.
    assert_eq!(chosen(board(Eeprom::released(2025, 2, 10))).count, None);
    assert_eq!(chosen(Firmware::new(Eeprom::current(), Board::Pi5, Medium::Nvme)).boot_mode, 6);
    // A trial whose partition does not boot still says tryboot, from the other one: committing by the flag alone is wrong.
    let walked = two_slots().remove(3, "config.txt").disk.clone();
    let chosen = started(boot(&walked, &mut armed(Eeprom::current()), Load::Names)).chosen;
    assert_eq!((chosen.partition, chosen.tryboot), (2, 1));
}

/// 2025-02-11: counted before the boot order begins, kept over resets, lost with the power.
#[test]
fn the_counter_counts_boots_since_power_came_on() {
    let disk = two_slots().disk;
    let mut firmware = board(Eeprom::current());
    for expected in 1..=3 {
        assert_eq!(started(boot(&disk, &mut firmware, Load::Names)).chosen.count, Some(expected));
    }
    firmware.lose_power();
    assert_eq!(started(boot(&disk, &mut firmware, Load::Names)).chosen.count, Some(1));
}

#[test]
fn sectors_that_cannot_be_read_take_with_them_what_they_hold() {
    let maker = two_slots();
    let (p1, p2) = (maker.range(1).start as u64 / 512, maker.range(2).start as u64 / 512);
    let broken = |sectors: &[u64], eeprom| {
        let disk =
            Unreadable { disk: maker.disk.as_slice(), sectors: sectors.iter().copied().collect::<BTreeSet<_>>() };
        boot(&disk, &mut board(eeprom), Load::Names).partition()
    };
    assert_eq!(broken(&[0], Eeprom::current()), None, "the table");
    assert_eq!(broken(&[p1], Eeprom::current()), Some(2), "autoboot.txt is lost, the walk finds the first slot");
    assert_eq!(broken(&[p1], old()), None, "and where nothing walks, nothing boots");
    assert_eq!(broken(&[p2], Eeprom::current()), Some(3));
    assert_eq!(broken(&[p2], old()), None);
}

#[test]
fn a_config_this_model_cannot_follow_is_refused_aloud() {
    let disk = two_slots().file(2, "config.txt", "os_prefix=new/\n").disk.clone();
    assert!(matches!(stuck(boot(&disk, &mut board(Eeprom::current()), Load::Names)), Stuck::NotModelled(_)));
}
