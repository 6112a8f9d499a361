//! A small disk of the appliance's shape: `autoboot.txt` alone, then two slots.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};

const MIB: u64 = 1 << 20;

/// Start and length of the three partitions.
const PARTITIONS: [(u64, u64, FatType); 3] =
    [(MIB, 8 * MIB, FatType::Fat16), (9 * MIB, 64 * MIB, FatType::Fat32), (73 * MIB, 64 * MIB, FatType::Fat32)];

/// Writes the disk; `files` go into both slots.
pub fn make(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut disk = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    disk.set_len(256 * MIB).unwrap();
    let mut table = [0; 512];
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    for (index, (start, length, _)) in PARTITIONS.iter().enumerate() {
        let entry = &mut table[446 + index * 16..][..16];
        entry[4] = 0x0c;
        entry[8..12].copy_from_slice(&((start / 512) as u32).to_le_bytes());
        entry[12..].copy_from_slice(&((length / 512) as u32).to_le_bytes());
    }
    disk.write_all(&table).unwrap();
    for (index, (start, length, kind)) in PARTITIONS.into_iter().enumerate() {
        let window = || Window { disk: &disk, start, length, position: 0 };
        format_volume(window(), FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(512)).unwrap();
        let volume = FileSystem::new(window(), FsOptions::new()).unwrap();
        let put = |name: &str, bytes: &[u8]| volume.root_dir().create_file(name).unwrap().write_all(bytes).unwrap();
        if index == 0 {
            put("autoboot.txt", b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n");
        } else {
            put("config.txt", b"kernel=kernel.img\ninitramfs base.cpio,more.cpio followkernel\n");
            put("cmdline.txt", format!("console=ttyAMA0 panic=1 quiet slot={}\n", index + 1).as_bytes());
            for (name, bytes) in files {
                put(name, bytes);
            }
        }
    }
}

/// One partition as a file.
struct Window<'a> {
    disk: &'a File,
    start: u64,
    length: u64,
    position: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = (self.length - self.position).min(buffer.len() as u64) as usize;
        self.disk.seek(SeekFrom::Start(self.start + self.position))?;
        let length = self.disk.read(&mut buffer[..left])?;
        self.position += length as u64;
        Ok(length)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let left = (self.length - self.position).min(buffer.len() as u64) as usize;
        self.disk.seek(SeekFrom::Start(self.start + self.position))?;
        let length = self.disk.write(&buffer[..left])?;
        self.position += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::Current(by) => self.position.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?,
            SeekFrom::End(by) => self.length.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?,
        };
        Ok(self.position)
    }
}
