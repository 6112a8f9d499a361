//! Folders: short names, long names, and which of them is meant.

const LONG_NAME: u8 = 0x0f;
const LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;

/// A folder to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// `None` is the root.
    cluster: Option<u32>,
    name: String,
}

impl Directory {
    pub fn root() -> Self {
        Self { cluster: None, name: "/".into() }
    }

    pub(super) fn of(cluster: u32, name: &str) -> Self {
        Self { cluster: Some(cluster), name: name.into() }
    }

    pub(super) fn cluster(&self) -> Option<u32> {
        self.cluster
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// A file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    name: String,
    short: String,
    folder: bool,
    size: u32,
    cluster: u32,
}

impl Entry {
    /// The long name, or the short one where there is none.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_directory(&self) -> bool {
        self.folder
    }

    /// Bytes; 0 for a folder.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The first cluster; 0 for an empty file.
    pub fn cluster(&self) -> u32 {
        self.cluster
    }

    pub fn directory(&self) -> Option<Directory> {
        self.folder.then(|| Directory::of(self.cluster, &self.name))
    }

    /// Whether it goes by this name, long or short, whatever the case.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.to_lowercase() == name.to_lowercase() || self.short.eq_ignore_ascii_case(name)
    }
}

/// Reads a folder's bytes up to its end.
pub(super) fn parse_entries(bytes: &[u8], wide: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut long = LongName::default();
    for raw in bytes.as_chunks::<32>().0 {
        match (raw[0], raw[11]) {
            (0, _) => break,
            (0xe5, _) => long = LongName::default(),
            (_, attributes) if attributes & 0x3f == LONG_NAME => long.add(raw),
            (_, attributes) if attributes & LABEL != 0 => long = LongName::default(),
            _ => {
                let taken = std::mem::take(&mut long).finish(raw);
                entries.extend(parse_entry(raw, taken, wide));
            }
        }
    }
    entries
}

fn parse_entry(raw: &[u8; 32], long: Option<String>, wide: bool) -> Option<Entry> {
    let short = short_name(raw);
    if short == "." || short == ".." {
        return None;
    }
    let half = |at: usize| u32::from(u16::from_le_bytes([raw[at], raw[at + 1]]));
    // The upper half of the cluster is something else on FAT12 and FAT16.
    let cluster = half(26) | if wide { half(20) << 16 } else { 0 };
    let folder = raw[11] & FOLDER != 0;
    let size = if folder { 0 } else { half(28) | half(30) << 16 };
    Some(Entry { name: long.unwrap_or_else(|| short.clone()), short, folder, size, cluster })
}

/// `NAME.EXT`, in lower case where Windows says so in a bit; what is not ASCII depends on a code page nobody knows.
fn short_name(raw: &[u8; 32]) -> String {
    let part = |bytes: &[u8], lower: bool| -> String {
        let text = bytes.iter().enumerate().map(|(at, &byte)| match byte {
            0x05 if at == 0 => char::REPLACEMENT_CHARACTER,
            b'/' | 0..0x20 | 0x7f.. => char::REPLACEMENT_CHARACTER,
            byte if lower => char::from(byte.to_ascii_lowercase()),
            byte => char::from(byte),
        });
        text.collect::<String>().trim_end_matches(' ').to_owned()
    };
    let base = part(&raw[..8], raw[12] & 0x08 != 0);
    let extension = part(&raw[8..11], raw[12] & 0x10 != 0);
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// A long name in the making: its parts stand before the short entry, last part first.
#[derive(Default)]
struct LongName {
    units: Vec<[u16; 13]>,
    /// The part that must come next; 0 is complete.
    next: u8,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, raw: &[u8; 32]) {
        let (last, number) = (raw[0] & 0x40 != 0, raw[0] & 0x3f);
        if last && (1..=20).contains(&number) {
            *self = Self { units: Vec::with_capacity(number as usize), next: number, checksum: raw[13] };
        } else if last || number == 0 || number != self.next || raw[13] != self.checksum {
            *self = Self::default();
            return;
        }
        let mut units = [0; 13];
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        for (unit, at) in units.iter_mut().zip(places) {
            *unit = u16::from_le_bytes([raw[at], raw[at + 1]]);
        }
        self.units.push(units);
        self.next = number - 1;
    }

    /// The name, if it is whole, belongs to this short entry and can be part of a path.
    fn finish(self, raw: &[u8; 32]) -> Option<String> {
        let sum = raw[..11].iter().fold(0u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
        if self.units.is_empty() || self.next != 0 || self.checksum != sum {
            return None;
        }
        let units = self.units.iter().rev().flatten().copied().take_while(|&unit| unit != 0);
        let name = String::from_utf16(&units.collect::<Vec<u16>>()).ok()?;
        (!name.is_empty() && !name.contains(|c: char| c == '/' || c.is_control()) && name != "." && name != "..")
            .then_some(name)
    }
}
