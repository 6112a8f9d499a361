//! `KEY_POWER` of every input device that has it: the Pi 5's power button, QEMU's, a keyboard's; but not a television's.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Button, HardwareError, file_error};

/// From the kernel's input-event-codes.h.
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;
const KEY_POWER: u16 = 116;

/// `struct input_event` of a 64-bit kernel: seconds and microseconds (8 bytes each), type, code (2 each), value (4); native order.
const EVENT: usize = 24;
/// `O_NONBLOCK` of Linux on all machines we build for.
const NONBLOCK: i32 = 0o4000;

/// All power keys; pressed while any of them is.
#[derive(Debug)]
pub(super) struct PowerKey {
    keys: Vec<Key<File>>,
}

/// One device's events. A key that was down before it was opened counts as up: only its next press is seen.
#[derive(Debug)]
struct Key<R> {
    events: R,
    down: bool,
}

impl PowerKey {
    /// `class` is `/sys/class/input`, `devices` is `/dev/input`.
    pub fn open(class: &Path, devices: &Path) -> Result<Self, HardwareError> {
        let mut keys = Vec::new();
        for entry in fs::read_dir(class).map_err(|why| file_error(class, why))?.flatten() {
            let name = entry.file_name();
            let about = |file| fs::read_to_string(entry.path().join("device").join(file)).unwrap_or_default();
            if name.as_encoded_bytes().starts_with(b"event") && is_power_key(&about("capabilities/key"), &about("phys"))
            {
                let path = devices.join(name);
                let opened = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&path);
                keys.push(Key { events: opened.map_err(|why| file_error(&path, why))?, down: false });
            }
        }
        if keys.is_empty() {
            Err(HardwareError::Missing("input device with a power key".to_owned()))
        } else {
            Ok(Self { keys })
        }
    }
}

impl Button for PowerKey {
    fn pressed(&mut self) -> Result<bool, HardwareError> {
        let mut any = false;
        for key in &mut self.keys {
            any |= key.pressed()?;
        }
        Ok(any)
    }
}

impl<R: Read> Button for Key<R> {
    /// Reads up to the next change, so that a press and a release that came together are seen one after the other.
    fn pressed(&mut self) -> Result<bool, HardwareError> {
        let mut event = [0; EVENT];
        loop {
            match self.events.read(&mut event) {
                Ok(EVENT) => {}
                Ok(_) => return Err(HardwareError::Missing("input device any more".to_owned())),
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(self.down),
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) => return Err(file_error(Path::new("/dev/input"), why)),
            }
            let short = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
            let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
            match (short(16), short(18), value) {
                (EV_SYN, SYN_DROPPED, _) => {
                    self.down = false;
                    return Err(HardwareError::Dropped);
                }
                // 2 is the kernel's own repetition: no news, and no press where the key was down before it was opened.
                (EV_KEY, KEY_POWER, now @ (0 | 1)) if (now == 1) != self.down => {
                    self.down = now == 1;
                    return Ok(self.down);
                }
                _ => {}
            }
        }
    }
}

/// Whether a device has the key, by its `capabilities/key` (64-bit words in hexadecimal, the highest first), and is one that is
/// touched: HDMI-CEC passes on a television's remote control.
fn is_power_key(capabilities: &str, phys: &str) -> bool {
    let word = capabilities.split_ascii_whitespace().rev().nth(usize::from(KEY_POWER) / 64);
    let bits = word.and_then(|word| u64::from_str_radix(word, 16).ok()).unwrap_or(0);
    bits >> (KEY_POWER % 64) & 1 == 1 && !phys.contains("cec")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn device(capabilities: &str, phys: &str, expected: bool) {
        assert_eq!(is_power_key(capabilities, phys), expected, "{capabilities} {phys}");
    }

    #[test]
    fn a_power_key_is_known_by_its_capability_and_a_remote_control_is_none() {
        device("10000000000000 0\n", "gpio-keys/input0", true);
        device("10000000000000 0\n", "vc4-hdmi-0/cec/input0", false);
        device("402000000 3803078f800d001 feefffdfffefffff fffffffffffffffe", "usb-0/input0", false);
        device("402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", "usb-0/input0", true);
        device("0\n", "", false);
        device("", "", false);
        device("nonsense 0", "", false);
    }

    /// Events as the kernel hands them out, one a read; then nothing more for now.
    struct Queue(std::vec::IntoIter<[u8; EVENT]>);

    impl Read for Queue {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let event = self.0.next().ok_or(ErrorKind::WouldBlock)?;
            into[..EVENT].copy_from_slice(&event);
            Ok(EVENT)
        }
    }

    fn key(events: &[(u16, u16, i32)]) -> Key<Queue> {
        let bytes = |&(kind, code, value): &(u16, u16, i32)| {
            let mut event = [0xaa; EVENT];
            event[16..18].copy_from_slice(&kind.to_ne_bytes());
            event[18..20].copy_from_slice(&code.to_ne_bytes());
            event[20..].copy_from_slice(&value.to_ne_bytes());
            event
        };
        Key { events: Queue(events.iter().map(bytes).collect::<Vec<_>>().into_iter()), down: false }
    }

    const REPORT: (u16, u16, i32) = (EV_SYN, 0, 0);

    #[track_caller]
    fn reads(events: &[(u16, u16, i32)], expected: &[Option<bool>]) {
        let mut key = key(events);
        let read: Vec<_> = expected.iter().map(|_| key.pressed().ok()).collect();
        assert_eq!(read, expected, "{events:?}");
    }

    #[test]
    fn press_and_release_are_seen_one_after_the_other_even_when_they_come_together() {
        let both = [(EV_KEY, KEY_POWER, 1), REPORT, (EV_KEY, KEY_POWER, 0), REPORT];
        reads(&both, &[Some(true), Some(false), Some(false)]);
    }

    #[test]
    fn other_keys_and_repetitions_are_no_press() {
        reads(&[(EV_KEY, 30, 1), REPORT, (EV_KEY, KEY_POWER, 2), REPORT, (2, KEY_POWER, 1)], &[Some(false); 2]);
    }

    #[test]
    fn a_key_that_was_down_when_it_was_opened_is_seen_at_its_next_press() {
        let events = [(EV_KEY, KEY_POWER, 2), (EV_KEY, KEY_POWER, 0), REPORT, (EV_KEY, KEY_POWER, 1), REPORT];
        reads(&events, &[Some(true), Some(true)]);
    }

    #[test]
    fn dropped_events_are_an_error_and_leave_the_key_up() {
        reads(&[(EV_KEY, KEY_POWER, 1), REPORT, (EV_SYN, SYN_DROPPED, 0)], &[Some(true), None, Some(false)]);
    }
}
