//! Partitions made by mkfs.vfat and filled by mtools.

#![allow(dead_code)]

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use warppool_handover::{Finish, HandOver, Report, Standing};

pub const SETTINGS: &str = "# my device, password is correct horse battery\n[device]\nhostname = \"pool-2\"\n\
    [wifi]\nssid = \"Home\"\npassword = \"correct horse battery\"\ncountry = \"DE\"\n\
    [node]\nurl = \"http://192.168.1.10:8332\"\nuser = \"warppool\"\npassword = \"staple-4711\"\n\
    # So that it takes more than one sector and one cluster:\n\
    # ................................................................................................................\n\
    # ................................................................................................................\n";

/// What must not be found afterwards.
pub const SECRETS: [&str; 3] = ["correct horse battery", "staple-4711", "horse, older"];

/// The kinds of FAT there are, with sizes and cluster sizes that computers choose.
pub const FORMATS: [(&str, u64, &[&str]); 4] = [
    ("FAT16 as shipped", 32, &["-F", "16", "-s", "4"]),
    ("FAT12", 4, &["-F", "12"]),
    ("FAT16 with one sector a cluster", 16, &["-F", "16", "-s", "1"]),
    ("FAT32", 40, &["-F", "32", "-s", "1"]),
];

/// The same kinds as small as they can be, for tests that look at many of them.
pub const SMALL: [(&str, u64, &[&str]); 4] = [
    ("FAT16 as shipped", 9, &["-F", "16", "-s", "4"]),
    ("FAT12", 1, &["-F", "12", "-s", "2"]),
    ("FAT16 with one sector a cluster", 3, &["-F", "16", "-s", "1"]),
    ("FAT32", 34, &["-F", "32", "-s", "1"]),
];

/// An earlier version of the file, so long that its end is not overwritten by the new one.
pub fn older() -> String {
    format!("{}{}", "#\n".repeat(10_000), SETTINGS.replace("horse", "horse, older"))
}

/// What PID 1 orders after it has stored the settings.
pub fn order(settings: Box<HandOver>) -> Finish {
    let name = format!("{}.local", settings.hostname.clone().unwrap_or_default());
    let report = Report { version: "1.2.3".into(), name, addresses: Vec::new(), standing: Standing::Taken(settings) };
    Finish { report: Some(report), erase_settings: true, ..Finish::default() }
}

pub struct Partition {
    pub disk: Cursor<Vec<u8>>,
}

impl Partition {
    pub fn usual() -> Option<Self> {
        let (_, size, options) = FORMATS[0];
        Self::new(size, options)
    }

    /// Size in MiB. `None`, and a word about it, where the tools are missing.
    pub fn new(size: u64, options: &[&str]) -> Option<Self> {
        if Command::new("mkfs.vfat").arg("--help").output().is_err()
            || Command::new("mcopy").arg("-V").output().is_err()
        {
            println!("NOT RUN: mkfs.vfat (dosfstools) or mcopy (mtools) is missing");
            return None;
        }
        let partition = Self { disk: Cursor::new(vec![0; (size << 20) as usize]) };
        Some(partition.with_file(|path| {
            run(Command::new("mkfs.vfat").args(["-n", "WARPPOOL"]).args(options).arg(path), &[]);
        }))
    }

    /// Lends the content to a tool as a file.
    fn with_file(self, work: impl FnOnce(&str)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path: PathBuf = folder.path().join("partition");
        std::fs::write(&path, self.disk.get_ref()).expect("written");
        work(path.to_str().expect("is text"));
        Self { disk: Cursor::new(std::fs::read(&path).expect("is there")) }
    }

    fn tool(&mut self, work: impl FnOnce(&str)) {
        let taken = Self { disk: std::mem::take(&mut self.disk) };
        *self = taken.with_file(work);
    }

    pub fn put(&mut self, name: &str, content: &[u8]) {
        self.tool(|path| {
            drop(run(Command::new("mcopy").args(["-o", "-i", path, "-"]).arg(format!("::{name}")), content));
        });
    }

    pub fn delete(&mut self, name: &str) {
        self.tool(|path| drop(run(Command::new("mdel").args(["-i", path]).arg(format!("::{name}")), &[])));
    }

    pub fn get(&mut self, name: &str) -> String {
        let mut content = Vec::new();
        self.tool(|path| {
            content = run(Command::new("mcopy").args(["-i", path]).arg(format!("::{name}")).arg("-"), &[]);
        });
        String::from_utf8(content).expect("is text")
    }

    pub fn list(&mut self) -> String {
        let mut names = Vec::new();
        self.tool(|path| names = run(Command::new("mdir").args(["-b", "-i", path]), &[]));
        String::from_utf8(names).expect("is text")
    }

    /// Leaves no free cluster.
    pub fn fill(&mut self) {
        let rest = fatfs::FileSystem::new(&mut self.disk, fatfs::FsOptions::new())
            .and_then(|system| system.stats())
            .map(|stats| u64::from(stats.free_clusters()) * u64::from(stats.cluster_size()))
            .expect("can be counted");
        self.disk.set_position(0);
        self.put("filler.bin", &vec![1; rest as usize]);
    }

    /// The file system checker has nothing to complain about.
    pub fn check(&mut self) {
        self.tool(|path| drop(run(Command::new("fsck.vfat").args(["-n", path]), &[])));
    }

    pub fn holds(&self, text: &str) -> bool {
        holds(self.disk.get_ref(), text)
    }
}

pub fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[track_caller]
fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("is piped").write_all(input).expect("is read");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
