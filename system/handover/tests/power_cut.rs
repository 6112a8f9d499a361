//! The power may go at any write: the settings are still there to be read, or they were stored and what is left of them
//! is erased by the next call.

mod common;

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use common::{Partition, SECRETS, SETTINGS, SMALL, holds, older, order};
use warppool_handover::{Disk, Finish, Outcome, finish, read};

/// A disk that remembers every write and where a flush separated them.
struct Recorder {
    disk: Cursor<Vec<u8>>,
    /// Sector by sector: what a card writes whole.
    writes: Vec<(u64, Vec<u8>)>,
    /// How many writes there were at each flush.
    syncs: Vec<usize>,
}

const SECTOR: u64 = 512;

impl Read for Recorder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.disk.read(into)
    }
}

impl Seek for Recorder {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}

impl Write for Recorder {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let at = self.disk.position();
        let count = self.disk.write(from)?;
        let (first, last) = (at / SECTOR, (at + count as u64).div_ceil(SECTOR));
        for sector in first..last {
            let range = (sector * SECTOR) as usize..((sector + 1) * SECTOR) as usize;
            let content = self.disk.get_ref()[range].to_vec();
            self.writes.push((sector * SECTOR, content));
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for Recorder {
    fn sync(&mut self) -> io::Result<()> {
        self.syncs.push(self.writes.len());
        Ok(())
    }
}

#[test]
fn after_a_cut_at_any_write_the_settings_are_whole_or_what_is_left_is_erased() {
    let mut states = 0;
    for (name, size, options) in SMALL {
        let Some(mut partition) = Partition::new(size, options) else { return };
        partition.put("old.tmp", older().as_bytes());
        partition.delete("old.tmp");
        partition.put("warppool.toml", SETTINGS.as_bytes());
        let before = partition.disk.get_ref().clone();
        let Outcome::Asked { settings: Some(settings), .. } = read(&mut partition.disk, &|_| true) else {
            panic!("is read")
        };
        let order = order(settings.clone());
        let mut recorder = Recorder { disk: Cursor::new(before.clone()), writes: Vec::new(), syncs: Vec::new() };
        finish(&mut recorder, &order).expect("all is well");
        let mut image = before.clone();
        let mut window = 0;
        for written in 0..=recorder.writes.len() {
            // In order, and each write before those that came since the last flush.
            examine(&mut image.clone(), &order, &format!("{name}, {written} writes"));
            states += 1;
            if let Some((at, content)) = recorder.writes.get(written) {
                // A FAT32 is large, and its tables are handled as the others' are.
                if size > 16 {
                    put(&mut image, *at, content);
                    continue;
                }
                let mut alone = image_at(&before, &recorder.writes[..window]);
                put(&mut alone, *at, content);
                examine(&mut alone, &order, &format!("{name}, write {written} before those since the last flush"));
                states += 1;
                put(&mut image, *at, content);
            }
            if recorder.syncs.contains(&(written + 1)) {
                window = written + 1;
            }
        }
    }
    println!("{states} crash states");
    assert!(states > 100, "{states}");
}

fn put(image: &mut [u8], at: u64, content: &[u8]) {
    image[at as usize..at as usize + content.len()].copy_from_slice(content);
}

fn image_at(before: &[u8], writes: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut image = before.to_vec();
    for (at, content) in writes {
        put(&mut image, *at, content);
    }
    image
}

/// What the next start finds and does.
fn examine(image: &mut Vec<u8>, order: &Finish, when: &str) {
    let mut disk = Cursor::new(std::mem::take(image));
    match read(&mut disk, &|_| true) {
        // The same file, which was stored: erased by the same order.
        Outcome::Asked { settings: Some(settings), .. } => {
            assert_eq!(Some(&settings.digest), digest(order), "{when}: another file than was handed over");
            finish(&mut disk, order).unwrap_or_else(|why| panic!("{when}: {why}"));
        }
        Outcome::Remains => {
            let erase = Finish { erase_settings: true, ..Finish::default() };
            finish(&mut disk, &erase).unwrap_or_else(|why| panic!("{when}: {why}"));
        }
        Outcome::Nothing => {}
        other => panic!("{when}: {other:?}"),
    }
    let gone = read(&mut disk, &|_| true);
    assert_eq!(gone, Outcome::Nothing, "{when}");
    for secret in SECRETS {
        assert!(!holds(disk.get_ref(), secret), "{when}: {secret} is still there");
    }
}

fn digest(order: &Finish) -> Option<&[u8; 32]> {
    match &order.report.as_ref()?.standing {
        warppool_handover::Standing::Taken(settings) => Some(&settings.digest),
        _ => None,
    }
}
