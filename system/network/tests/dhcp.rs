//! Our script with the real `udhcpc` and `udhcpd`, and its IPv6 side by hand.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Cable, Running, find, until};
use warppool_network::{Family, Lease};

fn script(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../overlays/common/usr/share/udhcpc").join(name);
    path.canonicalize().expect("is part of the overlay")
}

/// A folder in which `ip` and shell of `BusyBox` come first, as on the device.
fn busybox_first(folder: &Path) -> Option<String> {
    let Some(busybox) = find("busybox") else {
        println!("NOT RUN: busybox is missing");
        return None;
    };
    let bin = folder.join("bin");
    fs::create_dir(&bin).expect("made");
    for applet in ["ip", "sh", "rm", "mv"] {
        std::os::unix::fs::symlink(&busybox, bin.join(applet)).expect("linked");
    }
    Some(format!("{}:/usr/bin:/bin", bin.display()))
}

/// Calls the script with that shell.
fn wrapper(folder: &Path) -> PathBuf {
    let path = folder.join("wrapper");
    fs::write(
        &path,
        format!("#!{}/bin/sh\nexec sh {} \"$@\"\n", folder.display(), script("warppool.script").display()),
    )
    .expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("may be run");
    path
}

#[test]
fn a_lease_sets_address_and_route_and_is_written_down_for_pid_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = busybox_first(folder.path()) else { return };
    let Some(cable) = Cable::new() else { return };
    cable.address(1, "192.168.77.1/24");
    let leases = folder.path().join("leases");
    fs::write(&leases, "").expect("written");
    let server_file = folder.path().join("udhcpd.conf");
    let server = format!(
        "start 192.168.77.20\nend 192.168.77.29\ninterface eth0\nlease_file {}\npidfile {}\n\
         option subnet 255.255.255.0\noption router 192.168.77.1\noption dns 192.168.77.1 9.9.9.9\n\
         option ntpsrv 192.168.77.1\noption domain example.lan\noption lease 600\n",
        leases.display(),
        folder.path().join("pid").display()
    );
    fs::write(&server_file, server).expect("written");
    let quiet = |command: &mut Command| {
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Running(started.expect("starts"))
    };
    let _server = quiet(cable.command(1, "busybox").args(["udhcpd", "-f"]).arg(&server_file));
    let net = folder.path().join("net");
    fs::create_dir(&net).expect("made");
    let mut command = cable.command(0, "busybox");
    command.args(["udhcpc", "-f", "-i", "eth0", "-t", "5", "-T", "1", "-A", "2", "-x", "hostname:warppool", "-s"]);
    command.arg(wrapper(folder.path())).env("WARPPOOL_NET", &net).env("PATH", &path);
    let client = quiet(&mut command);
    let there = until(Duration::from_secs(20), || Lease::path(&net, "eth0", Family::V4).exists());
    assert!(there, "no lease came");
    let lease = Lease::read(&net, "eth0", Family::V4).expect("can be read").expect("is there");
    let address = lease.address.expect("has an address").to_string();
    assert!(address.starts_with("192.168.77.2"), "{lease:?}");
    assert_eq!(lease.prefix, Some(24));
    assert_eq!((lease.routers.len(), lease.dns.len(), lease.ntp.len()), (1, 2, 1), "{lease:?}");
    assert_eq!(lease.domain.as_deref(), Some("example.lan"));
    assert!(cable.says(0, "ip", &["addr", "show", "eth0"]).contains(&format!("{address}/24")));
    let route = cable.says(0, "ip", &["route"]);
    assert!(route.contains("default via 192.168.77.1 dev eth0") && route.contains("metric 100"), "{route}");
    // A client that is started again begins by taking down what the one before set up.
    drop(client);
    let mut event = cable.command(0, folder.path().join("bin/sh").to_str().expect("is text"));
    event.arg(script("warppool.script")).arg("deconfig").env("interface", "eth0");
    assert!(event.env("WARPPOOL_NET", &net).env("PATH", &path).status().expect("starts").success());
    assert!(!cable.says(0, "ip", &["addr", "show", "eth0"]).contains(&address));
    assert!(Lease::read(&net, "eth0", Family::V4).expect("no file").is_none());
}

/// Calls the script as udhcpc6 would.
fn event6(cable: &Cable, folder: &Path, path: &str, event: &str, facts: &[(&str, &str)]) -> bool {
    let mut command = cable.command(0, folder.join("bin/sh").to_str().expect("is text"));
    command.arg(script("warppool6.script")).arg(event).env("PATH", path).env("WARPPOOL_NET", folder);
    command.env("interface", "eth0").envs(facts.iter().copied()).stderr(Stdio::null());
    command.status().expect("starts").success()
}

#[test]
fn an_ipv6_lease_stands_beside_other_addresses_and_goes_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = busybox_first(folder.path()) else { return };
    let Some(cable) = Cable::new() else { return };
    cable.address(0, "fd77::99/64");
    let shown = || cable.says(0, "ip", &["-6", "addr", "show", "eth0"]);
    let facts = [("ipv6", "fd77::20"), ("dns", "fd77::1 fe80::1")];
    assert!(event6(&cable, folder.path(), &path, "bound", &facts));
    assert!(shown().contains("fd77::20/128"), "{}", shown());
    let lease = Lease::read(folder.path(), "eth0", Family::V6).expect("can be read").expect("is there");
    assert_eq!((lease.prefix, lease.dns.len()), (Some(128), 2), "{lease:?}");
    assert!(event6(&cable, folder.path(), &path, "renew", &[("ipv6", "fd77::21")]));
    assert!(shown().contains("fd77::21/128") && !shown().contains("fd77::20"), "{}", shown());
    assert!(event6(&cable, folder.path(), &path, "deconfig", &[]));
    assert!(!shown().contains("fd77::21") && shown().contains("fd77::99"), "{}", shown());
}

#[test]
fn what_a_server_says_cannot_add_a_fact_or_run_a_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = busybox_first(folder.path()) else { return };
    let Some(cable) = Cable::new() else { return };
    let evil = "example.lan\naddress=6.6.6.6/24\n$(touch owned) `touch owned` * ; touch owned";
    let facts = [("ipv6", "fd77::20"), ("domain", evil), ("dns", "9.9.9.9\nrouter=6.6.6.6")];
    assert!(event6(&cable, folder.path(), &path, "bound", &facts));
    let text = fs::read_to_string(Lease::path(folder.path(), "eth0", Family::V6)).expect("is there");
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(!text.contains("bin"), "a star became files' names: {text}");
    let lease = Lease::parse("eth0", Family::V6, &text);
    assert_eq!((lease.domain, lease.routers.len(), lease.dns.len()), (None, 0, 1));
    assert!(!Path::new("owned").exists());
    for interface in ["", "eth0/../x", "eth0 ;"] {
        let facts = [("interface", interface)];
        assert!(!event6(&cable, folder.path(), &path, "bound", &facts), "{interface:?} is no interface");
    }
}
