//! The files in the root directory: the few things we do with them.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fatfs::{Dir, FileSystem, FsOptions};

use super::guarded::Guarded;
use super::survey::Survey;
use super::{Disk, VolumeError, wipe};

/// Zeroed and made durable before the rest of a file: whoever finds a zero there knows that the file is being erased.
const FIRST_STEP: u64 = 512;

/// A file in the root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// As it stands there.
    pub name: String,
    pub size: u64,
}

/// A file system that has been looked at and found safe to work with.
pub(crate) struct Volume<'a, D> {
    disk: &'a mut D,
    end: u64,
}

impl<'a, D: Disk> Volume<'a, D> {
    pub fn open(disk: &'a mut D) -> Result<Self, VolumeError> {
        let end = Survey::of(disk)?.end();
        Ok(Self { disk, end })
    }

    /// The first file that has one of these names, in any case. Two of them are an error: which one is meant?
    pub fn find(&mut self, names: &[&str]) -> Result<Option<Found>, VolumeError> {
        let mut found: Vec<Found> = self.mounted(false, |root| {
            let files = root.iter().filter(|entry| entry.as_ref().is_ok_and(fatfs::DirEntry::is_file));
            let found = files.map(|entry| entry.map(|entry| Found { name: entry.file_name(), size: entry.len() }));
            let wanted = |found: &Found| names.contains(&found.name.to_lowercase().as_str());
            found.filter(|found| found.as_ref().map_or(true, wanted)).take(2).collect()
        })?;
        match (found.pop(), found.pop()) {
            (Some(second), Some(first)) => Err(VolumeError::Twice(first.name, second.name)),
            (only, _) => Ok(only),
        }
    }

    /// The file's content, at most `most` bytes.
    pub fn read(&mut self, file: &Found, most: usize) -> Result<Vec<u8>, VolumeError> {
        let Found { name, size } = file.clone();
        if size > most as u64 {
            return Err(VolumeError::TooLarge { name, size, most });
        }
        self.mounted(false, |root| {
            let mut content = Vec::new();
            root.open_file(&name)?.take(most as u64).read_to_end(&mut content)?;
            Ok(content)
        })
    }

    /// Writes a file, unless it has this content already.
    pub fn write(&mut self, name: &str, content: &[u8]) -> Result<(), VolumeError> {
        if let Some(there) = self.find(&[name.to_lowercase().as_str()])?
            && there.size == content.len() as u64
            && self.read(&there, content.len())? == content
        {
            return Ok(());
        }
        self.mounted(true, |root| {
            let mut file = root.create_file(name)?;
            file.truncate()?;
            file.write_all(content)?;
            file.flush()
        })?;
        Ok(self.disk.sync()?)
    }

    /// Overwrites a file's clusters with zeros where they lie; its beginning is durable before the rest.
    pub fn blank(&mut self, file: &Found) -> Result<(), VolumeError> {
        // Not its size: of a file whose removal a power cut ended, clusters are missing, and writing there would take
        // new ones.
        let there = self.mounted(false, |root| {
            let mut content = root.open_file(&file.name)?.take(file.size);
            io::copy(&mut content, &mut io::sink())
        })?;
        self.zero(file, there.min(FIRST_STEP))?;
        self.zero(file, there)
    }

    pub fn remove(&mut self, name: &str) -> Result<(), VolumeError> {
        self.mounted(true, |root| root.remove(name))?;
        Ok(self.disk.sync()?)
    }

    fn zero(&mut self, file: &Found, length: u64) -> Result<(), VolumeError> {
        self.mounted(true, |root| {
            let mut open = root.open_file(&file.name)?;
            open.seek(SeekFrom::Start(0))?;
            io::copy(&mut io::repeat(0).take(length), &mut open)?;
            open.flush()
        })?;
        Ok(self.disk.sync()?)
    }

    /// Writes zeros into all clusters that hold no file; how many bytes had to be overwritten.
    pub fn wipe_free(&mut self) -> Result<u64, VolumeError> {
        wipe::wipe_free(self.disk)
    }

    /// Runs something on the root directory of the mounted file system, and unmounts it.
    fn mounted<T>(
        &mut self,
        writable: bool,
        work: impl FnOnce(&Dir<'_, Guarded<'_, D>>) -> io::Result<T>,
    ) -> Result<T, VolumeError> {
        let disk = Guarded::new(self.disk, self.end, writable)?;
        let system = FileSystem::new(disk, FsOptions::new())?;
        let done = work(&system.root_dir())?;
        system.unmount()?;
        Ok(done)
    }
}
