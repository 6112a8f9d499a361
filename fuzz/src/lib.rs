//! A disk of which an input holds only the sectors that matter, so that structures far apart fit into a small input.
//!
//! An input is the disk's length in sectors and then sectors, each with its number before it; numbers are u32 little-endian.
//! What no sector covers is zero, and a last sector that is cut short is filled up with zeros.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

pub const SECTOR: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparse {
    len: u64,
    sectors: BTreeMap<u64, [u8; SECTOR]>,
    at: u64,
}

impl Sparse {
    /// `None` for an input that is too short, or claims more than `most` bytes.
    pub fn new(input: &[u8], most: u64) -> Option<Self> {
        let number = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
        let (count, records) = input.split_first_chunk::<4>()?;
        let len = number(count) * SECTOR as u64;
        let mut sectors = BTreeMap::new();
        for record in records.chunks(4 + SECTOR) {
            let Some((at, content)) = record.split_first_chunk::<4>() else { break };
            let mut sector = [0; SECTOR];
            sector[..content.len()].copy_from_slice(content);
            sectors.insert(number(at), sector);
        }
        (len <= most).then_some(Self { len, sectors, at: 0 })
    }

    fn check(&self, offset: u64, count: usize) -> io::Result<()> {
        let end = offset.checked_add(count as u64);
        if end.is_some_and(|end| end <= self.len) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Cuts a range into the parts that lie in one sector: the sector, where in it, and where in the range.
fn parts(offset: u64, count: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % SECTOR as u64) as usize;
        let part = (SECTOR - within).min(count - done);
        done += part;
        (part > 0).then(|| (at / SECTOR as u64, within, done - part..done))
    })
}

impl warppool_ota::Disk for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.check(offset, buf.len())?;
        for (sector, within, range) in parts(offset, buf.len()) {
            let into = &mut buf[range];
            match self.sectors.get(&sector) {
                Some(content) => into.copy_from_slice(&content[within..within + into.len()]),
                None => into.fill(0),
            }
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(offset, data.len())?;
        for (sector, within, range) in parts(offset, data.len()) {
            let from = &data[range];
            // Wiping a large disk does not make it a full one.
            if from.iter().all(|&byte| byte == 0) && !self.sectors.contains_key(&sector) {
                continue;
            }
            self.sectors.entry(sector).or_insert([0; SECTOR])[within..within + from.len()].copy_from_slice(from);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Sparse {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.len.saturating_sub(self.at).min(buf.len() as u64) as usize;
        warppool_ota::Disk::read_at(self, self.at, &mut buf[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Sparse {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.len.saturating_sub(self.at).min(buf.len() as u64) as usize;
        warppool_ota::Disk::write_at(self, self.at, &buf[..count])?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        self.at = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl warppool_handover::Disk for Sparse {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
