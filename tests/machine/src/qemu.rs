//! QEMU's command line.
//!
//! The disk's flushes are not passed on to the host's disk (`cache.no-flush`): what QEMU has written lies in the host's page
//! cache, which outlives a killed QEMU. So a kill loses nothing that was written, flushed or not, and tests do not wait for the
//! host's disk. Losing what was not flushed is the replay's task, not this machine's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use warppool_firmware::Medium;

use crate::mailbox::PORT;
use crate::setup::{Attached, Bus, Setup};

pub(crate) const PROGRAM: &str = "qemu-system-aarch64";

/// What one boot needs besides the setup.
pub(crate) struct Start<'a> {
    pub folder: &'a Path,
    pub disk: &'a Path,
    pub medium: Medium,
    pub cmdline: &'a str,
    pub initramfs: bool,
    /// Log of writes, if one is wanted.
    pub record: Option<PathBuf>,
    /// Ports of the host, in the order of the setup's ports; 0 takes a free one.
    pub host_ports: &'a [u16],
}

/// The files of a start, in the machine's folder.
pub(crate) const KERNEL: &str = "kernel";
pub(crate) const INITRAMFS: &str = "initramfs";
pub(crate) const TREE: &str = "tree.dtb";
pub(crate) const CONTROL: &str = "control";
pub(crate) const MAILBOX: &str = "mailbox";

pub(crate) fn arguments(setup: &Setup, start: &Start) -> Vec<OsString> {
    let path = |name: &str| start.folder.join(name).display().to_string();
    let mut line = Line::default();
    line.add("-M", "virt");
    line.add("-cpu", "cortex-a72");
    line.add("-smp", setup.cpus.to_string());
    line.add("-m", setup.memory.to_string());
    line.add("-accel", "tcg,thread=multi");
    line.add("-display", "none");
    for flag in ["-nodefaults", "-no-user-config"] {
        line.0.push(flag.into());
    }
    // A reset ends the boot and leaves QEMU paused, so that the event that says so is never lost; we go on from there.
    line.add("-action", "reboot=shutdown,shutdown=pause,watchdog=reset");

    line.add("-kernel", path(KERNEL));
    line.add("-dtb", path(TREE));
    line.add("-append", start.cmdline);
    if start.initramfs {
        line.add("-initrd", path(INITRAMFS));
    }

    line.add("-chardev", "stdio,id=console,signal=off");
    line.add("-serial", "chardev:console");
    line.add("-chardev", format!("socket,id=control,path={}", path(CONTROL)));
    line.add("-mon", "chardev=control,mode=control");
    line.add("-chardev", format!("socket,id=mailbox,path={}", path(MAILBOX)));
    line.add("-device", "virtio-serial-pci");
    line.add("-device", format!("virtserialport,chardev=mailbox,name={PORT}"));

    line.add("-device", "virtio-rng-pci");
    line.add("-device", "i6300esb");

    for (index, attached) in setup.attached.iter().enumerate().filter(|(_, attached)| attached.first) {
        line.attach(index, attached);
    }
    line.boot_disk(start);
    for (index, attached) in setup.attached.iter().enumerate().filter(|(_, attached)| !attached.first) {
        line.attach(index, attached);
    }

    if setup.network {
        let guest = setup.guest.map(|address| address.to_string()).unwrap_or_default();
        let forwards = setup.ports.iter().zip(start.host_ports);
        let forwards = forwards.map(|(port, host)| format!(",hostfwd=tcp:127.0.0.1:{host}-{guest}:{port}"));
        line.add("-netdev", format!("user,id=net{}", forwards.collect::<String>()));
        line.add("-device", "virtio-net-pci,netdev=net,romfile=");
    }
    line.0
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn file(&mut self, node: &str, path: &Path) {
        let path = path.display();
        let options = "cache.no-flush=on,discard=unmap";
        self.add("-blockdev", format!("driver=file,node-name={node}-file,filename={path},{options}"));
    }

    fn boot_disk(&mut self, start: &Start) {
        self.file("boot", start.disk);
        let below = match &start.record {
            Some(log) => {
                self.file("log", log);
                self.add(
                    "-blockdev",
                    "driver=blklogwrites,node-name=boot-logged,file=boot-file,log=log-file,log-sector-size=512",
                );
                "boot-logged"
            }
            None => "boot-file",
        };
        self.add("-blockdev", format!("driver=raw,node-name=boot,file={below},discard=unmap"));
        match start.medium {
            Medium::Nvme => self.add("-device", "nvme,drive=boot,serial=boot"),
            Medium::SdCard => {
                self.add("-device", "sdhci-pci");
                self.add("-device", "sd-card,drive=boot");
            }
        }
    }

    fn attach(&mut self, index: usize, attached: &Attached) {
        let node = format!("extra{index}");
        self.file(&node, &attached.disk);
        self.add("-blockdev", format!("driver=raw,node-name={node},file={node}-file,discard=unmap"));
        match attached.bus {
            Bus::Nvme => self.add("-device", format!("nvme,drive={node},serial={node}")),
            Bus::Usb => {
                self.add("-device", format!("qemu-xhci,id=usb{index}"));
                self.add("-device", format!("usb-storage,bus=usb{index}.0,drive={node}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(setup: &Setup, medium: Medium, record: Option<PathBuf>) -> String {
        let start = Start {
            folder: Path::new("/f"),
            disk: Path::new("/d"),
            medium,
            cmdline: "quiet",
            initramfs: true,
            record,
            host_ports: &[0, 4444],
        };
        let words: Vec<_> = arguments(setup, &start).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn the_boot_disk_is_nvme_or_a_card_and_may_be_logged() {
        let setup = Setup::new("/d");
        assert!(line(&setup, Medium::Nvme, None).contains("-device nvme,drive=boot"));
        assert!(line(&setup, Medium::SdCard, None).contains("-device sdhci-pci -device sd-card,drive=boot"));
        assert!(line(&setup, Medium::Nvme, Some("/log".into())).contains("file=boot-logged"));
    }

    #[test]
    fn forwards_go_to_the_guest_s_address() {
        let setup = Setup::new("/d").forward(80).forward(3333).guest_address([10, 0, 2, 77].into());
        let words = line(&setup, Medium::Nvme, None);
        assert!(
            words.contains("hostfwd=tcp:127.0.0.1:0-10.0.2.77:80,hostfwd=tcp:127.0.0.1:4444-10.0.2.77:3333"),
            "{words}"
        );
        assert!(!line(&setup.without_network(), Medium::Nvme, None).contains("netdev"));
    }

    #[test]
    fn a_disk_attached_first_stands_before_the_boot_disk() {
        for first in [true, false] {
            let attached = Attached { disk: "/e".into(), bus: Bus::Nvme, first };
            let words = line(&Setup::new("/d").attach(attached), Medium::Nvme, None);
            assert_eq!(words.find("drive=extra0") < words.find("drive=boot"), first);
        }
    }
}
