//! Found blocks as files: what a power cut, a crash or a dead node must not take.
//!
//! One file a block, written whole beside its place, synced and renamed, so that a file that is there is complete. A block
//! leaves the spool for the archive when its fate is settled; from the archive the block list can be rebuilt.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;
use warppool_ledger::BlockRow;

const MAGIC: &[u8; 8] = b"WARPBLK1";
const DIGEST: usize = 32;
/// A block is at most 4,000,000 bytes; what is much larger is not one of ours.
const MOST_FILE: u64 = 8 << 20;

/// A found block with all it takes to submit it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundBlock {
    pub row: BlockRow,
    /// The whole block as consensus serialises it; empty once its fate is settled and a node has it.
    pub block: Arc<[u8]>,
}

/// The spool's folder.
#[derive(Clone, Debug)]
pub struct Spool {
    pending: PathBuf,
    archive: PathBuf,
}

impl Spool {
    /// The spool under a data folder. It comes to be with its first block: a folder that cannot be written now may be later.
    pub fn new(data: &Path) -> Self {
        let pending = data.join("spool");
        Self { archive: pending.join("archive"), pending }
    }

    fn make(&self) -> io::Result<()> {
        if self.archive.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.archive)?;
        sync_folder(&self.pending)?;
        self.pending.parent().map_or(Ok(()), sync_folder)
    }

    /// Makes a block, or a change of its fate, durable: when this returns, a power cut does not lose it. A settled block moves
    /// to the archive.
    pub fn put(&self, found: &FoundBlock, settled: bool) -> io::Result<()> {
        self.make()?;
        let name = file_name(&found.row);
        if !settled {
            return write_whole(&self.pending, &name, found);
        }
        write_whole(&self.archive, &name, found)?;
        match fs::remove_file(self.pending.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_folder(&self.pending),
        }
    }

    /// Blocks whose fate is open.
    pub fn pending(&self) -> Vec<FoundBlock> {
        read_all(&self.pending)
    }

    /// Blocks whose fate is settled.
    pub fn archived(&self) -> Vec<FoundBlock> {
        read_all(&self.archive)
    }
}

/// `height-hash.block`: sorts by height, and names the block as explorers do.
fn file_name(row: &BlockRow) -> String {
    let mut hash = row.hash;
    hash.reverse();
    format!("{:09}-{}.block", row.height, hex::encode(hash))
}

fn encode(found: &FoundBlock) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(found).map_err(io::Error::other)?;
    let digest = Sha256::digest(&body);
    Ok([MAGIC.as_slice(), digest.as_slice(), &body].concat())
}

/// Reads a spool file's bytes; the error says what is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<FoundBlock, &'static str> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as a found block does")?;
    let (digest, body) = rest.split_at_checked(DIGEST).ok_or("it is cut off")?;
    if Sha256::digest(body).as_slice() != digest {
        return Err("its checksum does not match");
    }
    postcard::from_bytes(body).map_err(|_| "it is from another version of the pool")
}

fn write_whole(folder: &Path, name: &str, found: &FoundBlock) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(&encode(found)?)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    sync_folder(folder)
}

/// A rename is durable once its folder is. Windows has no such call, and no need of one.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// All readable blocks of a folder by height. What cannot be read is told and left where it is.
fn read_all(folder: &Path) -> Vec<FoundBlock> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                warn!("cannot list found blocks in {}: {error}", folder.display());
            }
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "block"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| read(&path).inspect_err(|why| warn!("{}: {why}", path.display())).ok())
        .collect()
}

fn read(path: &Path) -> io::Result<FoundBlock> {
    if fs::metadata(path)?.len() > MOST_FILE {
        return Err(io::Error::other("it is too large for a found block; left where it is"));
    }
    decode(&fs::read(path)?)
        .map_err(|why| io::Error::other(format!("not read as a found block: {why}; left where it is")))
}

#[cfg(test)]
pub(crate) mod tests {
    use warppool_events::BlockFate;

    use super::*;

    pub(crate) fn found(n: u8) -> FoundBlock {
        let row = BlockRow {
            hash: [n; 32],
            height: 100 + u32::from(n),
            at_ms: 1_700_000_000_000,
            worker: "bcrt1q.rig".into(),
            address: "bcrt1q".into(),
            value_sat: 5_000_000_000,
            fate: BlockFate::Pending,
            confirmations: 0,
            network_difficulty: 1.0,
            difficulty: 2.0,
            payouts: Vec::new(),
        };
        FoundBlock { row, block: vec![n; 1000].into() }
    }

    #[test]
    fn a_block_is_there_after_a_restart_and_moves_to_the_archive_when_settled() {
        let data = tempfile::tempdir().unwrap();
        let spool = Spool::new(data.path());
        spool.put(&found(2), false).unwrap();
        spool.put(&found(1), false).unwrap();
        let again = Spool::new(data.path());
        assert_eq!(again.pending(), [found(1), found(2)]);

        let mut settled = found(1);
        settled.row.fate = BlockFate::Mature;
        again.put(&settled, true).unwrap();
        again.put(&settled, true).unwrap();
        assert_eq!(again.pending(), [found(2)]);
        assert_eq!(again.archived(), [settled]);
    }

    #[test]
    fn a_damaged_or_half_written_file_is_left_alone_and_hides_no_other() {
        let data = tempfile::tempdir().unwrap();
        let spool = Spool::new(data.path());
        spool.put(&found(1), false).unwrap();
        let whole = encode(&found(2)).unwrap();
        let place = data.path().join("spool").join(file_name(&found(2).row));
        for cut in [0, 7, 8, 39, 40, 100, whole.len() - 1] {
            fs::write(&place, &whole[..cut]).unwrap();
            assert_eq!(spool.pending(), [found(1)], "cut at {cut}");
        }
        for bit in (0..whole.len() * 8).step_by(37) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        fs::write(place.with_extension("block.new"), b"half").unwrap();
        assert!(place.exists());
        fs::write(&place, &whole).unwrap();
        assert_eq!(spool.pending(), [found(1), found(2)]);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_an_error_until_it_does() {
        let data = tempfile::tempdir().unwrap();
        let spool = Spool::new(data.path());
        // A file in the folder's place, as a stand-in for a disk that takes nothing.
        fs::write(data.path().join("spool"), b"").unwrap();
        assert!(spool.put(&found(1), false).is_err());
        assert!(spool.pending().is_empty());
        fs::remove_file(data.path().join("spool")).unwrap();
        spool.put(&found(1), false).unwrap();
        assert_eq!(spool.pending(), [found(1)], "as soon as it can be written, it is");
    }
}
