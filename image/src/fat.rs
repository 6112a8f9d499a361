//! FAT volumes, written the same way every time: fixed ids, fixed times, and every file in one piece.

use std::fmt::Write as _;
use std::io::{self, Cursor, Write};

use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};

use crate::error::ImageError;
use crate::limits::LEAST_FAT32_CLUSTERS;

/// What a volume is like.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// For messages.
    pub what: &'static str,
    /// Bytes.
    pub size: u64,
    pub fat32: bool,
    /// Bytes.
    pub cluster: u32,
    pub id: u32,
    /// Padded with spaces.
    pub label: &'static [u8; 11],
}

/// Every file is of the first instant that FAT knows: a volume depends on names and contents alone.
#[derive(Debug)]
struct Epoch;

static EPOCH: Epoch = Epoch;
const FIRST_DAY: Date = Date { year: 1980, month: 1, day: 1 };

impl TimeProvider for Epoch {
    fn get_current_date(&self) -> Date {
        FIRST_DAY
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: FIRST_DAY, time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

impl Volume {
    /// Writes a volume with these files, sorted by name, from the root with parts separated by `/`.
    pub fn write(&self, files: &[(&str, &[u8])]) -> Result<Vec<u8>, ImageError> {
        let needed: u64 =
            files.iter().map(|(_, bytes)| (bytes.len() as u64).next_multiple_of(self.cluster.into())).sum();
        let mut image = Cursor::new(vec![0; self.size as usize]);
        match self.fill(&mut image, files) {
            Ok(clusters) if self.fat32 && clusters < LEAST_FAT32_CLUSTERS => {
                Err(ImageError::FewClusters { clusters, least: LEAST_FAT32_CLUSTERS })
            }
            Ok(_) => Ok(image.into_inner()),
            Err(_) if self.fat32 && self.size / u64::from(self.cluster) < LEAST_FAT32_CLUSTERS.into() => {
                let clusters = (self.size / u64::from(self.cluster)) as u32;
                Err(ImageError::FewClusters { clusters, least: LEAST_FAT32_CLUSTERS })
            }
            Err(_) if needed > self.size * 9 / 10 => Err(ImageError::Full { what: self.what, needed, size: self.size }),
            Err(error) => Err(ImageError::Io { path: self.what.into(), error }),
        }
    }

    /// Answers with the number of clusters.
    fn fill(&self, image: &mut Cursor<Vec<u8>>, files: &[(&str, &[u8])]) -> io::Result<u32> {
        let kind = if self.fat32 { FatType::Fat32 } else { FatType::Fat16 };
        let format = FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(self.cluster).volume_id(self.id);
        fatfs::format_volume(&mut *image, format.volume_label(*self.label))?;
        let volume = FileSystem::new(image, FsOptions::new().time_provider(&EPOCH).update_accessed_date(false))?;
        let root = volume.root_dir();
        // Folders grow as entries are made in them. They are complete, and in one piece each, before the first file gets a
        // cluster: the root's own entries first, then those of the folders below.
        let depth = |name: &str| name.matches('/').count();
        let mut order: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        order.sort_by_key(|name| (depth(name), *name));
        for name in order {
            let mut above = String::new();
            for folder in name.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
                let _ = write!(above, "{}{folder}", if above.is_empty() { "" } else { "/" });
                root.create_dir(&above)?;
            }
            root.create_file(name)?;
        }
        for (name, bytes) in files {
            let mut file = root.open_file(name)?;
            file.write_all(bytes)?;
            file.flush()?;
        }
        drop(root);
        let clusters = volume.stats()?.total_clusters();
        volume.unmount()?;
        Ok(clusters)
    }
}
