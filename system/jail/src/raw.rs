//! The three things that no safe interface offers: running code between fork and exec, owning a descriptor that was
//! inherited by its number, and marking a range of descriptors.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Runs `prepare` in the child between fork and exec. It must keep to system calls on memory that is ready: another
/// thread of the parent may have held any lock, the allocator's too, at the moment of the fork.
#[allow(unsafe_code)]
pub fn before_exec(command: &mut Command, prepare: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: the one caller, `confine`, makes system calls only; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(prepare) };
}

/// Marks every descriptor from `first` up to be closed by exec. Async-signal-safe.
#[allow(unsafe_code)]
pub fn close_on_exec_from(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed and no memory is touched.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_uint)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes ownership of an open descriptor that PID 1 passed by its number.
#[allow(unsafe_code)]
pub fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: `passed` calls this once for each number that PID 1 wrote into the environment, before anything else owns
    // it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Looks at a descriptor by its number. `None` when it is not open.
#[allow(unsafe_code)]
pub fn with_open<T>(number: RawFd, look: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> T) -> Option<T> {
    if number < 0 {
        return None;
    }
    // SAFETY: the number is not -1; it is only asked for its flags before it is known to be open, and a closed one
    // answers EBADF.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_getfd(fd).ok()?;
    Some(look(fd))
}
