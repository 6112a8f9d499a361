//! The system calls that are allowed by their numbers alone, and those that only older architectures have.

use libc::c_long;

use super::{Group, numbers};

/// The group's calls that any arguments will do for.
pub fn listed(group: Group) -> &'static [c_long] {
    match group {
        Group::Basic => BASIC,
        Group::Positioned => POSITIONED,
        Group::Files => FILES,
        Group::Storage => STORAGE,
        Group::Events => EVENTS,
        Group::Network => NETWORK,
        Group::Threads => &[],
        Group::Children => CHILDREN,
    }
}

const BASIC: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    numbers::CLOSE_RANGE,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    numbers::LANDLOCK_ADD_RULE,
    numbers::LANDLOCK_CREATE_RULESET,
    numbers::LANDLOCK_RESTRICT_SELF,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_seccomp,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
];

const POSITIONED: &[c_long] = &[
    libc::SYS_fadvise64,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_sync_file_range,
];

const FILES: &[c_long] = &[
    libc::SYS_chdir,
    libc::SYS_faccessat,
    numbers::FACCESSAT2,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    numbers::OPENAT2,
    libc::SYS_pread64,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_statfs,
    libc::SYS_statx,
];

const STORAGE: &[c_long] = &[
    libc::SYS_copy_file_range,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    numbers::FCHMODAT2,
    libc::SYS_flock,
    libc::SYS_ftruncate,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_msync,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

const EVENTS: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    numbers::EPOLL_PWAIT2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
];

const NETWORK: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

const CHILDREN: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// Calls that only older architectures have; libraries use them there.
#[cfg(target_arch = "x86_64")]
pub fn legacy(group: Group) -> &'static [c_long] {
    match group {
        Group::Basic => &[
            libc::SYS_arch_prctl,
            libc::SYS_dup2,
            libc::SYS_getpgrp,
            libc::SYS_getrlimit,
            libc::SYS_pause,
            libc::SYS_poll,
            libc::SYS_select,
            libc::SYS_time,
        ],
        Group::Files => {
            &[libc::SYS_access, libc::SYS_getdents, libc::SYS_lstat, libc::SYS_open, libc::SYS_readlink, libc::SYS_stat]
        }
        Group::Storage => &[
            libc::SYS_chmod,
            libc::SYS_creat,
            libc::SYS_link,
            libc::SYS_mkdir,
            libc::SYS_rename,
            libc::SYS_rmdir,
            libc::SYS_symlink,
            libc::SYS_unlink,
        ],
        Group::Events => {
            &[libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_pipe, libc::SYS_signalfd]
        }
        Group::Children => &[libc::SYS_fork, libc::SYS_vfork],
        Group::Positioned | Group::Network | Group::Threads => &[],
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn legacy(_: Group) -> &'static [c_long] {
    &[]
}
