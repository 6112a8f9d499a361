//! Kernel and root: Debian's kernel with the modules a `virt` machine needs, `BusyBox`, and one script.

use std::collections::BTreeMap;
use std::path::Path;

const MODULES: &[&str] =
    &["virtio_pci", "virtio_console", "virtio_net", "nvme", "i6300esb", "sdhci-pci", "gpio_keys", "evdev"];

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /usr/bin
/bin/busybox --install -s /usr/bin
export PATH=/usr/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
exec </dev/console >/dev/console 2>&1
for module in $(cat /modules/order); do insmod /modules/$module || echo "no $module"; done
hex() { od -An -v -tx1 | tr -d ' \n'; }
chosen() {
    cd /proc/device-tree/chosen/bootloader
    echo "chosen: $(for name in boot-mode partition tryboot count; do printf '%s=%s ' $name "$(hex <$name)"; done)"
}
arm() {
    for port in /sys/class/virtio-ports/*; do
        [ "$(cat $port/name)" = org.warppool.firmware ] && device=/dev/${port##*/}
    done
    exec 3<>$device
    printf '\034\0\0\0\0\0\0\0\144\200\003\0\004\0\0\0\0\0\0\0\001\0\0\0\0\0\0\0' >&3
    echo "arm: $(dd bs=28 count=1 <&3 2>/dev/null | od -An -v -tx1 | tr -d '\n' | sed 's/ \(..\) \(..\) \(..\) \(..\)/\1\2\3\4 /g')"
    exec 3>&-
}
serve() {
    ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
    mkdir -p /www; echo warppool >/www/name; httpd -p 80 -h /www && echo "serve: listening"
}
panic() { echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; }
key() { echo "key: waiting"; dd if=/dev/input/event0 bs=24 count=1 >/dev/null 2>&1; poweroff -f; }
boot_disk() { for disk in /sys/block/nvme*; do [ "$(cat $disk/size)" = 614400 ] && echo /dev/${disk##*/}; done; }
mark() { tr '\0' m </dev/zero | dd of=$(boot_disk) bs=512 count=8 seek=1000 conv=fsync 2>/dev/null; echo "mark: written"; }
sizes() { echo "sizes: $(ls -d /sys/block/nvme* | wc -l) disks$(cat /sys/block/nvme*/size | sort -rn | sed 's/^/, one of /' | tr '\n' ' ' | sed 's/ ,/ sectors,/g')"; }
echo "init: ready $(cat /proc/cmdline)"
while read -r line; do eval "$line"; echo "init: done"; done
"#;

/// The files of a slot.
pub fn parts(kernel: &Path, busybox: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let boot = kernel.join("boot");
    let image = std::fs::read_dir(&boot).unwrap().map(|entry| entry.unwrap().path());
    let image = image.into_iter().find(|path| path.to_string_lossy().contains("vmlinuz")).expect("a kernel in boot/");
    let modules = all_modules(&kernel.join("lib/modules"));

    let mut base = Cpio::default();
    base.folder("bin").folder("modules").folder("dev").node("dev/console", 5, 1);
    base.file("bin/busybox", 0o755, &std::fs::read(busybox).unwrap()).file("init", 0o755, INIT.as_bytes());
    let mut more = Cpio::default();
    let mut order = Vec::new();
    for name in MODULES {
        add(name, &modules, &mut order, &mut more);
    }
    more.file("modules/order", 0o644, order.join("\n").as_bytes());
    vec![("kernel.img", std::fs::read(image).unwrap()), ("base.cpio", base.end()), ("more.cpio", more.end())]
}

/// Every module by its name, with dashes as underscores.
fn all_modules(folder: &Path) -> BTreeMap<String, std::path::PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ko") {
                found.insert(path.file_stem().unwrap().to_string_lossy().replace('-', "_"), path);
            }
        }
    }
    found
}

/// Adds a module behind those it depends on, which it names in a string of its own.
fn add(name: &str, modules: &BTreeMap<String, std::path::PathBuf>, order: &mut Vec<String>, cpio: &mut Cpio) {
    let name = name.replace('-', "_");
    if order.contains(&name) {
        return;
    }
    let Some(path) = modules.get(&name) else { return };
    let bytes = std::fs::read(path).unwrap();
    let depends = bytes.split(|byte| *byte == 0).find_map(|text| text.strip_prefix(b"depends="));
    for needed in String::from_utf8_lossy(depends.unwrap_or_default()).split(',').filter(|needed| !needed.is_empty()) {
        add(needed, modules, order, cpio);
    }
    cpio.file(&format!("modules/{name}"), 0o644, &bytes);
    order.push(name);
}

/// An archive in cpio's "newc" format, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst has it.
#[derive(Default)]
struct Cpio(Vec<u8>);

impl Cpio {
    fn folder(&mut self, name: &str) -> &mut Self {
        self.entry(name, 0o040_755, &[], (0, 0))
    }

    fn node(&mut self, name: &str, major: u32, minor: u32) -> &mut Self {
        self.entry(name, 0o020_600, &[], (major, minor))
    }

    fn file(&mut self, name: &str, mode: u32, bytes: &[u8]) -> &mut Self {
        self.entry(name, 0o100_000 | mode, bytes, (0, 0))
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8], device: (u32, u32)) -> &mut Self {
        let name_length = name.len() as u32 + 1;
        let fields = [0, mode, 0, 0, 1, 0, bytes.len() as u32, 0, 0, device.0, device.1, name_length, 0];
        self.0.extend(b"070701");
        for field in fields {
            self.0.extend(format!("{field:08x}").bytes());
        }
        self.0.extend(name.bytes().chain([0]));
        self.pad();
        self.0.extend(bytes);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.0
    }
}
