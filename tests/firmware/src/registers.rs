//! What the board remembers besides its disk: registers that survive a reset and are gone when the power is.

use crate::config::Board;
use crate::eeprom::Eeprom;

/// What the loader boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    SdCard,
    Nvme,
}

impl Medium {
    /// The number in `BOOT_ORDER` and in `/chosen/bootloader/boot-mode`.
    pub fn boot_mode(self) -> u32 {
        match self {
            Self::SdCard => 1,
            Self::Nvme => 6,
        }
    }
}

/// A board: its loader, and the registers that outlive a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    pub eeprom: Eeprom,
    pub board: Board,
    pub medium: Medium,
    /// Bit 0 is the one-shot tryboot flag.
    pub(crate) reboot_flags: u32,
    /// The partition asked for by `reboot N`; 0 asks for none.
    pub(crate) reboot_partition: u32,
    /// Boots since the power came on, as the loader counts them and as Linux may set it.
    pub(crate) count: u32,
    /// A word of the operating system's own.
    pub(crate) arg1: u32,
}

impl Firmware {
    /// A board whose power has just come on.
    pub fn new(eeprom: Eeprom, board: Board, medium: Medium) -> Self {
        Self { eeprom, board, medium, reboot_flags: 0, reboot_partition: 0, count: 0, arg1: 0 }
    }

    /// The power goes: every register is lost.
    pub fn lose_power(&mut self) {
        *self = Self::new(self.eeprom, self.board, self.medium);
    }

    /// Whether the next boot is a trial.
    pub fn armed(&self) -> bool {
        self.reboot_flags & 1 != 0
    }

    /// Boots since the power came on.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What Linux hands over with `LINUX_REBOOT_CMD_RESTART2`: a partition's number and, behind it, `tryboot`.
    ///
    /// Without a number in front, the words behind it are not looked at (documentation, "Fail-safe OS updates").
    pub fn restart(&mut self, argument: &str) {
        let mut words = argument.split_ascii_whitespace();
        let Some(Ok(partition)) = words.next().map(str::parse::<u32>) else { return };
        // Six bits of a register hold it; 63 means halt.
        self.reboot_partition = if partition < 63 { partition } else { 0 };
        if words.any(|word| word == "tryboot") {
            self.reboot_flags |= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tryboot_is_armed_only_behind_a_partition_number() {
        for (argument, armed, partition) in
            [("0 tryboot", true, 0), ("3 tryboot", true, 3), ("tryboot", false, 0), ("2", false, 2), ("", false, 0)]
        {
            let mut firmware = Firmware::new(Eeprom::current(), Board::Pi5, Medium::Nvme);
            firmware.restart(argument);
            assert_eq!((firmware.armed(), firmware.reboot_partition), (armed, partition), "{argument:?}");
            firmware.lose_power();
            assert_eq!((firmware.armed(), firmware.reboot_partition), (false, 0), "{argument:?}");
        }
    }
}
