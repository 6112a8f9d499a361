//! A volume: chains of clusters followed, folders listed, files found.

use std::collections::HashSet;
use std::ops::Range;

use super::FatError;
use super::directory::{Directory, Entry, parse_entries};
use super::file::FatFile;
use super::geometry::{Geometry, Kind, Root};
use crate::disk::Disk;

/// A folder has at most 65,536 entries of 32 bytes.
const LONGEST_DIRECTORY: u64 = 65_536 * 32;
/// A file in more pieces than this is not read.
const MOST_PIECES: usize = 65_536;
const MOST_FILES: usize = 16_384;
/// Bytes of all folders that a walk reads: chains that join could have it read the same clusters for ever.
const MOST_FOLDERS: u64 = 32 << 20;
const DEEPEST: usize = 16;
/// Bytes of the FAT kept at hand.
const WINDOW: u64 = 32 * 1024;

/// A FAT volume on a disk, read only.
pub struct Volume<D> {
    pub(super) disk: D,
    geometry: Geometry,
    /// A part of the first FAT and the offset it was read from.
    window: Vec<u8>,
    window_at: u64,
}

impl<D> std::fmt::Debug for Volume<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

impl<D: Disk> Volume<D> {
    pub fn open(mut disk: D) -> Result<Self, FatError> {
        let geometry = Geometry::read(&mut disk)?;
        Ok(Self { disk, geometry, window: Vec::new(), window_at: 0 })
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub fn into_inner(self) -> D {
        self.disk
    }

    /// Lists a folder, without `.`, `..` and the volume's label.
    pub fn list(&mut self, directory: &Directory) -> Result<Vec<Entry>, FatError> {
        self.list_counted(directory).map(|(entries, _)| entries)
    }

    /// Lists a folder, and says how many bytes of it were read.
    fn list_counted(&mut self, directory: &Directory) -> Result<(Vec<Entry>, u64), FatError> {
        let pieces = self.directory_pieces(directory)?;
        let mut bytes = Vec::new();
        for piece in &pieces {
            let at = bytes.len();
            bytes.resize(at + (piece.end - piece.start) as usize, 0);
            self.disk.read_at(piece.start, &mut bytes[at..])?;
        }
        Ok((parse_entries(&bytes, self.geometry.kind == Kind::Fat32), bytes.len() as u64))
    }

    /// The file or folder of a path such as `overlays/a.dtbo`; upper and lower case are the same.
    pub fn find(&mut self, path: &str) -> Result<Entry, FatError> {
        let missing = || FatError::Missing { path: path.to_owned() };
        let mut directory = Directory::root();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let entry = self.list(&directory)?.into_iter().find(|entry| entry.is_called(part)).ok_or_else(missing)?;
            if parts.peek().is_none() {
                return Ok(entry);
            }
            directory = entry.directory().ok_or_else(missing)?;
        }
        Err(missing())
    }

    /// Every file with its path, folders first looked into in the order they stand.
    pub fn walk(&mut self) -> Result<Vec<(String, Entry)>, FatError> {
        let mut files = Vec::new();
        self.walk_all(&mut |path, entry| {
            if !entry.is_directory() {
                files.push((path.to_owned(), entry.clone()));
            }
        })?;
        Ok(files)
    }

    /// Visits every file and folder.
    pub(crate) fn walk_all(&mut self, visit: &mut dyn FnMut(&str, &Entry)) -> Result<(), FatError> {
        let mut seen = HashSet::new();
        let mut waiting = vec![(String::new(), Directory::root(), 0)];
        let (mut count, mut read) = (0, 0);
        while let Some((prefix, directory, depth)) = waiting.pop() {
            let (entries, bytes) = self.list_counted(&directory)?;
            read += bytes;
            if read > MOST_FOLDERS {
                return Err(FatError::TooMany("32 MiB of folders"));
            }
            for entry in entries {
                count += 1;
                if count > MOST_FILES {
                    return Err(FatError::TooMany("16,384 files and folders"));
                }
                let path = format!("{prefix}{}", entry.name());
                visit(&path, &entry);
                if let Some(inner) = entry.directory() {
                    if depth == DEEPEST || !seen.insert(entry.cluster()) {
                        return Err(damaged(&path, "folders lie in one another without end"));
                    }
                    waiting.push((format!("{path}/"), inner, depth + 1));
                }
            }
        }
        Ok(())
    }

    /// Where a file's bytes lie: whole clusters, neighbours joined.
    pub fn pieces(&mut self, file: &Entry) -> Result<Vec<Range<u64>>, FatError> {
        if file.is_directory() {
            return self.directory_pieces(&Directory::of(file.cluster(), file.name()));
        }
        let wanted = u64::from(file.size()).div_ceil(self.geometry.cluster);
        if wanted > u64::from(self.geometry.clusters) {
            return Err(damaged(file.name(), "it is larger than the volume"));
        }
        self.chain(file.name(), file.cluster(), Some(wanted))
    }

    /// Where a folder's entries lie.
    pub fn directory_pieces(&mut self, directory: &Directory) -> Result<Vec<Range<u64>>, FatError> {
        match (directory.cluster(), &self.geometry.root) {
            (Some(cluster), _) => self.chain(directory.name(), cluster, None),
            (None, Root::Fixed(range)) => Ok(vec![range.clone()]),
            (None, &Root::Cluster(cluster)) => self.chain("/", cluster, None),
        }
    }

    /// Reads a whole file of at most `limit` bytes.
    pub fn read(&mut self, file: &Entry, limit: u64) -> Result<Vec<u8>, FatError> {
        let size = u64::from(file.size());
        if size > limit {
            return Err(FatError::TooLarge { name: file.name().to_owned(), size, limit });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        self.stream(file, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// Hands a file over piece by piece.
    pub fn stream(&mut self, file: &Entry, take: &mut dyn FnMut(&[u8])) -> Result<(), FatError> {
        if file.is_directory() {
            let path = file.name().to_owned();
            return Err(FatError::WrongType { path, is: "folder", wanted: "file" });
        }
        let mut left = u64::from(file.size());
        let mut buffer = vec![0; 256 * 1024];
        for piece in self.pieces(file)? {
            let mut at = piece.start;
            while at < piece.end && left > 0 {
                let count = (piece.end - at).min(left).min(buffer.len() as u64);
                let bytes = &mut buffer[..count as usize];
                self.disk.read_at(at, bytes)?;
                take(bytes);
                at += count;
                left -= count;
            }
        }
        Ok(())
    }

    /// Opens a file for reading and seeking.
    pub fn open_file(&mut self, file: &Entry) -> Result<FatFile<'_, D>, FatError> {
        let pieces = self.pieces(file)?;
        Ok(FatFile::new(&mut self.disk, pieces, u64::from(file.size())))
    }

    /// Follows a chain: `wanted` clusters of a file, or to the end for a folder.
    fn chain(&mut self, name: &str, first: u32, wanted: Option<u64>) -> Result<Vec<Range<u64>>, FatError> {
        let most = wanted.unwrap_or(LONGEST_DIRECTORY.div_ceil(self.geometry.cluster));
        let mut pieces: Vec<Range<u64>> = Vec::new();
        let mut next = Some(first);
        let mut count = 0;
        while count < most {
            let Some(cluster) = next else {
                return if wanted.is_none() {
                    Ok(pieces)
                } else {
                    Err(damaged(name, "its chain of clusters ends too early"))
                };
            };
            let bytes = self
                .geometry
                .cluster_bytes(cluster)
                .ok_or_else(|| damaged(name, "its chain of clusters leads outside"))?;
            if let Some(last) = pieces.last_mut().filter(|last| last.end == bytes.start) {
                last.end = bytes.end;
            } else if pieces.len() == MOST_PIECES {
                return Err(damaged(name, "it lies in too many pieces"));
            } else {
                pieces.push(bytes);
            }
            count += 1;
            next = self.next(cluster)?;
        }
        if wanted.is_none() && next.is_some() {
            return Err(damaged(name, "it is longer than a folder can be"));
        }
        Ok(pieces)
    }

    /// What the first FAT says follows a cluster; `None` at the end of a chain. An answer that is no cluster is found by its user.
    pub(crate) fn next(&mut self, cluster: u32) -> Result<Option<u32>, FatError> {
        // The FAT has no entry for it.
        if self.geometry.cluster_bytes(cluster).is_none() {
            return Err(damaged(&format!("cluster {cluster}"), "there is no such cluster"));
        }
        let at = u64::from(cluster);
        let (value, end) = match self.geometry.kind {
            Kind::Fat12 => {
                let pair = u32::from(self.fat_byte(at * 3 / 2)?) | u32::from(self.fat_byte(at * 3 / 2 + 1)?) << 8;
                (if cluster & 1 == 0 { pair & 0xfff } else { pair >> 4 }, 0xff8)
            }
            Kind::Fat16 => (u32::from(self.fat_byte(at * 2)?) | u32::from(self.fat_byte(at * 2 + 1)?) << 8, 0xfff8),
            Kind::Fat32 => {
                let mut value = 0;
                for byte in 0..4 {
                    value |= u32::from(self.fat_byte(at * 4 + byte)?) << (8 * byte);
                }
                (value & 0x0fff_ffff, 0x0fff_fff8)
            }
        };
        Ok((value < end).then_some(value))
    }

    fn fat_byte(&mut self, offset: u64) -> Result<u8, FatError> {
        let fat = &self.geometry.fats[0];
        let wanted = offset / WINDOW * WINDOW;
        if self.window.is_empty() || self.window_at != wanted {
            let count = WINDOW.min(fat.end - fat.start - wanted);
            let mut window = vec![0; count as usize];
            self.disk.read_at(fat.start + wanted, &mut window)?;
            self.window = window;
            self.window_at = wanted;
        }
        Ok(self.window[(offset - wanted) as usize])
    }
}

fn damaged(name: &str, what: &'static str) -> FatError {
    FatError::Damaged { name: name.to_owned(), what }
}
