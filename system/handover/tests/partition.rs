//! The partition as computers make it, as editors leave it, as power cuts end it, and as nobody should make it.

mod common;

use std::io::Cursor;

use common::{FORMATS, Partition, SECRETS, SETTINGS, older, order};
use warppool_handover::{Claim, EXAMPLE, Fault, Finish, Outcome, Report, Standing, TAKEN_FILE, TimeZone, finish, read};

fn zones(_: &TimeZone) -> bool {
    true
}

#[track_caller]
fn asked(partition: &mut Partition) -> Box<warppool_handover::HandOver> {
    match read(&mut partition.disk, &zones) {
        Outcome::Asked { settings: Some(settings), factory_reset: false } => settings,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn faults(partition: &mut Partition) -> Vec<Fault> {
    match read(&mut partition.disk, &zones) {
        Outcome::Faulty { faults, .. } => faults,
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_are_read_then_erased_and_nothing_secret_is_left() {
    for (name, size, options) in FORMATS {
        let Some(mut partition) = Partition::new(size, options) else { return };
        partition.put("photo.jpg", &vec![7; 50_000]);
        // An editor that saves by writing anew leaves the old file in free clusters.
        partition.put("old.tmp", older().as_bytes());
        partition.delete("old.tmp");
        partition.put("warppool.toml", SETTINGS.as_bytes());
        partition.put("warppool.example.toml", EXAMPLE.as_bytes());
        let settings = asked(&mut partition);
        assert_eq!(settings.hostname.as_ref().expect("a name").as_str(), "pool-2", "{name}");
        let done = finish(&mut partition.disk, &order(settings)).expect(name);
        assert!(done.settings_erased && done.wiped_bytes > 0, "{name}: {done:?}");
        for secret in SECRETS {
            assert!(!partition.holds(secret), "{name}: {secret} is still there");
        }
        partition.check();
        let result = partition.get("WARPPOOL-RESULT.txt");
        assert!(result.contains("was taken over") && result.contains("pool-2.local:3333"), "{result}");
        assert!(partition.get(TAKEN_FILE).contains("hostname = \"pool-2\""));
        assert_eq!(partition.get("warppool.example.toml"), EXAMPLE);
        assert_eq!(read(&mut partition.disk, &zones), Outcome::Nothing, "{name}");
    }
}

#[test]
fn the_file_is_found_under_the_names_that_systems_give_it() {
    for name in ["warppool.toml", "WARPPOOL.TOML", "Warppool.toml.txt", "warppool.txt"] {
        let Some(mut partition) = Partition::usual() else { return };
        partition.put(name, SETTINGS.as_bytes());
        let settings = asked(&mut partition);
        finish(&mut partition.disk, &order(settings)).expect(name);
        assert_eq!(read(&mut partition.disk, &zones), Outcome::Nothing, "{name}");
    }
}

#[test]
fn two_files_that_could_be_meant_are_a_fault() {
    let Some(mut partition) = Partition::usual() else { return };
    partition.put("warppool.toml", SETTINGS.as_bytes());
    partition.put("warppool.toml.txt", SETTINGS.as_bytes());
    assert!(faults(&mut partition)[0].problem.contains("delete the one"));
}

#[test]
fn an_example_that_was_filled_in_but_not_renamed_is_told() {
    let Some(mut partition) = Partition::usual() else { return };
    partition.put("warppool.example.toml", EXAMPLE.as_bytes());
    assert_eq!(read(&mut partition.disk, &zones), Outcome::Nothing);
    partition.put("warppool.example.toml", EXAMPLE.replace("#hostname", "hostname").as_bytes());
    assert!(faults(&mut partition)[0].remedy.contains("rename it"));
}

#[test]
fn a_file_with_faults_stays_and_the_owner_is_told() {
    let Some(mut partition) = Partition::usual() else { return };
    partition.put("warppool.toml", b"[device]\nhostname = \"a b\"\n");
    let faults = faults(&mut partition);
    let report = Report {
        version: "1.2.3".into(),
        name: "warppool.local".into(),
        addresses: vec!["192.168.1.20".into(), "fd00::20".into()],
        standing: Standing::Faulty(faults),
    };
    finish(&mut partition.disk, &Finish { report: Some(report.clone()), ..Finish::default() }).expect("is written");
    let result = partition.get("WARPPOOL-RESULT.txt");
    assert!(result.contains("NOTHING") && result.contains("line 2: device.hostname"), "{result}");
    assert!(result.contains("[fd00::20]:3333") && result.contains("\r\n"), "{result}");
    assert!(partition.get("warppool.toml").contains("a b"));
    // The same report again costs the card no write.
    let before = partition.disk.clone();
    finish(&mut partition.disk, &Finish { report: Some(report), ..Finish::default() }).expect("nothing to do");
    assert_eq!(before.get_ref(), partition.disk.get_ref());
}

#[test]
fn a_reset_is_asked_for_by_a_file_and_taken_away_before_it_is_done() {
    let Some(mut partition) = Partition::usual() else { return };
    partition.put("Reset.txt", b"");
    partition.put("warppool.toml", SETTINGS.as_bytes());
    let outcome = read(&mut partition.disk, &zones);
    assert!(matches!(outcome, Outcome::Asked { settings: Some(_), factory_reset: true }), "{outcome:?}");
    let done = finish(&mut partition.disk, &Finish { erase_reset: true, ..Finish::default() }).expect("is erased");
    assert!(done.reset_erased && !done.settings_erased);
    asked(&mut partition);
}

#[test]
fn a_claim_code_is_shown_and_taken_away() {
    let Some(mut partition) = Partition::usual() else { return };
    let show = Finish { claim: Claim::Show("ABCD-EFGH".into()), ..Finish::default() };
    finish(&mut partition.disk, &show).expect("is written");
    assert_eq!(partition.get("CLAIM-CODE.txt"), "ABCD-EFGH\r\n");
    finish(&mut partition.disk, &Finish { claim: Claim::Remove, ..Finish::default() }).expect("is removed");
    let names = ["claim-code.txt", "CLAIM-CODE.txt"];
    assert!(names.iter().all(|name| !partition.list().contains(name)), "{}", partition.list());
}

#[test]
fn a_full_partition_is_told_and_keeps_the_settings() {
    let Some(mut partition) = Partition::usual() else { return };
    partition.put("warppool.toml", SETTINGS.as_bytes());
    partition.fill();
    let settings = asked(&mut partition);
    let why = finish(&mut partition.disk, &order(settings)).expect_err("no room for the report").to_string();
    assert!(why.contains("cannot be read or written"), "{why}");
    asked(&mut partition);
}

#[test]
fn what_is_no_fat_is_told_with_what_to_do() {
    let mut exfat = vec![0; 64 * 1024];
    exfat[3..11].copy_from_slice(b"EXFAT   ");
    for (bytes, said) in [(Vec::new(), "too short"), (vec![0; 1 << 20], "not formatted"), (exfat, "exFAT")] {
        let Outcome::Unreadable(why) = read(&mut Cursor::new(bytes), &zones) else { panic!("{said}") };
        assert!(why.contains(said) && why.contains("format it"), "{why}");
    }
}

#[test]
fn a_partition_that_cannot_be_written_is_read_all_the_same() {
    let Some(mut partition) = Partition::usual() else { return };
    partition.put("warppool.toml", SETTINGS.as_bytes());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("partition");
    std::fs::write(&path, partition.disk.get_ref()).expect("written");
    let mut disk = std::fs::File::open(&path).expect("opened for reading alone");
    let Outcome::Asked { settings: Some(settings), .. } = read(&mut disk, &zones) else { panic!("is read") };
    assert!(finish(&mut disk, &order(settings)).is_err(), "nothing can be erased there");
}
