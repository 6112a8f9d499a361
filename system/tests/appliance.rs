//! PID 1 for real, in namespaces of its own: it boots, supervises, survives its own panic, and goes down in order.
//!
//! Needs root for the user map. There is no disk there, so that the data lies in memory; disks, drivers, watchdog and updates are
//! for the virtual machine.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(1);

/// A running appliance. Dropped, it is gone with all its children.
struct Appliance {
    namespace: Child,
    root: tempfile::TempDir,
    said: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Appliance {
    /// `None`, and said so, where it cannot be run.
    fn start() -> Option<Self> {
        if fs::metadata("/proc/self").map(|about| std::os::unix::fs::MetadataExt::uid(&about)).ok() != Some(0) {
            println!("NOT RUN: only root can map users into a namespace");
            return None;
        }
        let program = program();
        let root = tempfile::tempdir().expect("a folder");
        fill(root.path(), &program);
        let mut namespace = Command::new(&program)
            .args(["namespace", root.path().to_str().expect("a plain path")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let said = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        listen(namespace.stdout.take().expect("piped"), said.clone());
        listen(namespace.stderr.take().expect("piped"), said.clone());
        let mut appliance = Self { namespace, root, said };
        appliance.wait_for("unshared");
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{map}", appliance.namespace.id());
            if let Err(why) = fs::write(path, "0 0 65536") {
                println!("NOT RUN: users cannot be mapped into a namespace here: {why}");
                return None;
            }
        }
        appliance.namespace.stdin.take().expect("piped").write_all(b"\n").expect("it listens");
        Some(appliance)
    }

    /// Waits until a line with this text has been said, counting from the `after`th line on; the line and its number.
    #[track_caller]
    fn wait_for_after(&self, text: &str, after: usize) -> (String, usize) {
        let (lines, changed) = &*self.said;
        let until = Instant::now() + PATIENCE;
        let mut lines = lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            if let Some((at, line)) = lines.iter().enumerate().skip(after).find(|(_, line)| line.contains(text)) {
                return (line.clone(), at);
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody said {text:?}:\n{}", lines.join("\n"));
            lines = changed.wait_timeout(lines, left).expect("no panic").0;
        }
    }

    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        self.wait_for_after(text, 0).0
    }

    fn count(&self) -> usize {
        self.said.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }

    /// The process that is number 1 inside, as it is numbered outside.
    fn init(&self) -> i32 {
        let children = format!("/proc/{0}/task/{0}/children", self.namespace.id());
        fs::read_to_string(children).expect("children").trim().parse().expect("one child")
    }

    /// A file as it is seen inside.
    fn inside(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{path}", self.init()).into()
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.init().to_string()]).status().expect("kill");
        assert!(done.success());
    }

    /// The process that serves the miners' port.
    fn pool_pid(&self) -> String {
        self.wait_for("pool: healthy");
        // The port is inside the network namespace: ask there.
        let out = Command::new("nsenter")
            .args(["--net", "--target", &self.init().to_string(), "busybox", "nc", "127.0.0.1", "3333"])
            .stdin(Stdio::null())
            .output()
            .expect("nsenter");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // The end of its first process ends the namespace; that of its parent alone does not.
        if let Ok(children) = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.namespace.id())) {
            for child in children.split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", child]).status();
            }
        }
        let _ = self.namespace.kill();
        let _ = self.namespace.wait();
        let _ = &self.root;
    }
}

fn listen(pipe: impl std::io::Read + Send + 'static, said: Arc<(Mutex<Vec<String>>, Condvar)>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            said.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
            said.1.notify_all();
        }
    });
}

/// The example, which cargo builds beside the tests.
fn program() -> PathBuf {
    let deps = std::env::current_exe().expect("this test");
    let folder = deps.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let program = folder.join("examples/appliance");
    assert!(program.exists(), "{} is missing: cargo build -p warppool-system --example appliance", program.display());
    program
}

/// The root of an image, as far as there is one here.
fn fill(root: &Path, program: &Path) {
    for folder in ["dev", "proc", "sys", "run", "tmp", "data", "usr", "etc/alternatives", "etc/warppool/services"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    for (link, to) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        std::os::unix::fs::symlink(to, root.join(link)).expect("a link");
    }
    fs::copy(program, root.join("init")).expect("a copy");
    let write = |path: &str, text: &str| fs::write(root.join("etc").join(path), text).expect("a file");
    write("passwd", "root:x:0:0::/:/bin/sh\npool:x:100:100::/:/bin/false\n");
    write(
        "warppool/release.toml",
        "product = \"warppool\"\nhardware = \"test\"\nversion = \"1.2.3\"\nbuilt = 1700000000\n",
    );
    write(
        "warppool/services/once.toml",
        "command = [\"/bin/busybox\", \"sh\", \"-c\", \"grep SigBlk /proc/self/status; exit 3\"]\nuser = \"pool\"\nrestart = \"never\"\n",
    );
    write("warppool/panel.toml", "led = \"none\"\nbutton = \"none\"\n");
}

#[test]
fn it_boots_without_a_disk_and_says_so_and_goes_down_in_order() {
    let Some(appliance) = Appliance::start() else { return };
    appliance.wait_for("warppool[1]: version 1.2.3 slot ? trial no");
    appliance.wait_for("data: in memory");
    appliance.wait_for("pool: started pid");
    appliance.wait_for("pool: healthy");
    appliance.wait_for("once: ended with code 3");
    // It can be asked to end: what PID 1 holds back for itself, its children do not.
    appliance.wait_for("SigBlk: 0000000000000000");
    let config = fs::read_to_string(appliance.inside("/data/pool/config.toml")).expect("a first configuration");
    assert!(config.contains("data_dir = \"/data/pool\""));

    let ended = appliance.inside("/data/pool/ended");
    appliance.signal("-TERM");
    appliance.wait_for("shutdown: stopping the pool");
    appliance.wait_for("pool: ended with code 0");
    appliance.wait_for("shutdown: restarting");
    appliance.wait_for("namespace: ");
    assert!(!ended.exists(), "the data was in memory");
}

#[test]
fn a_panic_of_its_own_costs_no_child_and_no_connection() {
    let Some(appliance) = Appliance::start() else { return };
    let before = appliance.pool_pid();
    assert!(before.starts_with("pid "), "{before}");
    for round in 0..2 {
        let mark = appliance.count();
        fs::write(appliance.inside("/tmp/panic"), "").expect("a file");
        appliance.wait_for_after("somebody asked for it", mark);
        appliance.wait_for_after("(again, after a panic)", mark);
        appliance.wait_for_after("pool: healthy", mark);
        assert_eq!(appliance.pool_pid(), before, "round {round}");
    }
    // What it does afterwards it does to the adopted child.
    let mark = appliance.count();
    appliance.signal("-TERM");
    appliance.wait_for_after("pool: ended with code 0", mark);
    appliance.wait_for_after("shutdown: restarting", mark);
}

#[test]
fn a_pool_that_dies_at_once_ends_in_safe_mode_and_leaves_it_when_its_configuration_changes() {
    let Some(appliance) = Appliance::start() else { return };
    appliance.wait_for("pool: healthy");
    fs::write(appliance.inside("/data/pool/behaviour"), "crashes").expect("a file");
    let mark = appliance.count();
    let pool = appliance.pool_pid();
    assert!(pool.starts_with("pid "));
    Command::new("nsenter")
        .args(["--pid", "--mount", "--target", &appliance.init().to_string()])
        .args(["/bin/busybox", "kill", "-KILL", pool.trim_start_matches("pid ")])
        .status()
        .expect("nsenter");
    appliance.wait_for_after("was ended by SIGKILL", mark);
    appliance.wait_for_after("was ended by SIGABRT", mark);
    let (_, safe) = appliance.wait_for_after("safe mode", mark);
    appliance.wait_for_after("in safe mode", safe);
    appliance.wait_for_after("pool: healthy", safe);
    let crashes = fs::read_dir(appliance.inside("/data/system/crash")).expect("kept crashes").count();
    assert!(crashes >= 4, "{crashes}");

    fs::write(appliance.inside("/data/pool/behaviour"), "").expect("a file");
    fs::write(appliance.inside("/data/pool/config.toml"), "# better\n").expect("a file");
    let (_, left) = appliance.wait_for_after("leaving safe mode", safe);
    let (line, _) = appliance.wait_for_after("pool: started pid", left);
    assert!(!line.contains("safe mode"), "{line}");
}

#[test]
fn a_pool_that_falls_silent_is_started_anew() {
    let Some(appliance) = Appliance::start() else { return };
    appliance.wait_for("pool: healthy");
    fs::write(appliance.inside("/data/pool/behaviour"), "silent").expect("a file");
    let mark = appliance.count();
    appliance.wait_for_after("pool: has been silent for too long", mark);
    fs::write(appliance.inside("/data/pool/behaviour"), "").expect("a file");
    appliance.wait_for_after("pool: healthy", mark);
}

#[test]
fn an_orphan_is_reaped() {
    let Some(appliance) = Appliance::start() else { return };
    appliance.wait_for("pool: healthy");
    let init = appliance.init().to_string();
    // Its parent ends before it does: the first process inherits it.
    let done = Command::new("nsenter")
        .args(["--pid", "--mount", "--target", &init, "/bin/busybox", "sh", "-c", "(sleep 0.2; exit 7) & exit 0"])
        .status()
        .expect("nsenter");
    assert!(done.success());
    thread::sleep(Duration::from_secs(1));
    let mut states = Vec::new();
    for entry in fs::read_dir(appliance.inside("/proc")).expect("proc").flatten() {
        let mut text = String::new();
        let status = fs::File::open(entry.path().join("status"));
        if status.and_then(|mut file| file.read_to_string(&mut text)).is_ok() && text.contains("State:\tZ") {
            states.push(text.lines().next().unwrap_or_default().to_owned());
        }
    }
    assert!(states.is_empty(), "{states:?}");
}
