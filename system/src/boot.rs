//! The boot sequence, top to bottom. It is also the way back after a panic of ours: what has been done already is then left out.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use warppool_ota::{FileDisk, Release, Trust, release, trust};
use warppool_protocol::SOCKET;

use crate::appliance::{Appliance, Facts, PoolState};
use crate::console::say;
use crate::data::Data;
use crate::device_tree::Bootloader;
use crate::disk::BootDisk;
use crate::errands::Errands;
use crate::event::{Event, WAITING};
use crate::kernel_args::{Fault, KernelArgs};
use crate::mounts::DATA;
use crate::probe::Probed;
use crate::reaper::Reaper;
use crate::resume::{self, Resume};
use crate::services::Services;
use crate::updates::{Standing, Updates};
use crate::watchdog::Watchdog;
use crate::{
    clock, console, crash, data, device_tree, disk, durable, fault, handover, identity, modules, mounts, network,
    power, probe, reset, server, settings, shell, signals, sockets, sys, trace, units, users,
};

const MAX_FILE: usize = 64 * 1024;
/// Who may ask PID 1 for anything.
static ADMITTED: [users::User; 2] = [users::ROOT, users::POOL];

/// Brings the appliance up and runs it. Never returns; the process must be PID 1.
pub fn main() -> ! {
    assert_eq!(std::process::id(), 1, "`warppool init` is the first process of the appliance; nobody else starts it");

    // Before the first thread or child, which inherit it.
    let held = signals::hold();
    // Somewhere to speak, and the kernel's own file systems.
    let left = Resume::take();
    let missing = if left.is_none() { mounts::basics() } else { Vec::new() };
    console::open();
    trace::forward();
    resume::on_panic();
    let resumed = left.is_some();
    let mut left = left.unwrap_or_default();
    for line in missing {
        say!("mounts: {line}");
    }
    if let Err(why) = held {
        say!("signals: cannot be held: {why}");
    }
    // Ctrl-Alt-Del is a wish to us, not an order to the kernel.
    let _ = nix::sys::reboot::set_cad_enabled(false);

    // Who we are and where we come from.
    let release =
        read_toml(release::PATH, Release::parse).expect("an image says what it is, or it is no image of ours");
    let (mut args, strange) = KernelArgs::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default());
    if resumed && matches!(args.fault, Some(Fault::Stumble(_))) {
        args.fault = None;
    }
    let bootloader = Bootloader::read(Path::new(device_tree::ROOT));
    let trial = if bootloader.is_trial() { "yes" } else { "no" };
    let slot = bootloader.partition.and_then(warppool_ota::Slot::from_partition);
    let again = if resumed { " (again, after a panic)" } else { "" };
    say!("version {} slot {} trial {trial}{again}", release.version, slot.map_or("?".into(), |slot| slot.to_string()));
    for line in strange {
        say!("boot: {line}");
    }
    fault::arm(args.fault.filter(|_| !resumed));

    // The watchdog comes first of all: whatever hangs from here on ends in a restart.
    let mut watchdog = match left.watchdog.and_then(sys::adopt) {
        Some(device) => Watchdog::adopt(device),
        None => Watchdog::open(),
    };

    // The main loop's ear, and the one who collects the dead.
    let (events, inbox) = sync_channel(WAITING);
    let reaper = Reaper::default();
    let wishes = events.clone();
    let started = signals::start(reaper.clone(), move |wish| drop(wishes.send(Event::Wish(wish))));
    started.expect("a thread can be started");
    let errands = Errands::start().expect("a thread can be started");

    // Drivers, and with them perhaps the watchdog.
    if !resumed {
        modules::load(&reaper, Path::new(modules::LIST), || watchdog.ping_if_due());
    }
    watchdog.look();
    if !watchdog.is_there() {
        say!("watchdog: there is none; a hang is not noticed");
    }

    // The disk we came from.
    let trust = read_toml(trust::PATH, Trust::parse);
    let disk = {
        let trust = trust.as_ref();
        let is_running = |disk: &BootDisk| holds(disk, slot, trust, &release);
        find_disk(bootloader.boot_mode, is_running, &mut watchdog)
    };

    // What outlives a restart.
    let data = if resumed {
        data::resumed(left.data_fault.take())
    } else {
        data::bring_up(&reaper, disk.as_ref(), &mut || watchdog.ping_if_due())
    };
    let root = Path::new(DATA);
    if !resumed && reset::is_requested(root) {
        match reset::carry_out(root) {
            Ok(kept) => say!("reset: done; unsettled blocks kept: {kept}"),
            Err(why) => say!("reset: not finished: {why}; it goes on at the next start"),
        }
        if let Err(why) = data::folders(root) {
            say!("data: {why}");
        }
    }
    if !resumed {
        clock::start(root, release.built);
        let records = crash::keep_kernel_records(root, clock::now());
        if records > 0 {
            say!("crash: {records} records of the kernel's were kept");
        }
    }
    if let (Data::Disk, Some(disk)) = (&data, &disk) {
        let device = disk.data();
        errands.send("growing the file system", move || match data::grow_file_system(&device, Path::new(DATA)) {
            Ok(Some(bytes)) => say!("data: grown to {} MiB", bytes >> 20),
            Ok(None) => {}
            Err(why) => say!("data: does not grow: {why}"),
        });
    }
    let machine_id = identity::machine_id(root);

    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/warppool"));
    let facts = Facts { release, args, bootloader, disk, machine_id, program, started: sys::uptime() };

    // A trial, a version that keeps dying, a damaged slot: before anything else is started.
    let mut updates = Updates::new(&facts, trust, reaper.clone(), events.clone(), errands.clone());
    if let Standing::Leave(down) = updates.at_boot(&facts, resumed, data == Data::Disk, &mut || watchdog.ping_if_due())
    {
        mounts::seal_root();
        power::go_down(down, || watchdog.ping_if_due());
    }

    // What the owner wants.
    let mut settings = settings::load(root);
    let mut handed = handover::Taken::default();
    let desk = facts.disk.as_ref().map(|disk| handover::Desk {
        reaper: reaper.clone(),
        program: facts.program.clone(),
        partition: disk.handover(),
        version: facts.release.version.to_string(),
        data: root.to_owned(),
    });
    if let Some(desk) = &desk
        && !resumed
    {
        handed = desk.take(&mut settings, &mut || watchdog.ping_if_due());
    }
    identity::set_hostname(settings.device.hostname.as_str());

    // The way out, which takes longest to come up.
    let connected = network::start(
        settings.network.clone(),
        settings.device.hostname.clone(),
        resumed,
        reaper.clone(),
        events.clone(),
    );

    told(connected, "network");

    if facts.args.shell && !resumed {
        shell::start(&reaper);
    }

    // LED and button.
    let presses = events.clone();
    let panel =
        warppool_panel::spawn(&settings::panel(&settings), move |event| drop(presses.try_send(Event::Panel(event))));

    // Ports, and who serves them.
    let sockets = if left.sockets.is_empty() { sockets::open() } else { sockets::adopt(&left.sockets) };
    let clock = clock::Clock::new(left.clock_trusted);
    let (services, wrong) = units::read(Path::new(units::FOLDER));
    for line in wrong {
        say!("services: {line}");
    }
    let mut appliance = Appliance {
        settings,
        data,
        reaper: reaper.clone(),
        errands,
        watchdog,
        services: Services::new(reaper, events.clone()),
        sockets,
        panel: told(panel, "panel"),
        shown: None,
        clock,
        updates,
        pool: PoolState::default(),
        probed: Probed::default(),
        interfaces: Vec::new(),
        leases: Vec::new(),
        announced: None,
        units: services,
        waiting: None,
        going_down: None,
        desk,
        finish: handed.finish,
        handover_faults: handed.faults,
        resume: left,
        last_laid: None,
        second: sys::uptime(),
        facts,
    };
    appliance.start_pool();
    appliance.start_ssh();
    let questions = events.clone();
    let served = server::start(Path::new(SOCKET), &ADMITTED, Some(users::POOL), move |question| {
        drop(questions.send(Event::Question(question)));
    });
    told(served, "socket");
    told(probe::start(events), "probe");

    // From here on nothing of the root can be changed.
    mounts::seal_root();
    appliance.run(&inbox)
}

fn told<T>(result: std::io::Result<T>, what: &str) -> Option<T> {
    result.map_err(|why| say!("{what}: does not start: {why}")).ok()
}

fn read_toml<T, E: std::fmt::Display>(path: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
    let bytes = match durable::read(Path::new(path), MAX_FILE) {
        Ok(bytes) => bytes,
        Err(why) => {
            say!("boot: {path}: {why}");
            return None;
        }
    };
    parse(&String::from_utf8_lossy(&bytes)).map_err(|why| say!("boot: {why}")).ok()
}

fn find_disk(
    boot_mode: Option<u32>,
    is_running: impl Fn(&BootDisk) -> bool,
    watchdog: &mut Watchdog,
) -> Option<BootDisk> {
    match disk::wait(boot_mode, is_running, || watchdog.ping_if_due()) {
        Ok((disk, others)) => {
            for other in others {
                say!("disk: {} has WarpPool's partitions too and is left alone", other.device.display());
            }
            say!("disk: {}", disk.device.display());
            Some(disk)
        }
        Err(why) => {
            say!("disk: {why}");
            None
        }
    }
}

/// Whether the slot we were started from holds our version on this disk; asked only when there are two.
fn holds(disk: &BootDisk, slot: Option<warppool_ota::Slot>, trust: Option<&Trust>, release: &Release) -> bool {
    let (Some(slot), Some(trust)) = (slot, trust) else { return false };
    let Ok(mut device) = FileDisk::open_read_only(&disk.slot(slot)) else { return false };
    let look = warppool_ota::slot::look(&mut device, trust);
    look.manifest.is_some_and(|manifest| manifest.version == release.version && manifest.built == release.built)
}
