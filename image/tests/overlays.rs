//! The overlays as they are checked in: users, links, and the script that sizes the node.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use warppool_image::build;
use warppool_image::tree::{Content, Kind, Tree};

fn overlay(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays").join(name)
}

/// The root that a board's overlays alone would make.
fn tree(boards: &[&str]) -> Tree {
    let roots: Vec<PathBuf> = ["common"].iter().chain(boards).map(|name| overlay(name)).collect();
    build::base(&roots, &[]).unwrap()
}

fn text(tree: &Tree, path: &str) -> String {
    match &tree.get(path).unwrap_or_else(|| panic!("there is no /{path}")).kind {
        Kind::File(Content::At(at)) => fs::read_to_string(at).unwrap(),
        other => panic!("/{path} is {other:?}"),
    }
}

#[test]
fn every_role_has_its_user_with_the_number_that_pid_1_knows() {
    let tree = tree(&[]);
    let (passwd, group) = (text(&tree, "etc/passwd"), text(&tree, "etc/group"));
    let users =
        [("root", 0), ("pool", 100), ("net", 101), ("ota", 102), ("handover", 103), ("clock", 104), ("mdns", 105)];
    for (name, id) in users {
        assert!(passwd.lines().any(|line| line.starts_with(&format!("{name}:*:{id}:{id}:"))), "{name}");
        assert!(group.lines().any(|line| line == format!("{name}:*:{id}:")), "{name}");
    }
    // The node writes its cookie for its group.
    assert!(passwd.contains("\nbitcoin:*:106:100:"));
    assert!(passwd.lines().all(|line| line.split(':').count() == 7 && line.contains(":*:")), "nobody has a password");
}

#[test]
fn every_board_has_what_pid_1_reads() {
    for (boards, drivers) in [(&["qemu"][..], "virtio_net"), (&["rpi5"], "brcmfmac"), (&["rpi5", "node"], "brcmfmac")] {
        let tree = tree(boards);
        let listed = text(&tree, "etc/warppool/modules");
        assert!(listed.lines().any(|line| line == drivers), "{boards:?}");
        assert_eq!(tree.get("etc/resolv.conf").unwrap().kind, Kind::Link("/run/warppool/resolv.conf".into()));
        for folder in ["proc", "sys", "dev", "run", "tmp", "data"] {
            assert_eq!(tree.get(folder).unwrap().kind, Kind::Folder, "{boards:?}: {folder}");
        }
        let scripts = ["usr/share/udhcpc/warppool.script", "usr/share/udhcpc/warppool6.script"];
        for script in scripts {
            assert_eq!(tree.get(script).unwrap().owner.mode, 0o755, "{boards:?}: {script}");
        }
    }
}

/// What the node is started with on a machine with this memory and this data partition, both in MiB.
fn node(device: &str, disk: u64, memory: u64) -> String {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("mounts"), format!("none / rootfs ro 0 0\n{device} /data ext4 rw 0 0\n")).unwrap();
    fs::write(at("meminfo"), format!("MemTotal:       {} kB\nMemFree:        1 kB\n", memory * 1024)).unwrap();
    let tools = at("tools");
    fs::create_dir(&tools).unwrap();
    let tool = |name: &str, script: String| {
        fs::write(tools.join(name), script).unwrap();
        fs::set_permissions(tools.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    tool("df", format!("#!/bin/sh\necho Filesystem 1K-blocks Used\necho {device} {} 1\n", disk * 1024));
    tool("bitcoind", "#!/bin/sh\necho \"$@\"\n".into());
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let script = overlay("node/usr/libexec/warppool/bitcoind");
    let output = Command::new("sh")
        .arg(script)
        .env("PATH", path)
        .env("PROC", root.path())
        .env("BITCOIND", tools.join("bitcoind"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_node_gets_sizes_that_fit_disk_and_memory() {
    for (disk, memory, expected) in [
        (240_000, 4096, "-prune=102400 -dbcache=1024 -maxmempool=256"),
        (60_000, 8192, "-prune=29640 -dbcache=2048 -maxmempool=300"),
        (1_900_000, 16_384, "-prune=102400 -dbcache=2048 -maxmempool=300"),
        (30_000, 512, "-prune=7140 -dbcache=128 -maxmempool=50"),
    ] {
        let started = node("/dev/nvme0n1p6", disk, memory);
        assert!(started.starts_with("-datadir=/data/bitcoin -conf=/etc/bitcoin/bitcoin.conf "), "{started}");
        assert!(started.trim_end().ends_with(expected), "{disk} and {memory}: {started}");
    }
}

#[test]
fn no_node_is_started_on_an_sd_card_or_a_small_disk() {
    assert!(node("/dev/mmcblk0p6", 240_000, 4096).contains("not on an NVMe disk"));
    assert!(node("/dev/nvme0n1p6", 15_000, 4096).contains("too small"));
}
