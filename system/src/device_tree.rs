//! What the firmware says of this boot: `/proc/device-tree/chosen/bootloader/`, each value 4 bytes big-endian.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The kernel's view of the device tree.
pub const ROOT: &str = "/proc/device-tree";

/// The boot loader's account; `None` where it gives none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bootloader {
    /// The partition the kernel came from. Loaders before about May 2024 say 0.
    pub partition: Option<u32>,
    /// This boot is the one-shot trial.
    pub tryboot: Option<u32>,
    /// 1 SD card, 4 USB, 6 `NVMe`.
    pub boot_mode: Option<u32>,
    /// Boots counted by the loader itself, since 2025-02-12.
    pub count: Option<u32>,
    /// Unix seconds.
    pub built: Option<u64>,
}

impl Bootloader {
    pub fn read(tree: &Path) -> Self {
        let folder = tree.join("chosen/bootloader");
        let number = |name: &str| number(&folder.join(name));
        Self {
            partition: number("partition"),
            tryboot: number("tryboot"),
            boot_mode: number("boot-mode"),
            count: number("count"),
            built: number("build-timestamp").map(u64::from),
        }
    }

    pub fn is_trial(&self) -> bool {
        self.tryboot == Some(1)
    }
}

fn number(path: &Path) -> Option<u32> {
    let mut bytes = Vec::with_capacity(8);
    File::open(path).ok()?.take(8).read_to_end(&mut bytes).ok()?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_big_endian_and_of_four_bytes() {
        let tree = tempfile::tempdir().unwrap();
        let folder = tree.path().join("chosen/bootloader");
        assert_eq!(Bootloader::read(tree.path()), Bootloader::default());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("partition"), [0, 0, 0, 3]).unwrap();
        std::fs::write(folder.join("tryboot"), [0, 0, 0, 1]).unwrap();
        std::fs::write(folder.join("boot-mode"), [6]).unwrap();
        std::fs::write(folder.join("count"), [0, 0, 0, 0, 0]).unwrap();
        let read = Bootloader::read(tree.path());
        assert_eq!(read, Bootloader { partition: Some(3), tryboot: Some(1), ..Bootloader::default() });
        assert!(read.is_trial());
    }
}
