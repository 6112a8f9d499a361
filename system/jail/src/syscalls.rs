//! The system calls by purpose. The lists hold what Rust's std, tokio, LMDB and rustls use on musl and glibc; aarch64
//! lacks the older calls, which stand apart. A call whose number alone says too little is allowed by its arguments.

mod arguments;
mod numbers;
mod plain;

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{BackendError, SeccompRule};

/// System calls that a role needs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Computing, memory that is never both writable and executable, time, own signals; reading, writing and waiting on
    /// what is open. Also what entering the jail takes. Every role has it.
    Basic,
    /// Seeking, reading and writing at a place, flushing and measuring what is open: partitions and files passed by PID
    /// 1.
    Positioned,
    /// Opening files to read, listing folders, asking about files. Which ones, the folder rules say.
    Files,
    /// Making, changing, renaming and removing files; memory maps of them flushed, records locked. Which, the folder
    /// rules say.
    Storage,
    /// epoll, eventfd, timers and signals as descriptors, pipes.
    Events,
    /// TCP, UDP and Unix sockets, and asking the kernel for addresses; no raw sockets.
    Network,
    /// Threads in this process.
    Threads,
    /// Child processes and executing, itself anew too. What can be executed, the folder rules say. No namespaces.
    Children,
}

/// What nobody in a jail has any business with: the process is killed for trying.
pub const KILLED: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    numbers::KEXEC_FILE_LOAD,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    libc::SYS_mount,
    numbers::MOUNT_SETATTR,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// What answers ENOSYS, as on a kernel without it, so that libraries fall back: `clone3`, whose flags a filter cannot
/// see, and `io_uring`, whose work no filter sees.
pub const ABSENT: &[c_long] =
    &[numbers::CLONE3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Every call the groups allow; with rules of which one must fit, or none where any arguments will do.
pub fn allowed(groups: &[Group]) -> Result<BTreeMap<c_long, Vec<SeccompRule>>, BackendError> {
    let mut calls: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    for group in groups {
        for (call, rule) in arguments::by_arguments(*group)? {
            calls.entry(call).or_default().push(rule);
        }
    }
    for group in groups {
        let listed = plain::listed(*group).iter().chain(plain::legacy(*group));
        calls.extend(listed.map(|call| (*call, Vec::new())));
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Group; 8] = [
        Group::Basic,
        Group::Positioned,
        Group::Files,
        Group::Storage,
        Group::Events,
        Group::Network,
        Group::Threads,
        Group::Children,
    ];

    #[test]
    fn no_group_allows_what_others_are_killed_for_or_what_is_absent() {
        let allowed = allowed(&ALL).expect("sound rules");
        for call in KILLED.iter().chain(ABSENT) {
            assert!(!allowed.contains_key(call), "{call}");
        }
    }

    #[test]
    fn a_call_allowed_by_its_number_needs_no_arguments_to_fit() {
        // `lseek` is in two groups, `socketpair` in two with the same rule, `clone` in two with different ones.
        let allowed = allowed(&ALL).expect("sound rules");
        assert_eq!(allowed[&libc::SYS_lseek].len(), 0);
        assert_eq!(allowed[&libc::SYS_socketpair].len(), 2);
        assert_eq!(allowed[&libc::SYS_clone].len(), 2);
    }
}
