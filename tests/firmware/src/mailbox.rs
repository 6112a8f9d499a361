//! The mailbox by which Linux talks to the firmware, as `/dev/vcio` passes it.
//!
//! A buffer is little-endian u32s: its length in bytes, 0 for a request, then tags (number, bytes of its values, 0, values)
//! and a closing 0. The answer stands in the same buffer: 0x80000000 in the second word, and for each tag understood
//! 0x80000000 plus the bytes answered in its third word.

use crate::registers::Firmware;

/// Sets the flags of the next reboot; bit 0 is tryboot.
pub const SET_REBOOT_FLAGS: u32 = 0x0003_8064;
const GET_REBOOT_FLAGS: u32 = 0x0003_0064;
const GET_COUNT: u32 = 0x0003_008d;
const SET_COUNT: u32 = 0x0003_808d;
/// `arg1` has two values, the register's number (1) and its content; the other two tags have one (release notes, 2025-02-11).
const GET_ARG: u32 = 0x0003_008c;
const SET_ARG: u32 = 0x0003_808c;

/// The bit of [`SET_REBOOT_FLAGS`] that arms a trial.
pub const TRYBOOT: u32 = 1;

const DONE: u32 = 0x8000_0000;
const FAILED: u32 = 0x8000_0001;

/// A request of one tag with one value: 28 bytes.
pub fn request(tag: u32, value: u32) -> Vec<u8> {
    [28, 0, tag, 4, 0, value, 0].into_iter().flat_map(u32::to_le_bytes).collect()
}

impl Firmware {
    /// Answers a request in its own buffer.
    pub fn mailbox(&mut self, buffer: &mut [u8]) {
        let mut words: Vec<u32> =
            buffer.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        if words.len() < 3 {
            return;
        }
        let whole = words[0] as usize == buffer.len() && words[1] == 0;
        words[1] = if whole && self.answer(&mut words[2..]) { DONE } else { FAILED };
        for (bytes, word) in buffer.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Answers each tag; false when the tags do not fill their buffer as they say.
    fn answer(&mut self, mut words: &mut [u32]) -> bool {
        loop {
            let [tag, length, code, rest @ ..] = words else { return matches!(words, [0, ..]) };
            if *tag == 0 {
                return true;
            }
            let count = length.div_ceil(4) as usize;
            if rest.len() <= count {
                return false;
            }
            let (values, next) = rest.split_at_mut(count);
            // A tag that is not known, or has too little room, is left as it came.
            if let Some(answered) = self.tag(*tag, values) {
                *code = DONE | answered;
            }
            words = next;
        }
    }

    fn tag(&mut self, tag: u32, values: &mut [u32]) -> Option<u32> {
        let counts = self.eeprom.counts();
        match (tag, values) {
            (GET_REBOOT_FLAGS, [value, ..]) => *value = self.reboot_flags,
            (SET_REBOOT_FLAGS, [value, ..]) => self.reboot_flags = *value,
            (GET_COUNT, [value, ..]) if counts => *value = self.count,
            (SET_COUNT, [value, ..]) if counts => self.count = *value,
            (GET_ARG, [1, value, ..]) if counts => {
                *value = self.arg1;
                return Some(8);
            }
            (SET_ARG, [1, value, ..]) if counts => {
                self.arg1 = *value;
                return Some(8);
            }
            _ => return None,
        }
        Some(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Board;
    use crate::eeprom::Eeprom;
    use crate::registers::Medium;

    fn ask(firmware: &mut Firmware, words: &[u32]) -> Vec<u32> {
        let mut buffer: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        firmware.mailbox(&mut buffer);
        buffer.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    fn firmware(eeprom: Eeprom) -> Firmware {
        Firmware::new(eeprom, Board::Pi5, Medium::SdCard)
    }

    #[test]
    fn a_tag_set_is_read_back() {
        for (set, get) in [(SET_REBOOT_FLAGS, GET_REBOOT_FLAGS), (SET_COUNT, GET_COUNT)] {
            let mut firmware = firmware(Eeprom::current());
            let answer = |tag, value| vec![28, DONE, tag, 4, DONE | 4, value, 0];
            assert_eq!(ask(&mut firmware, &[28, 0, set, 4, 0, 1, 0]), answer(set, 1));
            assert_eq!(ask(&mut firmware, &[28, 0, get, 4, 0, 0, 0]), answer(get, 1));
            firmware.lose_power();
            assert_eq!(ask(&mut firmware, &[28, 0, get, 4, 0, 7, 0]), answer(get, 0));
        }
    }

    #[test]
    fn the_argument_has_a_number_and_a_content() {
        let mut firmware = firmware(Eeprom::current());
        ask(&mut firmware, &[32, 0, SET_ARG, 8, 0, 1, 42, 0]);
        assert_eq!(ask(&mut firmware, &[32, 0, GET_ARG, 8, 0, 1, 0, 0])[6], 42);
        assert_eq!(ask(&mut firmware, &[28, 0, GET_ARG, 4, 0, 0, 0])[4], 0, "one value is too few");
    }

    #[test]
    fn an_old_loader_leaves_the_counter_s_tags_as_they_came() {
        let mut firmware = firmware(Eeprom::released(2025, 2, 10));
        assert_eq!(ask(&mut firmware, &[28, 0, GET_COUNT, 4, 0, 9, 0]), [28, DONE, GET_COUNT, 4, 0, 9, 0]);
        assert_eq!(ask(&mut firmware, &[28, 0, SET_REBOOT_FLAGS, 4, 0, 1, 0])[4], DONE | 4);
    }

    #[test]
    fn a_malformed_request_changes_nothing() {
        let mut firmware = firmware(Eeprom::current());
        for words in [
            &[24, 0, SET_REBOOT_FLAGS, 4, 0, 1, 0][..],
            &[28, 1, SET_REBOOT_FLAGS, 4, 0, 1, 0],
            &[28, 0, SET_REBOOT_FLAGS, 40, 0, 1, 0],
        ] {
            assert_eq!(ask(&mut firmware, words)[1], FAILED, "{words:x?}");
            assert!(!firmware.armed());
        }
        let mut short = [1, 2, 3];
        firmware.mailbox(&mut short);
        assert_eq!(short, [1, 2, 3]);
    }

    #[test]
    fn request_builds_what_the_mailbox_answers() {
        let mut firmware = firmware(Eeprom::oldest());
        let mut buffer = request(SET_REBOOT_FLAGS, TRYBOOT);
        assert_eq!(buffer.len(), 28);
        firmware.mailbox(&mut buffer);
        assert!(firmware.armed());
    }
}
