//! `machine DISK`: boots a disk image of the appliance as a Raspberry Pi would, for people.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use warppool_firmware::{Board, Eeprom, Firmware, Medium};
use warppool_machine::{Attached, Bus, End, Machine, Setup};

/// As long as anybody looks at a machine.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Boots a disk image in QEMU, through every reset, until the guest switches off.
#[derive(Debug, Parser)]
struct Options {
    /// The image. It is changed, as a disk is, unless --copy is given.
    disk: PathBuf,
    /// Work on a copy.
    #[arg(long)]
    copy: bool,
    /// Connect it as an SD card instead of `NVMe`.
    #[arg(long)]
    sd: bool,
    /// Memory in MiB.
    #[arg(long, default_value_t = 512)]
    memory: u32,
    /// Make these TCP ports of the guest reachable.
    #[arg(long, value_delimiter = ',', default_value = "80,443,3333,3334,34254")]
    ports: Vec<u16>,
    /// Append to the kernel's command line.
    #[arg(long)]
    argument: Vec<String>,
    /// Put this image in as a USB stick.
    #[arg(long)]
    usb: Option<PathBuf>,
    /// Play a loader of this day instead of a current one, as YYYY-MM-DD.
    #[arg(long, value_parser = day)]
    eeprom: Option<Eeprom>,
    /// Cut the power after this many seconds, then boot again.
    #[arg(long)]
    cut_after: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let medium = if options.sd { Medium::SdCard } else { Medium::Nvme };
    let firmware = Firmware::new(options.eeprom.unwrap_or(Eeprom::current()), Board::Virt, medium);
    let mut setup = Setup::new(&options.disk).memory(options.memory).echo();
    setup = options.ports.iter().fold(setup, |setup, port| setup.forward(*port));
    setup = options.argument.iter().fold(setup, Setup::argument);
    if options.copy {
        setup = setup.on_a_copy();
    }
    if let Some(disk) = options.usb {
        setup = setup.attach(Attached { disk, bus: Bus::Usb, first: false });
    }

    let mut machine = Machine::new(setup, firmware)?;
    let mut cut = options.cut_after.map(Duration::from_secs);
    loop {
        let boot = machine.power_on()?;
        eprintln!("machine: partition {} boots, tryboot {}", boot.partition, boot.chosen.tryboot);
        for complaint in &boot.complaints {
            eprintln!("machine: {complaint}");
        }
        for port in &options.ports {
            eprintln!("machine: port {port} is {}", machine.address(*port)?);
        }
        match machine.wait_end(cut.take().unwrap_or(FOREVER)) {
            Ok(End::PowerOff) => return Ok(()),
            Ok(End::Lost) => anyhow::bail!("QEMU is gone"),
            Ok(end) => eprintln!("machine: {end}"),
            Err(warppool_machine::Error::Late { .. }) => {
                machine.cut_power();
                eprintln!("machine: power cut");
            }
            Err(why) => return Err(why.into()),
        }
    }
}

fn day(text: &str) -> anyhow::Result<Eeprom> {
    let mut parts = text.split('-').map(str::parse::<u16>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(year)), Some(Ok(month)), Some(Ok(day)), None) => {
            Ok(Eeprom::released(year, u8::try_from(month)?, u8::try_from(day)?))
        }
        _ => None.context("a day is written as 2025-12-08"),
    }
}
