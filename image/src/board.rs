//! The machines an image is made for, and what tells their firmware and kernel how to start.

use crate::error::ImageError;
use crate::limits::LONGEST_LINE;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Board {
    /// Raspberry Pi 5, 500 and Compute Module 5.
    Rpi5,
    /// The same with a Bitcoin Core in its root. A hardware of its own, so that neither takes the other's bundle.
    Rpi5Node,
    /// QEMU's `virt`, started by the model of the Pi's firmware.
    Qemu,
}

impl Board {
    /// What trust.toml and release.toml call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rpi5 => "rpi5",
            Self::Rpi5Node => "rpi5-node",
            Self::Qemu => "qemu",
        }
    }

    /// The slot's config.txt.
    pub fn config(self) -> &'static str {
        match self {
            Self::Rpi5 | Self::Rpi5Node => include_str!("../boards/rpi5/config.txt"),
            Self::Qemu => include_str!("../boards/qemu/config.txt"),
        }
    }

    /// The slot's cmdline.txt: one line of the board's arguments and these.
    pub fn cmdline(self, more: &[String]) -> Result<String, ImageError> {
        let source = match self {
            Self::Rpi5 | Self::Rpi5Node => include_str!("../boards/rpi5/cmdline.txt"),
            Self::Qemu => include_str!("../boards/qemu/cmdline.txt"),
        };
        let own = source.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let all: Vec<&str> = own.chain(more.iter().map(String::as_str)).collect();
        match all.iter().find(|argument| argument.is_empty() || !argument.bytes().all(|byte| byte.is_ascii_graphic())) {
            Some(bad) => Err(ImageError::BadArgument((*bad).into())),
            None => Ok(all.join(" ") + "\n"),
        }
    }

    /// Device trees without which a slot does not start on all boards of the kind.
    pub fn device_trees(self) -> &'static [&'static str] {
        match self {
            Self::Rpi5 | Self::Rpi5Node => &[
                "bcm2712-rpi-5-b.dtb",
                "bcm2712d0-rpi-5-b.dtb",
                "bcm2712-rpi-500.dtb",
                "bcm2712-rpi-cm5-cm5io.dtb",
                "bcm2712-rpi-cm5l-cm5io.dtb",
            ],
            Self::Qemu => &[],
        }
    }
}

/// Refuses a config.txt with a line that the firmware would cut, or that names files which `has` does not know.
pub fn check_config(text: &str, has: impl Fn(&str) -> bool) -> Result<(), ImageError> {
    for (number, line) in (1..).zip(text.lines()) {
        let length = line.chars().count();
        if length > LONGEST_LINE {
            return Err(ImageError::LongLine { line: number, length, limit: LONGEST_LINE });
        }
        if let Some(missing) = named(line).into_iter().find(|name| !has(name)) {
            return Err(ImageError::Missing(missing));
        }
    }
    Ok(())
}

/// The files a line of config.txt names.
fn named(line: &str) -> Vec<String> {
    if let Some(parts) = line.strip_prefix("initramfs ") {
        let names = parts.split(' ').next().unwrap_or_default();
        return names.split(',').map(str::to_owned).collect();
    }
    match line.split_once('=') {
        Some(("kernel" | "cmdline" | "device_tree", name)) => vec![name.into()],
        Some(("dtoverlay", overlay)) if !overlay.is_empty() => {
            vec![format!("overlays/{}.dtbo", overlay.split([',', ':']).next().unwrap_or_default())]
        }
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boards_own_files_name_nothing_but_what_a_slot_has() {
        for board in [Board::Rpi5, Board::Qemu] {
            check_config(board.config(), |name| ["kernel.img", "base.cpio.zst", "pool.cpio.zst"].contains(&name))
                .unwrap();
            let cmdline = board.cmdline(&[]).unwrap();
            assert_eq!(cmdline.lines().count(), 1, "the kernel reads one line");
            assert!(cmdline.contains(&format!("warppool.board={}", board.name())) && cmdline.contains("panic=10"));
        }
    }

    #[test]
    fn arguments_are_appended_and_those_that_would_break_the_line_are_refused() {
        let fault = "warppool.fault=hang".to_owned();
        assert!(Board::Qemu.cmdline(&[fault]).unwrap().ends_with(" warppool.fault=hang\n"));
        for bad in ["", "a b", "a\nb", "käse"] {
            assert!(matches!(Board::Qemu.cmdline(&[bad.to_owned()]), Err(ImageError::BadArgument(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_line_that_the_firmware_would_cut_is_refused() {
        let fits = format!("#{}", "x".repeat(LONGEST_LINE - 1));
        check_config(&fits, |_| true).unwrap();
        let refused = check_config(&format!("[all]\n{fits}x"), |_| true);
        assert!(matches!(refused, Err(ImageError::LongLine { line: 2, .. })), "{refused:?}");
    }

    #[test]
    fn every_file_that_is_named_must_be_there() {
        for (line, missing) in [
            ("kernel=kernel.img", "kernel.img"),
            ("cmdline=other.txt", "other.txt"),
            ("device_tree=a.dtb", "a.dtb"),
            ("initramfs a.zst,b.zst followkernel", "a.zst"),
            ("dtoverlay=disable-bt", "overlays/disable-bt.dtbo"),
            ("dtoverlay=gpio-led,gpio=17", "overlays/gpio-led.dtbo"),
        ] {
            let refused = check_config(line, |_| false);
            assert!(matches!(&refused, Err(ImageError::Missing(name)) if name == missing), "{line}: {refused:?}");
        }
        check_config("# kernel=none\n[all]\ndtparam=audio=off\ndtoverlay=\n", |_| false).unwrap();
    }
}
