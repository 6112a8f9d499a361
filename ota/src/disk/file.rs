//! A block device or an image file, read past the page cache where the system lets us.
//!
//! With `O_DIRECT` a read comes from the device itself, so that reading back proves what was written. Where it is refused, the cache
//! is dropped after every flush instead.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use super::{Disk, within};

/// Memory and file offsets of direct I/O are aligned to this at most.
const PAGE: usize = 4096;
/// Direct I/O goes through a buffer of this size.
const BOUNCE: usize = 256 * 1024;

/// A disk behind an open file.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    len: u64,
    /// Offsets and lengths must be multiples of this many bytes; `None` goes through the page cache.
    direct: Option<usize>,
    bounce: Vec<u8>,
}

impl FileDisk {
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_file(OpenOptions::new().read(true).write(true).open(path)?)
    }

    pub fn open_read_only(path: &Path) -> io::Result<Self> {
        Self::from_file(OpenOptions::new().read(true).open(path)?)
    }

    /// Takes over a file or device. Its length is fixed from here on.
    pub fn from_file(mut file: File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        let mut disk = Self { file, len, direct: None, bounce: Vec::new() };
        disk.direct = disk.go_direct();
        if disk.direct.is_some() {
            disk.bounce = vec![0; BOUNCE + PAGE];
        }
        Ok(disk)
    }

    /// Whether reads pass the page cache.
    pub fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Turns on `O_DIRECT` and finds by trying which alignment it wants.
    #[cfg(target_os = "linux")]
    fn go_direct(&mut self) -> Option<usize> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let before = OFlag::from_bits_retain(fcntl(&self.file, FcntlArg::F_GETFL).ok()?);
        fcntl(&self.file, FcntlArg::F_SETFL(before | OFlag::O_DIRECT)).ok()?;
        let mut probe = vec![0; 2 * PAGE];
        let start = probe.as_ptr().align_offset(PAGE);
        for align in [super::SECTOR, PAGE] {
            // An end within the last piece cannot be reached directly.
            if self.len.is_multiple_of(align as u64)
                && self.len >= 2 * align as u64
                && sys::read_at(&self.file, align as u64, &mut probe[start..start + align]).is_ok_and(|n| n == align)
            {
                return Some(align);
            }
        }
        let _ = fcntl(&self.file, FcntlArg::F_SETFL(before));
        None
    }

    #[cfg(not(target_os = "linux"))]
    fn go_direct(&mut self) -> Option<usize> {
        None
    }

    /// Drops what the system keeps of this file in memory; where it cannot, reading back proves less.
    fn drop_cache(&self) {
        #[cfg(target_os = "linux")]
        {
            use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
            let _ = posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
    }

    /// Fills the bounce buffer with `count` aligned bytes from an aligned offset; returns where in the buffer they begin.
    fn fill(&mut self, offset: u64, count: usize) -> io::Result<usize> {
        let start = self.bounce.as_ptr().align_offset(PAGE);
        sys::read_exact_at(&self.file, offset, &mut self.bounce[start..start + count])?;
        Ok(start)
    }
}

/// Takes over a file descriptor that this process was started with, as PID 1 hands them to its workers.
///
/// To be called once a number, before anything else of the program uses it: the descriptor is closed with the file.
#[cfg(unix)]
#[allow(unsafe_code)]
pub fn inherited(number: std::os::fd::RawFd) -> io::Result<File> {
    use std::os::fd::{FromRawFd, OwnedFd};
    if number <= 2 || !Path::new(&format!("/dev/fd/{number}")).exists() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("file descriptor {number} was not handed to this process: it is to be started by PID 1"),
        ));
    }
    // SAFETY: the descriptor is open, and by this function's contract nobody else in the process owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(number) }))
}

impl Disk for FileDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        within(self.len, offset, buf.len())?;
        let Some(align) = self.direct else {
            return sys::read_exact_at(&self.file, offset, buf);
        };
        let mut done = 0;
        while done < buf.len() {
            let span = Span::of(offset + done as u64, buf.len() - done, align);
            let start = self.fill(span.offset, span.len)? + span.skip;
            buf[done..done + span.take].copy_from_slice(&self.bounce[start..start + span.take]);
            done += span.take;
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        within(self.len, offset, data.len())?;
        let Some(align) = self.direct else {
            return sys::write_all_at(&self.file, offset, data);
        };
        let mut done = 0;
        while done < data.len() {
            let span = Span::of(offset + done as u64, data.len() - done, align);
            // Only a piece that is not wholly written needs what stood around it.
            let start = if span.take == span.len {
                self.bounce.as_ptr().align_offset(PAGE)
            } else {
                self.fill(span.offset, span.len)?
            };
            self.bounce[start + span.skip..start + span.skip + span.take]
                .copy_from_slice(&data[done..done + span.take]);
            sys::write_all_at(&self.file, span.offset, &self.bounce[start..start + span.len])?;
            done += span.take;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.direct.is_none() {
            self.drop_cache();
        }
        Ok(())
    }
}

/// One aligned piece of I/O: `len` bytes at `offset`, of which `take` after `skip` are wanted.
struct Span {
    offset: u64,
    len: usize,
    skip: usize,
    take: usize,
}

impl Span {
    fn of(offset: u64, count: usize, align: usize) -> Self {
        let skip = (offset % align as u64) as usize;
        let len = (skip + count).next_multiple_of(align).min(BOUNCE);
        Self { offset: offset - skip as u64, len, skip, take: count.min(len - skip) }
    }
}

#[cfg(unix)]
mod sys {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    #[cfg(target_os = "linux")]
    pub fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        file.read_at(buf, offset)
    }

    pub fn read_exact_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(buf, offset)
    }

    pub fn write_all_at(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        file.write_all_at(data, offset)
    }
}

#[cfg(windows)]
mod sys {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    pub fn read_exact_at(file: &File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let count = file.seek_read(buf, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset += count as u64;
            buf = &mut buf[count..];
        }
        Ok(())
    }

    pub fn write_all_at(file: &File, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let count = file.seek_write(data, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += count as u64;
            data = &data[count..];
        }
        Ok(())
    }
}
