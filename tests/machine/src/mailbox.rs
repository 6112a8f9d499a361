//! The firmware's mailbox on a virtio serial port: the same buffers as `/dev/vcio` takes, answered by the loader model.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use warppool_firmware::Firmware;

/// Name of the port in the guest (`/sys/class/virtio-ports/*/name`).
pub(crate) const PORT: &str = "org.warppool.firmware";

/// No request of the appliance is longer.
const LONGEST: usize = 256;

/// Answers buffers until the guest is gone. What is no buffer ends the conversation, as a broken pipe would.
pub(crate) fn serve(mut stream: UnixStream, firmware: Arc<Mutex<Firmware>>) {
    std::thread::spawn(move || {
        loop {
            let mut length = [0; 4];
            if stream.read_exact(&mut length).is_err() {
                return;
            }
            let total = u32::from_le_bytes(length) as usize;
            if !(12..=LONGEST).contains(&total) || !total.is_multiple_of(4) {
                return;
            }
            let mut buffer = vec![0; total];
            buffer[..4].copy_from_slice(&length);
            if stream.read_exact(&mut buffer[4..]).is_err() {
                return;
            }
            firmware.lock().unwrap_or_else(PoisonError::into_inner).mailbox(&mut buffer);
            if stream.write_all(&buffer).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use warppool_firmware::{Board, Eeprom, Medium, SET_REBOOT_FLAGS, TRYBOOT, request};

    #[test]
    fn buffers_are_answered_one_after_the_other_until_one_makes_no_sense() {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let firmware = Arc::new(Mutex::new(Firmware::new(Eeprom::current(), Board::Virt, Medium::Nvme)));
        serve(host, firmware.clone());
        for value in [TRYBOOT, 0, TRYBOOT] {
            guest.write_all(&request(SET_REBOOT_FLAGS, value)).unwrap();
            let mut answer = [0; 28];
            guest.read_exact(&mut answer).unwrap();
            assert_eq!(answer[4..8], 0x8000_0000_u32.to_le_bytes());
            assert_eq!(firmware.lock().unwrap().armed(), value == TRYBOOT);
        }
        guest.write_all(&[0xff; 28]).unwrap();
        assert!(matches!(guest.read(&mut [0]), Ok(0) | Err(_)));
    }
}
