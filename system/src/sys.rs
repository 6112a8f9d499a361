//! The system calls that no safe wrapper exists for, and nothing else: all of this crate's `unsafe` stands here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::SigSet;

/// Words of a `VideoCore` property buffer with one value: size, code, tag, value's size, value's code, value, end.
pub type Property = [u32; 7];

mod ioctl {
    use nix::libc;

    nix::ioctl_read!(watchdog_ping, b'W', 5, libc::c_int);
    nix::ioctl_readwrite!(watchdog_set_timeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(watchdog_get_timeout, b'W', 7, libc::c_int);
    nix::ioctl_write_ptr!(ext4_resize, b'f', 16, u64);
    // The driver's header says `_IOWR(100, 0, char *)` and passes the buffer itself.
    nix::ioctl_readwrite_bad!(
        firmware_property,
        nix::request_code_readwrite!(100, 0, size_of::<*mut libc::c_char>()),
        super::Property
    );
    nix::ioctl_write_ptr_bad!(partition, nix::request_code_none!(0x12, 105), super::PartitionRequest);
}

/// linux/blkpg.h, `struct blkpg_ioctl_arg`.
#[repr(C)]
pub struct PartitionRequest {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *mut Partition,
}

/// linux/blkpg.h, `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// Tells the watchdog that we live.
#[allow(unsafe_code)]
pub fn watchdog_ping(device: impl AsFd) -> io::Result<()> {
    let mut unused = 0;
    // SAFETY: WDIOC_KEEPALIVE takes a pointer to an int, which outlives the call.
    unsafe { ioctl::watchdog_ping(device.as_fd().as_raw_fd(), &raw mut unused) }?;
    Ok(())
}

/// Asks for a time-out in seconds and answers with the one that holds.
#[allow(unsafe_code)]
pub fn watchdog_timeout(device: impl AsFd, seconds: u32) -> io::Result<u32> {
    let fd = device.as_fd().as_raw_fd();
    let mut value = seconds as libc::c_int;
    // SAFETY: both calls take a pointer to an int, which outlives them.
    unsafe {
        if ioctl::watchdog_set_timeout(fd, &raw mut value).is_err() {
            ioctl::watchdog_get_timeout(fd, &raw mut value)?;
        }
    }
    Ok(value.max(0) as u32)
}

/// Grows a mounted ext4 to `blocks` file-system blocks; `mount_point` is any open folder of it.
#[allow(unsafe_code)]
pub fn ext4_resize(mount_point: impl AsFd, blocks: u64) -> io::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64.
    unsafe { ioctl::ext4_resize(mount_point.as_fd().as_raw_fd(), &raw const blocks) }?;
    Ok(())
}

/// Tells the kernel that partition `number` of an open disk is `length` bytes long; it may be in use.
#[allow(unsafe_code)]
pub fn resize_partition(disk: impl AsFd, number: u32, start: u64, length: u64) -> io::Result<()> {
    const RESIZE: libc::c_int = 3;
    let mut partition = Partition {
        start: start as libc::c_longlong,
        length: length as libc::c_longlong,
        number: number as libc::c_int,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let request = PartitionRequest {
        operation: RESIZE,
        flags: 0,
        length: size_of::<Partition>() as libc::c_int,
        data: &raw mut partition,
    };
    // SAFETY: the request and the partition it points to outlive the call.
    unsafe { ioctl::partition(disk.as_fd().as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// Hands a buffer to the `VideoCore` firmware, which answers in place.
#[allow(unsafe_code)]
pub fn firmware_property(device: impl AsFd, buffer: &mut Property) -> io::Result<()> {
    // SAFETY: the driver copies as many bytes as the buffer's first word says, in and out; the caller set it to its size.
    debug_assert_eq!(buffer[0] as usize, size_of::<Property>());
    unsafe { ioctl::firmware_property(device.as_fd().as_raw_fd(), &raw mut *buffer) }?;
    Ok(())
}

/// Restarts with an argument for the firmware; returns only when it fails.
#[allow(unsafe_code)]
pub fn restart_with(argument: &str) -> io::Error {
    let Ok(argument) = CString::new(argument) else { return io::ErrorKind::InvalidInput.into() };
    // SAFETY: the two magic numbers and a NUL-terminated string, as reboot(2) wants them.
    unsafe {
        libc::syscall(
            libc::SYS_reboot,
            libc::LINUX_REBOOT_MAGIC1,
            libc::LINUX_REBOOT_MAGIC2,
            libc::LINUX_REBOOT_CMD_RESTART2,
            argument.as_ptr(),
        )
    };
    io::Error::last_os_error()
}

/// Lets the kernel shift the clock by less than half a second without a jump, and tells it that the time is good, so that it
/// keeps a hardware clock right.
#[allow(unsafe_code)]
pub fn slew_clock(by_micros: i64) -> io::Result<()> {
    // SAFETY: timex is plain numbers, for which zero is valid; the call reads and writes that one struct.
    unsafe {
        let mut change: libc::timex = std::mem::zeroed();
        change.modes = libc::ADJ_OFFSET_SINGLESHOT;
        change.offset = by_micros as _;
        if libc::adjtimex(&raw mut change) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut good: libc::timex = std::mem::zeroed();
        good.modes = libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
        good.maxerror = 500_000;
        good.esterror = 100_000;
        if libc::adjtimex(&raw mut good) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Has a child start with no signal held back. PID 1 holds those it waits for, and a child inherits what its parent holds.
#[allow(unsafe_code)]
pub fn release_signals(command: &mut Command) {
    // SAFETY: between fork and exec it makes one system call, on memory of its own.
    unsafe { command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?)) };
}

/// Takes over a descriptor that the program before us left open; `None` when it is not open.
#[allow(unsafe_code)]
pub fn adopt(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_SETFD of a number that is not open fails; of one that is, the caller vouches that nobody else owns it. The
    // numbers come from a file that only this program writes.
    unsafe {
        if fd < 3 || libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
            return None;
        }
        Some(OwnedFd::from_raw_fd(fd))
    }
}

/// Lets a descriptor live on in the program that takes our place.
#[allow(unsafe_code)]
pub fn keep_across_exec(fd: RawFd) {
    // SAFETY: F_SETFD changes a flag of the number; one that is not open is an error and nothing else.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
}

/// Brings the loopback interface up, which gives it its addresses.
#[allow(unsafe_code)]
pub fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: ifreq is plain bytes, for which zero is valid; the call reads its name and flags.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Time since the kernel started, sleeping included. Goes on through a restart of this program.
pub fn uptime() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}
