//! The system calls whose numbers alone say too little: what their arguments must be.

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BackendError, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::Group;

/// Linux's `CLONE_NEW*`: each makes a namespace.
const NAMESPACES: u64 = 0x7e02_0080;
const CLONE_THREAD: u64 = 0x0001_0000;
const WRITABLE: u64 = libc::PROT_WRITE as u64;
const EXECUTABLE: u64 = libc::PROT_EXEC as u64;
/// The socket's kind without the flags that stand in the same word.
const KIND: u64 = 0xf;

/// The group's calls that are allowed by their arguments; where a call stands twice, one rule must fit.
pub fn by_arguments(group: Group) -> Result<Vec<(c_long, SeccompRule)>, BackendError> {
    let mut rules = Vec::new();
    let mut allow = |call: c_long, conditions: &[(u8, SeccompCmpOp, u64)]| -> Result<(), BackendError> {
        let conditions: Result<Vec<_>, _> = conditions
            .iter()
            .map(|(argument, operator, value)| {
                // musl sign-extends ioctl's request: the kernel looks at its lower half only, and so do we.
                let length = if matches!(operator, MaskedEq(_)) { Qword } else { Dword };
                SeccompCondition::new(*argument, length, operator.clone(), *value)
            })
            .collect();
        rules.push((call, SeccompRule::new(conditions?)?));
        Ok(())
    };
    match group {
        Group::Basic => {
            allow(libc::SYS_mmap, &[(2, MaskedEq(WRITABLE), 0)])?;
            allow(libc::SYS_mmap, &[(2, MaskedEq(EXECUTABLE), 0)])?;
            allow(libc::SYS_mprotect, &[(2, MaskedEq(EXECUTABLE), 0)])?;
            // Own limits only.
            allow(libc::SYS_prlimit64, &[(0, Eq, 0)])?;
            for signal in [libc::SIGABRT, libc::SIGBUS, libc::SIGSEGV, libc::SIGTERM] {
                // How a process ends itself: `abort`, and a handler that gives a signal back.
                allow(libc::SYS_tgkill, &[(2, Eq, signal as u64)])?;
                allow(libc::SYS_tkill, &[(1, Eq, signal as u64)])?;
            }
            for option in PRCTL {
                allow(libc::SYS_prctl, &[(0, Eq, *option)])?;
            }
            for request in [TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX] {
                allow(libc::SYS_ioctl, &[(1, Eq, request)])?;
            }
        }
        Group::Positioned => {
            for request in [BLKGETSIZE64, BLKSSZGET, BLKFLSBUF] {
                allow(libc::SYS_ioctl, &[(1, Eq, request)])?;
            }
        }
        Group::Network => {
            for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
                for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                    allow(libc::SYS_socket, &[(0, Eq, family as u64), (1, MaskedEq(KIND), kind as u64)])?;
                }
            }
            // How `getifaddrs` asks; changing anything would need a capability.
            allow(libc::SYS_socket, &[(0, Eq, libc::AF_NETLINK as u64), (2, Eq, libc::NETLINK_ROUTE as u64)])?;
            allow(libc::SYS_socketpair, &[(0, Eq, libc::AF_UNIX as u64)])?;
            for request in INTERFACE {
                allow(libc::SYS_ioctl, &[(1, Eq, *request)])?;
            }
        }
        // A pair of sockets is how tokio hears of signals.
        Group::Events => allow(libc::SYS_socketpair, &[(0, Eq, libc::AF_UNIX as u64)])?,
        Group::Threads => {
            allow(libc::SYS_clone, &[(0, MaskedEq(NAMESPACES | CLONE_THREAD), CLONE_THREAD)])?;
        }
        Group::Children => allow(libc::SYS_clone, &[(0, MaskedEq(NAMESPACES), 0)])?,
        Group::Files | Group::Storage => {}
    }
    Ok(rules)
}

/// Naming threads and memory, being told of the parent's death, and `no_new_privs`, which can only be switched on.
const PRCTL: &[u64] = &[
    libc::PR_SET_PDEATHSIG as u64,
    libc::PR_GET_DUMPABLE as u64,
    libc::PR_SET_DUMPABLE as u64,
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_GET_SECCOMP as u64,
    libc::PR_SET_NO_NEW_PRIVS as u64,
    libc::PR_GET_NO_NEW_PRIVS as u64,
    0x5356_4d41, // PR_SET_VMA
];

// ioctl requests (asm-generic/ioctls.h, linux/fs.h): is it a terminal and how wide, how much is there to read, blocking
// or not.
const TCGETS: u64 = 0x5401;
const TCGETS2: u64 = 0x802c_542a;
const TIOCGWINSZ: u64 = 0x5413;
const FIONREAD: u64 = 0x541b;
const FIONBIO: u64 = 0x5421;
const FIONCLEX: u64 = 0x5450;
const FIOCLEX: u64 = 0x5451;
// A disk's size, its sectors' size, its cache let go.
const BLKGETSIZE64: u64 = 0x8008_1272;
const BLKSSZGET: u64 = 0x1268;
const BLKFLSBUF: u64 = 0x1261;
/// Questions about interfaces (linux/sockios.h): name, list, flags, address, broadcast, netmask, MTU, hardware address,
/// index.
const INTERFACE: &[u64] = &[0x8910, 0x8912, 0x8913, 0x8915, 0x8919, 0x891b, 0x8921, 0x8927, 0x8933];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_flags_are_all_of_them() {
        let flags = libc::CLONE_NEWNS
            | libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET;
        // CLONE_NEWTIME, 0x80, lies among the signal bits and is for clone3 and unshare; as no signal has that number
        // it is refused too.
        assert_eq!(NAMESPACES, flags as u64 | 0x80);
    }
}
