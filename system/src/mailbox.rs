//! The line to the Raspberry Pi's firmware: the one-shot trial flag and the boot counter.
//!
//! On a Pi the `VideoCore` mailbox behind `/dev/vcio`; in a virtual machine the same buffers over a serial port, answered by
//! whoever plays the firmware. Arming a trial touches no disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::{self, Property};

const GET_FLAGS: u32 = 0x0003_0064;
const SET_FLAGS: u32 = 0x0003_8064;
const GET_COUNT: u32 = 0x0003_008d;
const SET_COUNT: u32 = 0x0003_808d;
/// The only flag there is.
const TRYBOOT: u32 = 1;

const SUCCESS: u32 = 0x8000_0000;
const SIZE: usize = size_of::<Property>();
/// The name of the virtual machine's port.
const PORT: &str = "org.warppool.firmware";
/// How long the other end of the port may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    #[error("the firmware cannot be asked: {0}")]
    Io(#[from] io::Error),
    #[error("the firmware does not know property {0:#010x}; a newer boot loader may (rpi-eeprom-update)")]
    Unknown(u32),
    #[error(
        "the firmware was told to try the other slot once and says it will not; update the boot loader (rpi-eeprom-update)"
    )]
    NotTaken,
}

#[derive(Debug)]
pub struct Mailbox {
    line: Line,
}

#[derive(Debug)]
enum Line {
    VideoCore(File),
    Port(File),
}

impl Mailbox {
    /// Finds the firmware; `None` where there is none to ask.
    pub fn open() -> Option<Self> {
        if let Ok(device) = OpenOptions::new().read(true).write(true).open("/dev/vcio") {
            return Some(Self { line: Line::VideoCore(device) });
        }
        let device = port(Path::new("/sys/class/virtio-ports"), Path::new("/dev"))?;
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(device).ok()?;
        Some(Self { line: Line::Port(file) })
    }

    /// Has the next start, and no other, take the `[tryboot]` slot; read back.
    pub fn arm_trial(&mut self) -> Result<(), MailboxError> {
        self.ask(SET_FLAGS, TRYBOOT)?;
        if self.ask(GET_FLAGS, 0)? & TRYBOOT == 0 {
            return Err(MailboxError::NotTaken);
        }
        Ok(())
    }

    /// Starts since the counter was set to zero, this one included.
    pub fn boot_count(&mut self) -> Result<u32, MailboxError> {
        self.ask(GET_COUNT, 0)
    }

    pub fn clear_boot_count(&mut self) -> Result<(), MailboxError> {
        self.ask(SET_COUNT, 0).map(drop)
    }

    fn ask(&mut self, tag: u32, value: u32) -> Result<u32, MailboxError> {
        let mut buffer: Property = [SIZE as u32, 0, tag, 4, 0, value, 0];
        match &mut self.line {
            Line::VideoCore(device) => sys::firmware_property(device, &mut buffer)?,
            Line::Port(port) => exchange(port, &mut buffer)?,
        }
        if buffer[1] != SUCCESS || buffer[4] & SUCCESS == 0 || buffer[2] != tag {
            return Err(MailboxError::Unknown(tag));
        }
        Ok(buffer[5])
    }
}

/// The device of the named port.
fn port(class: &Path, devices: &Path) -> Option<PathBuf> {
    fs::read_dir(class).ok()?.filter_map(Result::ok).find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim_end() == PORT).then(|| devices.join(entry.file_name()))
    })
}

/// Sends the buffer and reads the answer into it; little-endian as on the Pi.
fn exchange(port: &mut File, buffer: &mut Property) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    // What a question before this one left behind is no answer to it.
    let mut stale = [0; 256];
    while port.read(&mut stale).is_ok_and(|count| count > 0) {}

    let mut bytes = [0; SIZE];
    for (word, place) in buffer.iter().zip(bytes.chunks_exact_mut(4)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let mut sent = 0;
    while sent < SIZE {
        wait(port, PollFlags::POLLOUT, until)?;
        sent += again(port.write(&bytes[sent..]))?;
    }
    let mut got = 0;
    while got < SIZE {
        wait(port, PollFlags::POLLIN, until)?;
        got += again(port.read(&mut bytes[got..]))?;
    }
    for (word, place) in buffer.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes([place[0], place[1], place[2], place[3]]);
    }
    Ok(())
}

fn again(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

fn wait(port: &File, readiness: PollFlags, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    poll(&mut [PollFd::new(port.as_fd(), readiness)], timeout)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    /// A firmware that keeps flags and, where it is new enough, a counter.
    fn firmware(mut end: UnixStream, knows_counter: bool) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            let (mut flags, mut count) = (0, 7);
            let mut bytes = [0; SIZE];
            while end.read_exact(&mut bytes).is_ok() {
                let word = |n: usize| u32::from_le_bytes(bytes[n * 4..n * 4 + 4].try_into().unwrap());
                let (tag, value) = (word(2), word(5));
                let answer = match tag {
                    SET_FLAGS => Some({
                        flags = value;
                        value
                    }),
                    GET_FLAGS => Some(flags),
                    GET_COUNT if knows_counter => Some(count),
                    SET_COUNT if knows_counter => Some({
                        count = value;
                        value
                    }),
                    _ => None,
                };
                let mut out = [SIZE as u32, SUCCESS, tag, 4, 4, value, 0];
                if let Some(answer) = answer {
                    out[4] |= SUCCESS;
                    out[5] = answer;
                }
                // In two pieces, as a serial port may deliver it.
                let bytes: Vec<u8> = out.iter().flat_map(|word| word.to_le_bytes()).collect();
                end.write_all(&bytes[..10]).unwrap();
                thread::sleep(Duration::from_millis(5));
                end.write_all(&bytes[10..]).unwrap();
            }
        })
    }

    fn connected(knows_counter: bool) -> (Mailbox, thread::JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let port = File::from(OwnedFd::from(ours));
        (Mailbox { line: Line::Port(port) }, firmware(theirs, knows_counter))
    }

    #[test]
    fn arming_is_read_back() {
        let (mut mailbox, thread) = connected(true);
        mailbox.arm_trial().unwrap();
        assert_eq!(mailbox.ask(GET_FLAGS, 0).unwrap(), TRYBOOT);
        drop(mailbox);
        thread.join().unwrap();
    }

    #[test]
    fn the_counter_is_known_to_newer_firmware_only() {
        let (mut new, _thread) = connected(true);
        assert_eq!(new.boot_count().unwrap(), 7);
        new.clear_boot_count().unwrap();
        assert_eq!(new.boot_count().unwrap(), 0);
        let (mut old, _thread) = connected(false);
        assert!(matches!(old.boot_count(), Err(MailboxError::Unknown(GET_COUNT))));
        old.arm_trial().unwrap();
    }

    #[test]
    fn a_silent_port_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut mailbox = Mailbox { line: Line::Port(File::from(OwnedFd::from(ours))) };
        let start = Instant::now();
        assert!(mailbox.arm_trial().is_err());
        assert!(start.elapsed() < PATIENCE * 2);
    }

    #[test]
    fn the_port_is_found_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        for (device, name) in [("vport0p1", "console\n"), ("vport2p4", "org.warppool.firmware\n")] {
            fs::create_dir_all(root.path().join(device)).unwrap();
            fs::write(root.path().join(device).join("name"), name).unwrap();
        }
        assert_eq!(port(root.path(), Path::new("/dev")), Some(PathBuf::from("/dev/vport2p4")));
        assert_eq!(port(&root.path().join("none"), Path::new("/dev")), None);
    }
}
