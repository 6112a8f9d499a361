//! What a process can and cannot do once it has entered the pool's jail. Run by root it proves the more: nothing here
//! rests on the user's lack of rights.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared by all tests of this crate")]
mod common;

use common::Outcome::{Found, Killed, Refused};
use common::{Prison, folders_are_shut, ports_and_signals_are_shut};
use libc::{EACCES, ENOSYS, EPERM, SIGABRT, SIGSYS};

#[test]
fn the_pool_can_do_its_work_and_no_call_of_it_is_unforeseen() {
    let prison = Prison::new();
    let data = prison.path("data");
    let data = data.to_str().expect("a plain path");
    for (action, what) in [
        ("tcp", ""),
        ("udp", ""),
        ("interfaces", ""),
        ("resolve", "localhost"),
        ("threads", ""),
        ("tokio", ""),
        ("lmdb", data),
        ("store", data),
        ("text", "/proc/self/status"),
        ("text", "/proc/meminfo"),
        ("text", "/proc/cpuinfo"),
        ("text", "/proc/loadavg"),
        ("text", "/proc/net/route"),
        ("list", "/sys/class/thermal"),
        ("list", "/sys/class/net"),
        ("text", "/etc/hosts"),
        ("list", "/etc/ssl"),
        ("write", "/dev/null"),
        ("anew", "/proc/self/status"),
        ("child", "/proc/meminfo"),
    ] {
        let outcome = prison.tries_strictly("pool", action, what);
        assert!(matches!(outcome, Found(_)), "{action} {what}: {outcome:?}");
    }
    assert_eq!(prison.tries_strictly("pool", "abort", ""), Killed(SIGABRT), "as a panic does in what ships");
}

#[test]
fn the_pool_cannot_reach_what_is_not_its_own() {
    let prison = Prison::new();
    if !folders_are_shut(&prison) {
        return;
    }
    let others = prison.path("others");
    let others = others.to_str().expect("a plain path");
    let beside = prison.path("beside");
    let beside = beside.to_str().expect("a plain path");
    for (action, what) in [
        ("read", others),
        ("append", others),
        ("truncate", others),
        ("remove", others),
        ("write", beside),
        ("write", "/etc/hosts.new"),
        ("append", "/etc/hosts"),
        ("append", "/proc/sys/kernel/core_pattern"),
        ("append", "/sys/power/state"),
        ("read", "/dev/zero"),
        ("list", "/root"),
        ("list", "/"),
        ("list", "/dev"),
        ("exec", "/bin/sh"),
    ] {
        assert_eq!(prison.tries("pool", action, what), Refused(EACCES), "{action} {what}");
    }
}

#[test]
fn the_pool_reads_the_cookie_of_a_node_on_the_same_device_and_changes_nothing_of_it() {
    let prison = Prison::new();
    let (node, cookie) = (prison.path("bitcoin"), prison.path("bitcoin/rpc.cookie"));
    std::fs::create_dir(&node).expect("a folder of the node's");
    std::fs::write(&cookie, "__cookie__:secret").expect("a cookie");
    assert!(matches!(prison.tries_strictly("pool", "read", &cookie), Found(_)));
    if folders_are_shut(&prison) {
        assert_eq!(prison.tries("pool", "append", &cookie), Refused(EACCES));
        assert_eq!(prison.tries("pool", "write", node.join("new")), Refused(EACCES));
    }
}

#[test]
fn starting_anew_and_having_a_child_are_no_ways_out() {
    let prison = Prison::new();
    if !folders_are_shut(&prison) {
        return;
    }
    let others = prison.path("others");
    assert_eq!(prison.tries("free", "text", &others), Found("private".into()));
    assert_eq!(prison.tries("free", "child", &others), Found("private".into()));
    for way in ["anew", "anew-without-entering"] {
        assert_eq!(prison.tries("pool", way, &others), Refused(EACCES), "{way}");
        let Found(status) = prison.tries("pool", way, "/proc/self/status") else { panic!("{way}: no status") };
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{way}: {status}");
    }
    assert_eq!(prison.tries("pool", "child", &others), Found(EACCES.to_string()));
}

#[test]
fn tampering_with_the_system_kills() {
    let prison = Prison::new();
    for (name, call) in [
        ("mount", libc::SYS_mount),
        ("umount", libc::SYS_umount2),
        ("pivot_root", libc::SYS_pivot_root),
        ("chroot", libc::SYS_chroot),
        ("open_tree", libc::SYS_open_tree),
        ("fsopen", libc::SYS_fsopen),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("delete_module", libc::SYS_delete_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("reboot", libc::SYS_reboot),
        ("swapon", libc::SYS_swapon),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("keyctl", libc::SYS_keyctl),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        #[cfg(target_arch = "x86_64")]
        ("iopl", libc::SYS_iopl),
    ] {
        assert_eq!(prison.tries("pool", "call", call.to_string()), Killed(SIGSYS), "{name}");
    }
}

#[test]
fn gaining_rights_or_leaving_by_a_side_door_is_refused() {
    let prison = Prison::new();
    let page = 4096;
    let new_user = 0x1000_0000 | libc::SIGCHLD;
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    for (name, line) in [
        ("setuid", format!("{} 0", libc::SYS_setuid)),
        ("setresuid", format!("{} 0 0 0", libc::SYS_setresuid)),
        ("setgid", format!("{} 0", libc::SYS_setgid)),
        ("setgroups", format!("{} 0", libc::SYS_setgroups)),
        ("capset", format!("{} 0 0", libc::SYS_capset)),
        ("raw socket", format!("{} {} {} 1", libc::SYS_socket, libc::AF_INET, libc::SOCK_RAW)),
        ("packet socket", format!("{} {} {} 0", libc::SYS_socket, libc::AF_PACKET, libc::SOCK_DGRAM)),
        ("crypto socket", format!("{} {} {} 0", libc::SYS_socket, libc::AF_ALG, libc::SOCK_SEQPACKET)),
        ("netlink but route", format!("{} {} {} 16", libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW)),
        ("clone into a user namespace", format!("{} {new_user}", libc::SYS_clone)),
        ("memory to write and execute", format!("{} 0 {page} 7 {private} -1 0", libc::SYS_mmap)),
        ("memory made executable", format!("{} 0 {page} 5", libc::SYS_mprotect)),
        ("a file that has no name", format!("{} 0 0", libc::SYS_memfd_create)),
        ("executing what has no name", format!("{} 0 0 0 0 0", libc::SYS_execveat)),
        ("mknod", format!("{} 0 0 0 0", libc::SYS_mknodat)),
        ("setting the clock", format!("{} 0 0", libc::SYS_clock_settime)),
        ("setting the host name", format!("{} 0 0", libc::SYS_sethostname)),
        ("typing into the terminal", format!("{} 0 {}", libc::SYS_ioctl, 0x5412)),
        ("another's limits", format!("{} 1 7 0 0", libc::SYS_prlimit64)),
        ("another's descriptor", format!("{} 0 0 0", libc::SYS_pidfd_getfd)),
    ] {
        assert_eq!(prison.tries("pool", "call", line), Refused(EPERM), "{name}");
    }
    for (name, call) in [("clone3", 435), ("io_uring_setup", 425), ("io_uring_enter", 426), ("io_uring_register", 427)]
    {
        assert_eq!(prison.tries("pool", "call", format!("{call} 0 0")), Refused(ENOSYS), "{name}");
    }
}

#[test]
fn the_pool_cannot_signal_those_outside() {
    let prison = Prison::new();
    if !ports_and_signals_are_shut(&prison) {
        return;
    }
    let this = std::process::id().to_string();
    assert_eq!(prison.tries("free", "kill", &this), Found("0".into()));
    assert_eq!(prison.tries("pool", "kill", &this), Refused(EPERM));
}
