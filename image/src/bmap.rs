//! The block map that bmaptool reads: which blocks of the disk image matter, and their checksums.
//!
//! Blocks that are all zero matter too where something is read from them: an old card is not zero. What is left out is free space
//! whose content nobody asks for.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use sha2::{Digest as _, Sha256};
use warppool_ota::Digest;

/// Bytes of a block.
pub const BLOCK: u64 = 4096;

/// The map of an image, in bmap format 2.0. `regions` are bytes, ascending, cut at whole blocks.
pub fn write(image: &mut File, regions: &[Range<u64>]) -> io::Result<String> {
    let size = image.seek(SeekFrom::End(0))?;
    let regions = join(regions);
    let mapped: u64 = regions.iter().map(|region| (region.end - region.start) / BLOCK).sum();
    let mut ranges = String::new();
    for region in &regions {
        image.seek(SeekFrom::Start(region.start))?;
        let mut hash = Sha256::new();
        let copied = io::copy(&mut image.take(region.end - region.start), &mut HashWriter(&mut hash))?;
        if copied != region.end - region.start {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the image is shorter than its block map"));
        }
        let (first, last) = (region.start / BLOCK, region.end / BLOCK - 1);
        let blocks = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let _ = writeln!(ranges, "    <Range chksum=\"{}\"> {blocks} </Range>", Digest(hash.finalize().into()));
    }
    let with = |checksum: &str| {
        format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n  <ImageSize> {size} </ImageSize>\n  \
             <BlockSize> {BLOCK} </BlockSize>\n  <BlocksCount> {} </BlocksCount>\n  \
             <MappedBlocksCount> {mapped} </MappedBlocksCount>\n  <ChecksumType> sha256 </ChecksumType>\n  \
             <BmapFileChecksum> {checksum} </BmapFileChecksum>\n  <BlockMap>\n{ranges}  </BlockMap>\n</bmap>\n",
            size.div_ceil(BLOCK)
        )
    };
    // The file's own checksum is taken with zeros in its place.
    let checksum = Digest::of(with(&"0".repeat(64)).as_bytes()).to_string();
    Ok(with(&checksum))
}

/// Regions that touch become one.
fn join(regions: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for region in regions {
        let region = region.start / BLOCK * BLOCK..region.end.next_multiple_of(BLOCK);
        match joined.last_mut() {
            Some(last) if last.end >= region.start => last.end = last.end.max(region.end),
            _ => joined.push(region),
        }
    }
    joined
}

pub(crate) struct HashWriter<'a>(pub &'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_that_touch_become_one_and_are_cut_at_blocks() {
        let joined = join(&[0..BLOCK, BLOCK..BLOCK + 1, 5 * BLOCK..6 * BLOCK, 8 * BLOCK + 10..9 * BLOCK]);
        assert_eq!(joined, [0..2 * BLOCK, 5 * BLOCK..6 * BLOCK, 8 * BLOCK..9 * BLOCK]);
    }

    #[test]
    fn the_map_names_its_blocks_and_its_own_checksum() {
        let mut image = tempfile::tempfile().unwrap();
        image.set_len(10 * BLOCK).unwrap();
        let map = write(&mut image, &[0..BLOCK, 4 * BLOCK..6 * BLOCK]).unwrap();
        let zeros = Digest::of(&[0; BLOCK as usize]);
        assert!(map.contains(&format!("<Range chksum=\"{zeros}\"> 0 </Range>")), "{map}");
        assert!(map.contains("> 4-5 </Range>") && map.contains("<MappedBlocksCount> 3 <"), "{map}");
        let (before, rest) = map.split_once("<BmapFileChecksum> ").unwrap();
        let (own, after) = rest.split_at(64);
        let blank = format!("{before}<BmapFileChecksum> {}{after}", "0".repeat(64));
        assert_eq!(Digest::of(blank.as_bytes()).to_string(), own);
    }
}
