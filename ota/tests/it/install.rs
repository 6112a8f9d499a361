//! Installing into the other slot: what is fetched, what is refused, and what a cut leaves.

use std::io::{self, Cursor};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use warppool_ota::boot::Health;
use warppool_ota::fat::{Kind, Volume};
use warppool_ota::install::{Progress, Ready, Refusal, Stage, copy, install};
use warppool_ota::slot::{look, verify};
use warppool_ota::source::FileSource;
use warppool_ota::trust::{Distrust, TrustedKey};
use warppool_ota::{Disk, MemDisk, PrivateKey, SECTOR, Slot, Trust, Version, bundle};

use crate::slots::{
    Files, SLOT, admission, bundle, bundle_of, files, format, key, manifest_of, noise, slot, slot_of, trust,
};

type Watch = fn(Progress) -> ControlFlow<()>;
const ON: Watch = |_| ControlFlow::Continue(());

fn put(bytes: &[u8], running: &mut MemDisk, target: &mut dyn Disk, trust: &Trust) -> Result<Ready, String> {
    let mut source = FileSource::new(Cursor::new(bytes)).unwrap();
    install(&mut source, Some(running), target, trust, &admission(1), &mut ON.clone())
        .map_err(|error| error.to_string())
}

fn is_unbootable(target: &mut dyn Disk) -> bool {
    let mut boot = [0; SECTOR];
    target.read_at(0, &mut boot).unwrap();
    boot == [0; SECTOR] && !look(target, &trust()).bootable
}

#[test]
fn a_bundle_becomes_the_very_slot_it_was_made_of_and_fetches_only_what_changed() {
    let mut running = slot(1);
    let before = running.clone();
    let bundle = bundle(2);
    for (name, target) in
        [("empty", MemDisk::new(SLOT)), ("older", slot(0)), ("litter", MemDisk::from_bytes(noise(9, SLOT as usize)))]
    {
        let mut target = target;
        let ready = put(&bundle, &mut running, &mut target, &trust()).unwrap();
        assert_eq!(ready.manifest, manifest_of(2, &files(2)));
        assert_eq!(
            ready.fetched + ready.reused,
            bundle::Bundle::open(&mut FileSource::new(Cursor::new(&bundle)).unwrap(), &trust()).unwrap().header.bytes()
        );
        assert!(ready.fetched < bundle.len() as u64 / 4, "{name}: fetched {} of {}", ready.fetched, bundle.len());
        assert!(verify(&mut target, &trust()).is_sound());
        // What the bundle covers is the same, so that a bundle made of it is the same too.
        assert_eq!(bundle_of(&mut target, 0), bundle, "{name}");
    }
    assert_eq!(running, before, "the running slot is only read");
}

#[test]
fn a_fat32_of_real_clusters_is_installed_over_an_older_one() {
    const LEN: u64 = 144 << 20;
    let made = |minor| slot_of(LEN, &files(minor), &manifest_of(minor, &files(minor)));
    let mut image = made(2);
    let geometry = Volume::open(&mut image).unwrap().geometry().clone();
    assert_eq!((geometry.kind, geometry.cluster), (Kind::Fat32, 2048));
    let bundle = bundle_of(&mut image, 0);
    let header = bundle::Bundle::open(&mut FileSource::new(Cursor::new(&bundle)).unwrap(), &trust()).unwrap().header;
    let late =
        |offset: u64| header.chunks.iter().any(|chunk| chunk.late && (chunk.offset..chunk.end()).contains(&offset));
    assert!(
        late(0) && late(geometry.backup_boot.unwrap()) && late(geometry.data),
        "boot sectors and root directory are late"
    );
    assert!(
        header.zeros.iter().map(|run| run.length).sum::<u64>() > 500_000,
        "the FATs are mostly empty and not in the bundle"
    );

    let (mut running, mut target) = (made(1), made(0));
    let ready = put(&bundle, &mut running, &mut target, &trust()).unwrap();
    assert!(ready.fetched < bundle.len() as u64 / 4, "{} of {}", ready.fetched, bundle.len());
    assert_eq!(bundle_of(&mut target, 0), bundle);
    warppool_ota::install::make_unbootable(&mut target).unwrap();
    assert!(is_unbootable(&mut target));
    let mut backup = [0; SECTOR];
    target.read_at(geometry.backup_boot.unwrap(), &mut backup).unwrap();
    assert_eq!(backup, [0; SECTOR]);
}

#[test]
fn without_a_running_slot_everything_is_fetched_and_each_content_once() {
    let mut source = FileSource::new(Cursor::new(bundle(2))).unwrap();
    let mut target = MemDisk::new(SLOT);
    let ready = install(&mut source, None, &mut target, &trust(), &admission(1), &mut ON.clone()).unwrap();
    assert!(ready.reused > 0 && ready.reused < 100_000, "the second FAT is the first once more: {}", ready.reused);
    assert!(verify(&mut target, &trust()).is_sound());
}

#[test]
fn what_may_not_be_installed_is_refused_before_anything_is_written() {
    let (other, revoked) = (PrivateKey::generate(), key().public().id());
    let rename = |product: &str, hardware: &str| {
        let mut manifest = manifest_of(2, &files(2));
        (manifest.product, manifest.hardware) = (product.into(), hardware.into());
        let maker = Trust { product: product.into(), hardware: hardware.into(), ..trust() };
        let mut out = Vec::new();
        bundle::write(&mut slot_of(SLOT, &files(2), &manifest), &maker, 0, &key(), &mut out).unwrap();
        out
    };
    let foreign = {
        let maker = Trust {
            keys: vec![TrustedKey { name: "other".into(), public: other.public() }, trust().keys[0].clone()],
            ..trust()
        };
        let mut out = Vec::new();
        bundle::write(&mut slot(2), &maker, 0, &other, &mut out).unwrap();
        out
    };
    let good = bundle(2);
    let mut huge = good.clone();
    huge[16..24].copy_from_slice(&((1u64 << 32) + 88).to_be_bytes());
    let mut flipped = good.clone();
    flipped[200] ^= 1;
    let revoking = Trust { revoked: vec![revoked], ..trust() };
    let strict = Trust { minimum_version: Version::new(3, 0, 0), ..trust() };
    for (what, bytes, trust, expected) in [
        ("another product", rename("sparkpool", "rpi5"), trust(), "is for sparkpool"),
        ("other hardware", rename("warppool", "rpi6"), trust(), "hardware rpi6"),
        ("an unknown key", foreign, trust(), "does not know"),
        ("a revoked key", good.clone(), revoking, "no longer valid"),
        ("a flipped header", flipped, trust(), "damaged or changed"),
        ("4 GiB and more of header", huge, trust(), "4294967384 bytes"),
        ("below the minimum", good.clone(), strict, "older than 3.0.0"),
        ("older than what runs", bundle(0), trust(), "older than 1.1.0"),
        (
            "too large",
            bundle_of(&mut slot_of(2 * SLOT, &files(2), &manifest_of(2, &files(2))), 0),
            trust(),
            "slots have 12582912",
        ),
        ("a boot loader of unknown age", bundle_of(&mut slot(2), 1_765_000_000), trust(), "built on 1765000000"),
        ("cut off", good[..good.len() - 1].to_vec(), trust(), "cut on its way"),
        ("cut off in the header", good[..100].to_vec(), trust(), "cut on its way"),
        ("something behind it", [&good[..], b"x"].concat(), trust(), "bytes instead of"),
        ("no bundle", b"PK\x03\x04 a zip".repeat(20), trust(), "not a WarpPool update bundle"),
        ("nothing", vec![], trust(), "cut on its way"),
    ] {
        let (mut running, mut target) = (slot(1), slot(0));
        let error = put(&bytes, &mut running, &mut target, &trust).unwrap_err();
        assert!(error.contains(expected), "{what}: {error}");
        assert_eq!((running, target), (slot(1), slot(0)), "{what}");
    }
}

#[test]
fn what_depends_on_permission_or_boot_loader_is_let_through_with_it() {
    let run = |bundle: Vec<u8>, change: &dyn Fn(&mut warppool_ota::install::Admission)| {
        let mut admission = admission(1);
        change(&mut admission);
        let mut source = FileSource::new(Cursor::new(bundle)).unwrap();
        install(&mut source, None, &mut MemDisk::new(SLOT), &trust(), &admission, &mut ON.clone())
            .map(|ready| ready.manifest.version)
    };
    assert_eq!(run(bundle(0), &|admission| admission.allow_downgrade = true).unwrap(), Version::new(1, 0, 0));
    assert_eq!(run(bundle(1), &|_| ()).unwrap(), Version::new(1, 1, 0), "the same version again is a repair");
    let new_loader = || bundle_of(&mut slot(2), 1_765_000_000);
    assert!(run(new_loader(), &|admission| admission.eeprom = Some(1_764_999_999)).is_err());
    run(new_loader(), &|admission| admission.eeprom = Some(1_765_000_000)).unwrap();
    let error = run(bundle(2), &|admission| admission.target = Slot::A).unwrap_err();
    assert!(error.to_string().contains("the one that runs"), "{error}");
    assert!(matches!(error, warppool_ota::install::InstallError::Refused(Refusal::Running(Slot::A))));
    let distrust = Distrust::BadSignature.to_string();
    assert!(distrust.contains("get it again"));
}

#[test]
fn a_flipped_chunk_leaves_the_target_unbootable_and_the_running_slot_untouched() {
    let good = bundle(2);
    let opened = bundle::Bundle::open(&mut FileSource::new(Cursor::new(&good)).unwrap(), &trust()).unwrap();
    let mut at = opened.chunks_at;
    let places: Vec<u64> = opened
        .header
        .chunks
        .iter()
        .map(|chunk| {
            let here = at;
            at += u64::from(chunk.length);
            here
        })
        .collect();
    for (number, place) in places.iter().enumerate() {
        let mut bytes = good.clone();
        bytes[*place as usize + 7] ^= 0x10;
        let (mut running, mut target) = (slot(1), slot(0));
        match put(&bytes, &mut running, &mut target, &trust()) {
            // A chunk that was on the device already is never looked at in the bundle.
            Ok(_) => assert!(verify(&mut target, &trust()).is_sound()),
            Err(error) => {
                assert!(error.contains(&format!("damaged at byte {place}")), "{number}: {error}");
                assert!(is_unbootable(&mut target), "chunk {number}");
            }
        }
        assert_eq!(running, slot(1));
    }
}

/// A disk that writes down what is done to it, and fails when it is told to.
#[derive(Clone)]
struct Recorder {
    disk: MemDisk,
    log: Arc<Mutex<Vec<Op>>>,
    /// Writes that still succeed.
    left: usize,
    /// The last write is acknowledged and not done.
    lies: bool,
}

#[derive(Clone)]
enum Op {
    Write(u64, Vec<u8>),
    Flush,
}

impl Recorder {
    fn new(disk: MemDisk) -> Self {
        Self { disk, log: Arc::default(), left: usize::MAX, lies: false }
    }
}

impl Disk for Recorder {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buf)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.left == 0 {
            return if self.lies { Ok(()) } else { Err(io::Error::other("the card is gone")) };
        }
        self.left -= 1;
        self.log.lock().unwrap().push(Op::Write(offset, data.to_vec()));
        self.disk.write_at(offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.lock().unwrap().push(Op::Flush);
        self.disk.flush()
    }
}

#[test]
fn at_every_instant_the_target_is_whole_or_cannot_be_booted() {
    let before = slot(0);
    let mut target = Recorder::new(before.clone());
    put(&bundle(2), &mut slot(1), &mut target, &trust()).unwrap();
    let log = std::mem::take(&mut *target.log.lock().unwrap());

    // What is in flight between two flushes reaches the disk in any order: nothing, all, each alone, all but one.
    let mut durable = before;
    let mut states = 0;
    let mut judge = |disk: &mut MemDisk, what: &str| {
        let seen = look(disk, &trust());
        assert!(!seen.bootable || verify(disk, &trust()).is_sound(), "{what}");
        states += 1;
    };
    for window in log.split(|op| matches!(op, Op::Flush)) {
        let writes: Vec<(u64, &Vec<u8>)> = window
            .iter()
            .map(|op| match op {
                Op::Write(offset, data) => (*offset, data),
                Op::Flush => unreachable!(),
            })
            .collect();
        let apply = |durable: &MemDisk, chosen: &dyn Fn(usize) -> bool| {
            let mut disk = durable.clone();
            for (_, (offset, data)) in writes.iter().enumerate().filter(|(n, _)| chosen(*n)) {
                disk.write_at(*offset, data).unwrap();
            }
            disk
        };
        for n in 0..writes.len() {
            judge(&mut apply(&durable, &|m| m < n), "a prefix");
            judge(&mut apply(&durable, &|m| m == n), "one alone");
            judge(&mut apply(&durable, &|m| m != n), "all but one");
        }
        durable = apply(&durable, &|_| true);
        judge(&mut durable, "a flushed state");
    }
    assert!(states > 30, "{states}");
    assert!(look(&mut durable, &trust()).bootable);
}

#[test]
fn an_installation_that_was_cut_goes_on_where_it_was() {
    let good = bundle(2);
    for cut in [0, 1, 3, 8, 12, 16, 20] {
        let mut target = Recorder::new(MemDisk::new(SLOT));
        target.left = cut;
        put(&good, &mut slot(1), &mut target, &trust()).unwrap_err();
        assert!(is_unbootable(&mut target.disk), "after {cut} writes");
        let ready = put(&good, &mut slot(1), &mut target.disk, &trust()).unwrap();
        assert!(verify(&mut target.disk, &trust()).is_sound());
        let fresh = put(&good, &mut slot(1), &mut MemDisk::new(SLOT), &trust()).unwrap();
        assert!(ready.fetched <= fresh.fetched);
    }
    // With nothing on the device to copy from, what was fetched before is what counts.
    let mut target = MemDisk::new(SLOT);
    let mut cancel = |progress: Progress| {
        if progress.stage == Stage::Writing && progress.done > progress.total / 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let mut source = FileSource::new(Cursor::new(&good)).unwrap();
    let error = install(&mut source, None, &mut target, &trust(), &admission(1), &mut cancel).unwrap_err();
    assert_eq!(error.to_string(), "cancelled");
    assert!(is_unbootable(&mut target));
    let ready = install(&mut source, None, &mut target, &trust(), &admission(1), &mut ON.clone()).unwrap();
    assert!(ready.fetched < good.len() as u64 * 6 / 10, "{} of {}", ready.fetched, good.len());
}

#[test]
fn a_card_that_forgets_what_was_written_is_found_out_and_stays_unbootable() {
    let mut target = Recorder::new(slot(0));
    put(&bundle(2), &mut slot(1), &mut target, &trust()).unwrap();
    let writes = target.log.lock().unwrap().iter().filter(|op| matches!(op, Op::Write(..))).count();
    for left in 1..writes {
        let mut target = Recorder { left, lies: true, ..Recorder::new(slot(0)) };
        let error = put(&bundle(2), &mut slot(1), &mut target, &trust()).unwrap_err();
        assert!(error.contains("worn out"), "{left}: {error}");
        assert!(!look(&mut target.disk, &trust()).bootable, "{left}");
    }
}

#[test]
fn a_copy_of_the_running_slot_is_the_same_slot() {
    let (mut running, mut target) = (slot(1), MemDisk::from_bytes(noise(5, SLOT as usize)));
    let ready = copy(&mut running, &mut target, &trust(), &mut ON.clone()).unwrap();
    assert_eq!((ready.fetched, ready.manifest.version), (0, Version::new(1, 1, 0)));
    assert!(verify(&mut target, &trust()).is_sound());
    assert_eq!(bundle_of(&mut target, 0), bundle(1));

    let mut damaged = slot(1);
    let base = files(1).remove(0).1;
    let place = damaged.bytes().chunks(512).position(|sector| sector == &base[512..1024]).unwrap() * 512;
    damaged.write_at(place as u64, b"x").unwrap();
    let mut target = slot(0);
    let error = copy(&mut damaged, &mut target, &trust(), &mut ON.clone()).unwrap_err();
    assert!(error.to_string().contains("base.cpio.zst has other content"), "{error}");
    assert_eq!(target, slot(0), "a damaged slot is not spread");
}

#[test]
fn a_slot_is_judged_file_by_file() {
    let judge = |change: &dyn Fn(&mut Files)| {
        let manifest = manifest_of(1, &files(1));
        let mut changed = files(1);
        change(&mut changed);
        let verdict = verify(&mut slot_of(SLOT, &changed, &manifest), &trust());
        let damage: Vec<String> = verdict.damage.iter().map(ToString::to_string).collect();
        (damage.join("; "), verdict.foreign.join("; "))
    };
    for (what, (damage, foreign), expected) in [
        ("nothing", judge(&|_| ()), ("", "")),
        ("a missing file", judge(&|files| drop(files.remove(4))), ("kernel.img is missing", "")),
        ("a longer file", judge(&|files| files[2].1.push(b' ')), ("cmdline.txt has 25 bytes instead of 24", "")),
        ("another byte", judge(&|files| files[6].1[9] ^= 1), ("pool.cpio.zst has other content than it should", "")),
        (
            "litter",
            judge(&|files| files.push(("System Volume Information/IndexerVolumeGuid", vec![1]))),
            ("", "system volume information/indexervolumeguid"),
        ),
        ("more litter", judge(&|files| files.push(("._kernel8.dtb", vec![1]))), ("", "._kernel8.dtb")),
        (
            "what the firmware would start instead",
            judge(&|files| files.extend([("ARMSTUB8-2712.BIN", vec![1]), ("Kernel_2712.img", vec![1])])),
            (
                "armstub8-2712.bin is not of this version, and the firmware would read it; \
                 kernel_2712.img is not of this version, and the firmware would read it",
                "",
            ),
        ),
    ] {
        assert_eq!((damage.as_str(), foreign.as_str()), expected, "{what}");
    }
    let mut distrusting = trust();
    distrusting.revoked.push(key().public().id());
    let verdict = verify(&mut slot(1), &distrusting);
    assert!(!verdict.is_sound() && verdict.damage[0].to_string().contains("no longer valid"));
    let seen = look(&mut slot(1), &distrusting);
    assert_eq!(Health::of_look(&seen), Health::Distrusted);
    assert_eq!(Health::of_verdict(&seen, &verdict), Health::Distrusted);
    for (disk, expected) in [
        (slot(1), Health::Sound(Version::new(1, 1, 0))),
        (MemDisk::new(SLOT), Health::Empty),
        (format(SLOT, &files(1)), Health::Damaged(None)),
        (format(SLOT, &files(1)[..2]), Health::Empty),
        (slot_of(SLOT, &files(2), &manifest_of(1, &files(1))), Health::Damaged(Some(Version::new(1, 1, 0)))),
    ] {
        let (seen, verdict) = (look(&mut disk.clone(), &trust()), verify(&mut disk.clone(), &trust()));
        assert_eq!(Health::of_verdict(&seen, &verdict), expected);
    }
}

#[test]
fn making_a_slot_unbootable_leaves_its_files_for_reuse() {
    let mut target = slot(1);
    warppool_ota::install::make_unbootable(&mut target).unwrap();
    assert!(is_unbootable(&mut target));
    let mut source = FileSource::new(Cursor::new(bundle(1))).unwrap();
    let ready = install(&mut source, None, &mut target, &trust(), &admission(1), &mut ON.clone()).unwrap();
    assert!(ready.fetched < 80 * 1024, "only boot sectors, root directory and a FAT come anew: {}", ready.fetched);
}
