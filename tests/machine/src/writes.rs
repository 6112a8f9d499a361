//! The log of writes and flushes that QEMU's `blklogwrites` keeps (the format of Linux's dm-log-writes).
//!
//! Little-endian. A superblock of one sector: magic, version 1, number of entries (u64 each), bytes of a sector (u32). Then
//! entries, each padded to a sector: first sector, sectors, flags, bytes of data in the entry itself (u64 each), followed by the
//! sectors written.

use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, at};

const MAGIC: u64 = 0x006a_7366_7773_6872;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// No request of a guest is larger.
const LARGEST: u64 = 64 << 20;

/// One entry of the log, in the order in which QEMU wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// `data` was written from sector `sector` (512 bytes) on; `durable` when nothing had to be flushed after it (FUA).
    Data { sector: u64, data: Vec<u8>, durable: bool },
    /// Sectors were given back.
    Discard { sector: u64, sectors: u64 },
    /// All that stands before is on the disk.
    Flush,
}

/// Reads the log of a boot recorded with [`crate::Setup::record`].
///
/// The superblock's number of entries is written late and not trusted: a log ends where its last whole entry does.
pub fn read_writes(path: &Path) -> Result<Vec<Write>, Error> {
    let wrong = |why| Error::NoLog { path: path.into(), why };
    let file = std::fs::File::open(path).map_err(at("opening", path))?;
    let mut log = BufReader::new(file);
    let mut head = [0; 512];
    log.read_exact(&mut head).map_err(|_| wrong("it is shorter than a sector"))?;
    if word(&head, 0) != MAGIC || word(&head, 8) != 1 {
        return Err(wrong("it does not begin as one"));
    }
    if word(&head, 24) as u32 != 512 {
        return Err(wrong("its sectors do not have 512 bytes"));
    }
    let mut writes = Vec::new();
    while whole(&mut log, &mut head).map_err(at("reading", path))? {
        let [sector, sectors, flags] = [0, 8, 16].map(|at| word(&head, at));
        if flags & !(FLUSH | FUA | DISCARD) != 0 || (flags & DISCARD == 0 && sectors * 512 > LARGEST) {
            return Err(wrong("an entry makes no sense"));
        }
        if flags & FLUSH != 0 {
            writes.push(Write::Flush);
        }
        if flags & DISCARD != 0 {
            writes.push(Write::Discard { sector, sectors });
        } else if sectors > 0 {
            let mut data = vec![0; (sectors * 512) as usize];
            if !whole(&mut log, &mut data).map_err(at("reading", path))? {
                break;
            }
            writes.push(Write::Data { sector, data, durable: flags & FUA != 0 });
        }
    }
    Ok(writes)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Fills the buffer, or says that the log ends before it is full.
fn whole(log: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(words: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(512, 0);
        bytes
    }

    fn read(log: &[Vec<u8>]) -> Result<Vec<Write>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), log.concat()).unwrap();
        read_writes(file.path())
    }

    #[test]
    fn entries_come_in_order_and_a_torn_last_one_is_left_out() {
        let log = [
            sector(&[MAGIC, 1, 0, 512]),
            sector(&[7, 1, FUA, 0]),
            vec![9; 512],
            sector(&[0, 0, FLUSH, 0]),
            sector(&[8, 4, DISCARD, 0]),
            sector(&[9, 2, 0, 0]),
            vec![5; 600],
        ];
        let expected = [
            Write::Data { sector: 7, data: vec![9; 512], durable: true },
            Write::Flush,
            Write::Discard { sector: 8, sectors: 4 },
        ];
        assert_eq!(read(&log).unwrap(), expected);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        for log in [vec![vec![0; 100]], vec![vec![0; 512]], vec![sector(&[MAGIC, 1, 0, 4096])]] {
            assert!(matches!(read(&log), Err(Error::NoLog { .. })));
        }
        let nonsense = [sector(&[MAGIC, 1, 0, 512]), sector(&[0, 1, 64, 0])];
        assert!(matches!(read(&nonsense), Err(Error::NoLog { .. })));
    }
}
