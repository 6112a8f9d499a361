//! A machine that is switched on, reset, cut from power and switched on again.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use warppool_firmware::{Boot, Files, Firmware, Load, Medium, Outcome, boot};

use crate::console::{Console, Line};
use crate::control::Control;
use crate::error::{Error, at};
use crate::qemu::{self, Start};
use crate::setup::Setup;
use crate::{image, mailbox, network, tree};

/// QEMU connects its sockets in well under a second; a busy host may need longer.
const START: Duration = Duration::from_secs(30);

/// How a boot ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest reset the machine: a reboot, or a panic.
    Reset,
    /// The watchdog did.
    Watchdog,
    /// The guest switched the machine off.
    PowerOff,
    /// QEMU is gone without saying why.
    Lost,
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Reset => "reset",
            Self::Watchdog => "reset by the watchdog",
            Self::PowerOff => "switched off",
            Self::Lost => "QEMU is gone",
        })
    }
}

/// A machine with its disk and its loader. It ends when dropped.
#[derive(Debug)]
pub struct Machine {
    setup: Setup,
    firmware: Arc<Mutex<Firmware>>,
    console: Console,
    disk: PathBuf,
    tree: Vec<u8>,
    /// Host ports by guest port, kept over boots so that clients outside find the guest again.
    ports: BTreeMap<u16, u16>,
    boots: u32,
    running: Option<Running>,
    folder: TempDir,
}

/// One QEMU.
#[derive(Debug)]
struct Running {
    child: Child,
    keyboard: ChildStdin,
    control: Control,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Machine {
    /// Makes the machine; it is off.
    pub fn new(setup: Setup, firmware: Firmware) -> Result<Self, Error> {
        let folder =
            tempfile::Builder::new().prefix("machine-").tempdir().map_err(at("making", &std::env::temp_dir()))?;
        let disk = if setup.copy { folder.path().join("disk") } else { setup.disk.clone() };
        if setup.copy {
            image::copy(&setup.disk, &disk)?;
        }
        image::grow(&disk, setup.least, firmware.medium == Medium::SdCard)?;
        let tree = tree::dump(folder.path(), setup.cpus, setup.memory)?;
        Ok(Self {
            setup,
            firmware: Arc::new(Mutex::new(firmware)),
            console: Console::default(),
            disk,
            tree,
            ports: BTreeMap::new(),
            boots: 0,
            running: None,
            folder,
        })
    }

    /// Boots what the loader finds on the disk: after [`End::Reset`] as a warm start, after a power cut as a cold one.
    /// Gives what the loader chose (without the files' bytes).
    pub fn power_on(&mut self) -> Result<Boot, Error> {
        self.running = None;
        let mut chosen = self.load()?;
        let files = chosen.files.take().unwrap_or(Files { kernel: vec![], initramfs: vec![] });
        self.write(qemu::KERNEL, &files.kernel)?;
        self.write(qemu::INITRAMFS, &files.initramfs)?;
        self.write(qemu::TREE, &tree::with_bootloader(&self.tree, &chosen.chosen)?)?;

        self.boots += 1;
        self.console.begin();
        let host_ports: Vec<u16> =
            self.setup.ports.iter().map(|port| self.ports.get(port).copied().unwrap_or(0)).collect();
        let cmdline = std::iter::once(&chosen.cmdline).chain(&self.setup.arguments);
        let cmdline = cmdline.map(String::as_str).collect::<Vec<_>>().join(" ");
        let start = Start {
            folder: self.folder.path(),
            disk: &self.disk,
            medium: self.firmware().medium,
            cmdline: &cmdline,
            initramfs: !files.initramfs.is_empty(),
            record: self.record()?,
            host_ports: &host_ports,
        };
        let mut running = self.start(&start)?;
        if !self.setup.ports.is_empty() && self.setup.network {
            self.ports = network::forwards(&running.control.monitor("info usernet")?);
        }
        self.running = Some(running);
        Ok(chosen)
    }

    fn load(&self) -> Result<Boot, Error> {
        let disk = std::fs::File::open(&self.disk).map_err(at("opening", &self.disk))?;
        match boot(&disk, &mut self.firmware(), Load::Whole) {
            Outcome::Started(boot) => Ok(*boot),
            Outcome::Stuck(why) => Err(why.into()),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).map_err(at("writing", &path))
    }

    /// An empty log of writes for this boot.
    fn record(&self) -> Result<Option<PathBuf>, Error> {
        let Some(base) = &self.setup.record else { return Ok(None) };
        let mut name = base.clone().into_os_string();
        name.push(format!(".{}", self.boots));
        let path = PathBuf::from(name);
        std::fs::File::create(&path).map_err(at("making", &path))?;
        Ok(Some(path))
    }

    fn start(&self, start: &Start) -> Result<Running, Error> {
        let control = self.listen(qemu::CONTROL)?;
        let port = self.listen(qemu::MAILBOX)?;
        let complaints = self.folder.path().join("complaints");
        let errors = std::fs::File::create(&complaints).map_err(at("making", &complaints))?;
        let mut child = Command::new(qemu::PROGRAM)
            .args(qemu::arguments(&self.setup, start))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|why| Error::NoQemu { program: qemu::PROGRAM, why })?;
        if let Some(output) = child.stdout.take() {
            self.console.follow(output, self.setup.echo);
        }
        let connected = accept(&control, &mut child).and_then(|control| Ok((control, accept(&port, &mut child)?)));
        let (Some(keyboard), Ok((control, port))) = (child.stdin.take(), connected) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::QemuEnded(std::fs::read_to_string(&complaints).unwrap_or_default()));
        };
        mailbox::serve(port, self.firmware.clone());
        // Made before the greeting, so that the process ends whatever the greeting brings.
        let control = Control::new(control, self.console.clone());
        match control {
            Ok(control) => Ok(Running { child, keyboard, control }),
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(why)
            }
        }
    }

    fn listen(&self, name: &str) -> Result<UnixListener, Error> {
        let path = self.folder.path().join(name);
        // Left by the boot before.
        let _ = std::fs::remove_file(&path);
        UnixListener::bind(&path).map_err(at("listening at", &path))
    }

    /// The power is cut: QEMU is killed, the loader's registers are lost, the disk keeps what QEMU has written.
    pub fn cut_power(&mut self) {
        self.running = None;
        self.firmware().lose_power();
    }

    /// The reset line is pulled: QEMU is killed, the registers stay. [`Machine::power_on`] goes on.
    pub fn reset(&mut self) {
        self.running = None;
    }

    /// Presses the power key.
    pub fn press_power(&mut self) -> Result<(), Error> {
        self.control()?.command("system_powerdown", &json!({})).map(drop)
    }

    /// Pauses or resumes the guest's processors, as if time stood still for it.
    pub fn pause(&mut self, pause: bool) -> Result<(), Error> {
        self.control()?.command(if pause { "stop" } else { "cont" }, &json!({})).map(drop)
    }

    /// Types a line on the console.
    pub fn type_line(&mut self, text: &str) -> Result<(), Error> {
        let keyboard = &mut self.running.as_mut().ok_or(Error::Off)?.keyboard;
        writeln!(keyboard, "{text}").and_then(|()| keyboard.flush()).map_err(|why| Error::QemuEnded(why.to_string()))
    }

    /// Waits until this boot ends. When the guest switched off, the registers are lost.
    pub fn wait_end(&mut self, within: Duration) -> Result<End, Error> {
        let end = self.console.wait_end(within)?;
        match end {
            End::PowerOff => self.cut_power(),
            _ => self.running = None,
        }
        Ok(end)
    }

    /// Waits for a console line that contains `text`, and boots again after each reset, `resets` times at most.
    pub fn wait_over_resets(&mut self, text: &str, resets: u32, within: Duration) -> Result<Line, Error> {
        let deadline = Instant::now() + within;
        for left in (0..=resets).rev() {
            match self.console.wait_for(text, deadline.saturating_duration_since(Instant::now())) {
                Err(Error::Ended { .. }) if left > 0 && self.ended_by_reset() => {
                    self.power_on()?;
                }
                other => return other,
            }
        }
        Err(Error::Off)
    }

    fn ended_by_reset(&self) -> bool {
        matches!(self.console.wait_end(Duration::ZERO), Ok(End::Reset | End::Watchdog))
    }

    /// Where a port of the guest is reached from here.
    pub fn address(&self, guest_port: u16) -> Result<SocketAddr, Error> {
        self.ports.get(&guest_port).copied().map(network::local).ok_or(Error::NoPort(guest_port))
    }

    /// Sends `request` to a port of the guest until an answer comes, and gives its first bytes.
    pub fn ask(&self, guest_port: u16, request: &[u8], within: Duration) -> Result<Vec<u8>, Error> {
        network::wait(self.address(guest_port)?, request, within, || self.console.tail(40))
    }

    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The loader, to look at or to arm from outside.
    pub fn firmware(&self) -> MutexGuard<'_, Firmware> {
        self.firmware.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk image this machine works on. Look at it only while the machine is off.
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// QEMU's process, while the machine is on.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    fn control(&mut self) -> Result<&mut Control, Error> {
        self.running.as_mut().map(|running| &mut running.control).ok_or(Error::Off)
    }
}

/// Waits for QEMU to connect; fails when it ends instead.
fn accept(listener: &UnixListener, child: &mut Child) -> std::io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + START;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => {}
            Err(why) => return Err(why),
        }
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            return Err(ErrorKind::NotConnected.into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
