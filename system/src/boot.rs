//! The boot sequence, top to bottom. It is also the way back after a panic of ours: what has been done already is then left out.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

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
use crate::power::Down;
use crate::probe::Probed;
use crate::reaper::Reaper;
use crate::resume::{self, Resume};
use crate::services::Services;
use crate::updates::{Standing, Updates};
use crate::watchdog::Watchdog;
use crate::{
    aside, clock, console, crash, data, device_tree, disk, durable, fault, handover, identity, modules, mounts,
    network, power, probe, reset, server, settings, shell, signals, sockets, sys, trace, units, users,
};

const MAX_FILE: usize = 64 * 1024;
/// How long a slot may take to say what is in it.
const LOOK: Duration = Duration::from_secs(30);
/// How long some small files may take to be durable.
const WRITE: Duration = Duration::from_mins(1);
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
        let is_running = |disk: &BootDisk, idle: &mut dyn FnMut()| holds(disk, slot, trust.as_ref(), &release, idle);
        find_disk(bootloader.boot_mode, is_running, &mut watchdog)
    };

    // What outlives a restart.
    let data = if resumed {
        data::resumed(left.data_fault.take())
    } else {
        data::bring_up(&reaper, disk.as_ref(), &mut || watchdog.ping_if_due())
    };
    let root = Path::new(DATA);
    let mut reset_fault = None;
    if !resumed && reset::is_requested(root) {
        reset_fault = carry_out_reset(&mut || watchdog.ping_if_due());
    }
    if !resumed {
        clock::start(root, release.built);
        let keep = || crash::keep_kernel_records(Path::new(DATA), clock::now());
        let records = aside::wait("crash", WRITE, &mut || watchdog.ping_if_due(), keep);
        if let Some(records @ 1..) = records {
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
    let machine_id =
        aside::wait("identity", WRITE, &mut || watchdog.ping_if_due(), || identity::machine_id(Path::new(DATA)));
    let machine_id = machine_id.unwrap_or_default();

    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/warppool"));
    let facts = Facts { release, args, bootloader, disk, machine_id, program, started: sys::uptime() };

    // A trial, a version that keeps dying, a damaged slot: before anything else is started.
    let mut updates = Updates::new(&facts, trust, reaper.clone(), events.clone(), errands.clone());
    if let Standing::Leave(down) = updates.at_boot(&facts, resumed, data == Data::Disk, &mut || watchdog.ping_if_due())
    {
        // The journal is to say why.
        if !errands.finish(std::time::Duration::from_secs(10), || watchdog.ping_if_due()) {
            say!("shutdown: the disk does not take what is left");
        }
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
        damaged: (data != Data::Disk).then(|| disk.data()),
    });
    if let Some(desk) = &desk
        && !resumed
    {
        handed = desk.take(&mut settings, &mut || watchdog.ping_if_due());
    }
    if handed.restart {
        mounts::seal_root();
        power::go_down(Down::Restart, || watchdog.ping_if_due());
    }
    handed.faults.extend(reset_fault);
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

/// Empties the data partition. The answer is what its owner has to know.
fn carry_out_reset(idle: &mut dyn FnMut()) -> Option<String> {
    let work = || {
        let done = reset::carry_out(Path::new(DATA));
        if let Err(why) = data::folders(Path::new(DATA)) {
            say!("data: {why}");
        }
        done
    };
    let why = match aside::wait("reset", reset::PATIENCE, idle, work) {
        Some(Ok(kept)) => {
            say!("reset: done; unsettled blocks kept: {kept}");
            return None;
        }
        Some(Err(why)) => why.to_string(),
        None => "the disk does not answer; replace the disk".into(),
    };
    say!("reset: not finished: {why}");
    Some(format!("the factory reset is not finished: {why}"))
}

fn find_disk(
    boot_mode: Option<u32>,
    is_running: impl Fn(&BootDisk, &mut dyn FnMut()) -> bool,
    watchdog: &mut Watchdog,
) -> Option<BootDisk> {
    match disk::wait(boot_mode, is_running, &mut || watchdog.ping_if_due()) {
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
fn holds(
    disk: &BootDisk,
    slot: Option<warppool_ota::Slot>,
    trust: Option<&Trust>,
    release: &Release,
    idle: &mut dyn FnMut(),
) -> bool {
    let (Some(slot), Some(trust)) = (slot, trust.cloned()) else { return false };
    let device = disk.slot(slot);
    let look = move || Some(warppool_ota::slot::look(&mut FileDisk::open_read_only(&device).ok()?, &trust));
    let look = aside::wait("disk: which of two we came from", LOOK, idle, look).flatten();
    look.and_then(|look| look.manifest)
        .is_some_and(|manifest| manifest.version == release.version && manifest.built == release.built)
}
