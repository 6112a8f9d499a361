//! System calls that libc does not name for every target. Numbers from 424 on are the same on every architecture.

use libc::c_long;

#[cfg(target_arch = "x86_64")]
pub const KEXEC_FILE_LOAD: c_long = 320;
#[cfg(target_arch = "aarch64")]
pub const KEXEC_FILE_LOAD: c_long = 294;

pub const CLONE3: c_long = 435;
pub const CLOSE_RANGE: c_long = 436;
pub const OPENAT2: c_long = 437;
pub const FACCESSAT2: c_long = 439;
pub const EPOLL_PWAIT2: c_long = 441;
pub const MOUNT_SETATTR: c_long = 442;
pub const LANDLOCK_CREATE_RULESET: c_long = 444;
pub const LANDLOCK_ADD_RULE: c_long = 445;
pub const LANDLOCK_RESTRICT_SELF: c_long = 446;
pub const FCHMODAT2: c_long = 452;
