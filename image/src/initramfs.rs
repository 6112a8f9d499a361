//! A part of the root as the firmware loads it: a newc archive in one zstd frame, padded to four bytes.
//!
//! The firmware puts the parts one after the other and the kernel unpacks them so, the later one over the earlier. Parts that
//! are not a multiple of four bytes long crashed older firmware.

use std::io::Write;
use std::{fs, iter};

use cpio::newc::{Builder, ModeFileType, trailer};

use crate::error::ImageError;
use crate::limits;
use crate::owners::Owner;
use crate::tree::{Content, Kind, Node, Tree};

/// What ships: slow to pack, as quick to unpack as any; its window of 8 MiB is the largest that the kernel takes.
pub const LEVEL: i32 = 19;

/// Packs a root, at a level of zstd. The same files give the same bytes: times are 0, numbers count up, one thread compresses.
pub fn pack(name: &str, tree: &Tree, level: i32) -> Result<Vec<u8>, ImageError> {
    let frame = compress(&archive(tree)?, level).map_err(ImageError::io(name))?;
    padded(name, frame)
}

fn padded(name: &str, mut frame: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    frame.resize(frame.len().next_multiple_of(4), 0);
    limits::loadable(name, frame.len() as u64)?;
    Ok(frame)
}

fn compress(archive: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(archive.len() as u64))?;
    encoder.write_all(archive)?;
    encoder.finish()
}

/// The newc archive, uncompressed.
pub fn archive(tree: &Tree) -> Result<Vec<u8>, ImageError> {
    let mut archive = Vec::new();
    // The kernel mounts its root with mode 1777.
    let root = Node { kind: Kind::Folder, owner: Owner { mode: 0o755, uid: 0, gid: 0 } };
    for (number, (path, node)) in (1..).zip(iter::once((".", &root)).chain(tree.iter())) {
        let read;
        let content: &[u8] = match &node.kind {
            Kind::File(Content::At(at)) => {
                read = fs::read(at).map_err(ImageError::io(at))?;
                &read
            }
            Kind::File(Content::Here(bytes)) => bytes,
            Kind::Link(target) => target.as_bytes(),
            Kind::Folder | Kind::Device { .. } => &[],
        };
        let size = u32::try_from(content.len()).ok();
        let size = size.ok_or_else(|| limits::too_large(path, content.len() as u64))?;
        let mut writer = header(path, node, number).write(&mut archive, size);
        writer.write_all(content).and_then(|()| writer.finish().map(drop)).map_err(ImageError::io(path))?;
    }
    trailer(&mut archive).map_err(ImageError::io("the end of the archive"))?;
    Ok(archive)
}

fn header(path: &str, node: &Node, number: u32) -> Builder {
    let (kind, links) = match node.kind {
        Kind::Folder => (ModeFileType::Directory, 2),
        Kind::File(_) => (ModeFileType::Regular, 1),
        Kind::Link(_) => (ModeFileType::Symlink, 1),
        Kind::Device { .. } => (ModeFileType::Char, 1),
    };
    let builder = Builder::new(path).ino(number).nlink(links).mtime(0).uid(node.owner.uid).gid(node.owner.gid);
    let builder = builder.mode(node.owner.mode).set_mode_file_type(kind);
    match node.kind {
        Kind::Device { major, minor } => builder.rdev_major(major).rdev_minor(minor),
        _ => builder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owners;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.file("etc/hosts", 0o644, Content::Here(b"127.0.0.1 localhost\n".to_vec())).unwrap();
        tree.link("init", "/usr/bin/warppool").unwrap();
        tree.apply(&owners::parse("/dev/console c 0600 0 0 5 1\n/data d 0755 100 101").unwrap()).unwrap();
        tree
    }

    #[test]
    fn the_archive_holds_modes_owners_devices_and_links() {
        let archive = archive(&tree()).unwrap();
        let mut rest = &archive[..];
        let mut seen = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            let entry = reader.entry();
            if entry.is_trailer() {
                break;
            }
            assert_eq!(entry.mtime(), 0);
            let facts =
                format!("{} {:o} {}:{} {}", entry.name(), entry.mode(), entry.uid(), entry.gid(), entry.rdev_major());
            let mut content = String::new();
            std::io::Read::read_to_string(&mut reader, &mut content).unwrap();
            seen.push(format!("{facts} {content:?}"));
            rest = reader.finish().unwrap();
        }
        assert_eq!(
            seen,
            [
                r#". 40755 0:0 0 """#,
                r#"data 40755 100:101 0 """#,
                r#"dev 40755 0:0 0 """#,
                r#"dev/console 20600 0:0 5 """#,
                r#"etc 40755 0:0 0 """#,
                r#"etc/hosts 100644 0:0 0 "127.0.0.1 localhost\n""#,
                r#"init 120777 0:0 0 "/usr/bin/warppool""#,
            ]
        );
    }

    #[test]
    fn a_part_is_one_zstd_frame_padded_with_zeros_to_four_bytes() {
        // Names of growing length give every remainder.
        for extra in 1..9 {
            let mut tree = tree();
            tree.file(&"x".repeat(extra), 0o644, Content::Here(vec![7; extra])).unwrap();
            let packed = pack("base.cpio.zst", &tree, LEVEL).unwrap();
            assert_eq!(packed.len() % 4, 0);
            let frame = zstd::zstd_safe::find_frame_compressed_size(&packed).unwrap();
            assert!(packed.len() - frame < 4 && packed[frame..].iter().all(|byte| *byte == 0));
            assert_eq!(zstd::decode_all(&packed[..frame]).unwrap(), archive(&tree).unwrap());
        }
    }

    #[test]
    fn a_part_that_the_firmware_could_not_load_is_refused() {
        let largest = limits::LARGEST_FILE as usize;
        assert_eq!(padded("base.cpio.zst", vec![1; largest - 7]).unwrap().len(), largest - 4);
        let refused = padded("base.cpio.zst", vec![1; largest - 3]);
        assert!(
            matches!(&refused, Err(ImageError::TooLarge { name, .. }) if name == "base.cpio.zst"),
            "{:?}",
            refused.err()
        );
    }
}
