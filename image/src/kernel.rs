//! The kernel as a slot carries it: gzip-compressed, which the firmware unpacks, so that it stays small and below 32 MiB.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::error::ImageError;

/// Where an arm64 Image holds its magic.
const MAGIC: std::ops::Range<usize> = 0x38..0x3c;

/// Reads a kernel, plain or gzip-compressed, and gives it compressed the same way every time.
pub fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    let bytes = fs::read(path).map_err(ImageError::io(path))?;
    let plain = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut plain).map_err(ImageError::io(path))?;
        plain
    } else {
        bytes
    };
    if plain.get(MAGIC) != Some(b"ARM\x64") {
        return Err(ImageError::NotAKernel(path.into()));
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&plain).and_then(|()| packed.finish()).map_err(ImageError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_compressed_kernels_give_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut kernel = vec![0; 1 << 16];
        kernel[MAGIC].copy_from_slice(b"ARM\x64");
        let (plain, packed) = (folder.path().join("Image"), folder.path().join("Image.gz"));
        fs::write(&plain, &kernel).unwrap();
        let mut fast = GzEncoder::new(Vec::new(), Compression::fast());
        fast.write_all(&kernel).unwrap();
        fs::write(&packed, fast.finish().unwrap()).unwrap();
        let from_plain = read(&plain).unwrap();
        assert_eq!(from_plain, read(&packed).unwrap());
        assert!(from_plain.len() < 1 << 12);
    }

    #[test]
    fn what_is_no_arm64_kernel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bzImage");
        for bytes in [&b"MZ"[..], &[0; 4096]] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(read(&path), Err(ImageError::NotAKernel(_))));
        }
    }
}
