//! The name service between two machines, with ourselves and with Avahi on the other one.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Cable, Running, has, until};
use mdns_sd::{ServiceDaemon, ServiceEvent};
use warppool_network::names::{Config, Event, NamesError, Service, serve};

const PATIENCE: Duration = Duration::from_secs(20);

struct Serving {
    stop: Sender<()>,
    events: Receiver<Event>,
    thread: JoinHandle<Result<(), NamesError>>,
}

impl Serving {
    fn on(cable: &Cable, end: usize) -> Self {
        let config = Config {
            hostname: "warppool".parse().expect("a name"),
            services: vec![Service::http(80), Service::stratum(3333)],
        };
        let (stop, stopped) = mpsc::channel();
        let (tell, events) = mpsc::channel();
        let thread = cable.on(end, move || serve(&config, &stopped, |event| drop(tell.send(event))));
        Self { stop, events, thread }
    }

    #[track_caller]
    fn name(&self) -> String {
        loop {
            match self.events.recv_timeout(PATIENCE).expect("a name is told") {
                Event::Name(name) => return name,
                Event::Trouble(_) => {}
            }
        }
    }

    fn stop(self) {
        self.stop.send(()).expect("is heard");
        self.thread.join().expect("ends").expect("without an error");
    }
}

fn cable() -> Option<Cable> {
    let cable = Cable::new()?;
    cable.address(0, "192.168.78.1/24");
    cable.address(1, "192.168.78.2/24");
    Some(cable)
}

/// A service's host, port and addresses, or the name of one that went away.
type News = Result<(String, u16, Vec<String>), String>;

/// What somebody on a machine finds of a service.
fn browse(cable: &Cable, end: usize, kind: &'static str) -> Receiver<News> {
    let (tell, told) = mpsc::channel();
    cable.on(end, move || {
        let daemon = ServiceDaemon::new().expect("starts");
        let found = daemon.browse(kind).expect("browses");
        while let Ok(event) = found.recv() {
            let news = match event {
                ServiceEvent::ServiceResolved(service) => {
                    let addresses = service.get_addresses().iter().map(|it| it.to_ip_addr().to_string()).collect();
                    Ok((service.get_hostname().to_owned(), service.get_port(), addresses))
                }
                ServiceEvent::ServiceRemoved(_, name) => Err(name),
                _ => continue,
            };
            if tell.send(news).is_err() {
                break;
            }
        }
        let _ = daemon.shutdown();
    });
    told
}

#[test]
fn a_service_is_found_by_the_devices_name_and_taken_back_at_the_end() {
    let Some(cable) = cable() else { return };
    let serving = Serving::on(&cable, 0);
    assert_eq!(serving.name(), "warppool.local");
    let found = browse(&cable, 1, "_stratum._tcp.local.");
    // IPv4 and IPv6 may be told one after the other.
    let mut all = Vec::new();
    let seen = until(PATIENCE, || {
        all.extend(found.try_iter().filter_map(Result::ok));
        all.iter().any(|(host, port, addresses)| {
            host == "warppool.local." && *port == 3333 && addresses.contains(&"192.168.78.1".to_owned())
        })
    });
    assert!(seen, "{all:?}");
    assert!(!all.iter().any(|(_, _, addresses)| addresses.contains(&"127.0.0.1".to_owned())), "{all:?}");
    serving.stop();
    let gone = until(Duration::from_secs(10), || found.try_recv().is_ok_and(|news| news.is_err()));
    assert!(gone, "nobody said farewell");
}

#[test]
fn the_second_of_two_takes_the_next_name_for_all_it_has() {
    let Some(cable) = cable() else { return };
    let first = Serving::on(&cable, 0);
    assert_eq!(first.name(), "warppool.local");
    let second = Serving::on(&cable, 1);
    let mut name = second.name();
    if name == "warppool.local" {
        name = second.name();
    }
    assert_eq!(name, "warppool-2.local");
    let found = browse(&cable, 0, "_http._tcp.local.");
    let seen = until(PATIENCE, || {
        found.try_recv().is_ok_and(|news| {
            news.is_ok_and(|(host, port, addresses)| {
                host == "warppool-2.local." && port == 80 && addresses.contains(&"192.168.78.2".to_owned())
            })
        })
    });
    assert!(seen, "the second is not found by its new name");
    first.stop();
    second.stop();
}

#[test]
fn an_address_that_comes_later_is_announced() {
    let Some(cable) = cable() else { return };
    let serving = Serving::on(&cable, 0);
    serving.name();
    cable.address(0, "192.168.78.50/24");
    let found = browse(&cable, 1, "_http._tcp.local.");
    let seen = until(PATIENCE, || {
        found.try_recv().is_ok_and(|news| news.is_ok_and(|(_, _, all)| all.contains(&"192.168.78.50".to_owned())))
    });
    assert!(seen, "the new address is not announced");
    serving.stop();
}

/// Avahi on a machine of the test, with a bus of its own, so that its tools can be used too.
struct Avahi {
    address: String,
    _bus: Running,
    _daemon: Running,
}

impl Avahi {
    fn on(cable: &Cable, end: usize, folder: &Path, hostname: &str) -> Option<Self> {
        if !(has("avahi-daemon") && has("avahi-browse") && has("dbus-daemon")) {
            println!("NOT RUN: avahi-daemon, avahi-browse (avahi-utils) or dbus-daemon is missing");
            return None;
        }
        let address = format!("unix:path={}", folder.join("bus").display());
        let bus_file = folder.join("bus.conf");
        let bus = format!(
            "<busconfig><listen>{address}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
             <allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/><allow eavesdrop=\"true\"/>\
             </policy></busconfig>"
        );
        fs::write(&bus_file, bus).expect("written");
        let file = folder.join("avahi.conf");
        fs::write(
            &file,
            format!("[server]\nhost-name={hostname}\nuse-ipv6=no\nallow-interfaces=eth0\n[wide-area]\n[publish]\n"),
        )
        .expect("written");
        let quiet = |command: &mut std::process::Command| {
            Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"))
        };
        let bus =
            quiet(cable.command(end, "dbus-daemon").args(["--nofork", "--nopidfile", "--config-file"]).arg(bus_file));
        assert!(until(PATIENCE, || folder.join("bus").exists()), "the bus does not start");
        let mut command = cable.command(end, "avahi-daemon");
        command.args(["--no-drop-root", "--no-chroot", "--no-rlimits", "-f"]).arg(file);
        let daemon = quiet(command.env("DBUS_SYSTEM_BUS_ADDRESS", &address));
        Some(Self { address, _bus: bus, _daemon: daemon })
    }

    fn ask(&self, cable: &Cable, end: usize, program: &str, arguments: &[&str]) -> String {
        let mut command = cable.command(end, program);
        command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", &self.address);
        String::from_utf8_lossy(&command.output().expect("starts").stdout).into_owned()
    }
}

#[test]
fn avahi_finds_our_name_and_services() {
    let Some(cable) = cable() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(avahi) = Avahi::on(&cable, 1, folder.path(), "laptop") else { return };
    let serving = Serving::on(&cable, 0);
    assert_eq!(serving.name(), "warppool.local");
    let mut seen = String::new();
    let found = until(PATIENCE, || {
        seen = avahi.ask(&cable, 1, "avahi-browse", &["-rpt", "_stratum._tcp"]);
        seen.contains("warppool.local;192.168.78.1;3333;\"proto=v1\"")
    });
    assert!(found, "{seen}");
    let named = avahi.ask(&cable, 1, "avahi-resolve", &["-4", "-n", "warppool.local"]);
    assert!(named.contains("192.168.78.1"), "{named}");
    serving.stop();
}

#[test]
fn a_name_that_avahi_has_is_left_to_it() {
    let Some(cable) = cable() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(avahi) = Avahi::on(&cable, 1, folder.path(), "warppool") else { return };
    let up =
        until(PATIENCE, || avahi.ask(&cable, 1, "avahi-resolve", &["-4", "-n", "warppool.local"]).contains("78.2"));
    assert!(up, "avahi does not start");
    let serving = Serving::on(&cable, 0);
    let mut name = serving.name();
    if name == "warppool.local" {
        name = serving.name();
    }
    assert_eq!(name, "warppool-2.local");
    serving.stop();
}
