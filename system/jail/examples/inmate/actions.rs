//! What an inmate can be told to try.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use warppool_jail::{Access, Otherwise, Rules};

pub fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().unwrap_or_default();
    let (role, action, what) = (argument(), argument(), argument());
    let report = match rules(&role).map(|rules| warppool_jail::enter(&rules)) {
        None => "free".to_owned(),
        Some(Ok(report)) => report.to_string(),
        Some(Err(why)) => {
            eprintln!("inmate: {why}");
            return ExitCode::from(2);
        }
    };
    match act(&role, &action, &what, &report) {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{}", why.raw_os_error().unwrap_or(-1));
            eprintln!("inmate: {action} {what}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// `None` for an inmate that stays free.
fn rules(role: &str) -> Option<Rules> {
    let folder = |name| PathBuf::from(std::env::var_os(name).unwrap_or_default());
    let rules = match role {
        "free" => return None,
        "pool" => with_loader(warppool_jail::pool_rules(&folder("INMATE_DATA"), &folder("INMATE_RUN"))),
        "handover" => warppool_jail::handover_rules(),
        "ota-verify" => warppool_jail::ota_verify_rules(),
        "ota-worker" => warppool_jail::ota_worker_rules(&folder("INMATE_DATA")),
        "ota-check" => warppool_jail::ota_check_rules(),
        "clock" => warppool_jail::clock_rules(),
        "mdns" => warppool_jail::mdns_rules(),
        other => panic!("there is no role {other:?}"),
    };
    Some(if std::env::var_os("INMATE_STRICT").is_some() { rules.otherwise(Otherwise::Kill) } else { rules })
}

/// The appliance's program is static; this one is started by the C library's loader, which counts as executed too.
fn with_loader(rules: Rules) -> Rules {
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let here = loaders.iter().filter(|loader| Path::new(loader).exists());
    here.fold(rules, |rules, loader| rules.path(loader, Access::Execute))
}

fn act(role: &str, action: &str, what: &str, report: &str) -> io::Result<String> {
    let path = Path::new(what);
    match action {
        "report" => Ok(report.to_owned()),
        "read" => {
            let mut byte = [0];
            File::open(path)?.read(&mut byte).map(|count| count.to_string())
        }
        "text" => fs::read_to_string(path),
        "list" => fs::read_dir(path).map(|entries| entries.count().to_string()),
        "write" => fs::write(path, "here").map(|()| String::new()),
        "append" => OpenOptions::new().append(true).open(path).map(|_| String::new()),
        "store" => store(path).map(|()| String::new()),
        "truncate" => OpenOptions::new().write(true).truncate(true).open(path).map(|_| String::new()),
        "remove" => fs::remove_file(path).map(|()| String::new()),
        "call" => call(what),
        "socket" => socket(what),
        "bind" => TcpListener::bind(what).map(|_| String::new()),
        "connect" => TcpStream::connect(what).map(|_| String::new()),
        "udp" => udp().map(|()| String::new()),
        "interfaces" => Ok(nix::ifaddrs::getifaddrs()?.count().to_string()),
        "resolve" => Ok((what, 80).to_socket_addrs()?.count().to_string()),
        "knock" => UnixStream::connect(path).map(|_| String::new()),
        "tcp" => tcp().map(|()| String::new()),
        "threads" => Ok(threads().to_string()),
        "tokio" => tokio_works(),
        "lmdb" => lmdb(path),
        "exec" => Err(Command::new(what).exec()),
        "anew" => Err(Command::new(std::env::current_exe()?).args([role, "text", what]).exec()),
        "anew-without-entering" => Err(Command::new(std::env::current_exe()?).args(["free", "text", what]).exec()),
        "child" => child(role, what),
        "kill" => call(&format!("kill {what} 0")),
        "abort" => std::process::abort(),
        "accept" => accept(what),
        "accept-anew" => accept_anew(role, what),
        "positioned" => positioned(what),
        "environment" => Ok(std::env::vars().map(|(name, value)| name + "=" + &value).collect::<Vec<_>>().join(" ")),
        other => panic!("there is no action {other:?}"),
    }
}

/// A system call by name or number, with up to six numbers as its arguments.
#[allow(unsafe_code)]
fn call(line: &str) -> io::Result<String> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let number = match name {
        "kill" => libc::SYS_kill,
        number => number.parse().expect("a system call's number"),
    };
    let mut given = [0; 6];
    for (place, word) in given.iter_mut().zip(words) {
        *place = word.parse::<libc::c_long>().expect("a number");
    }
    // SAFETY: the tests pass numbers and null pointers only; what the kernel would write to is its own refusal.
    let done = unsafe { libc::syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done.to_string()) }
}

/// `FAMILY KIND PROTOCOL` in numbers.
fn socket(what: &str) -> io::Result<String> {
    call(&format!("{} {what}", libc::SYS_socket))
}

/// The life of a file that must outlive a power cut.
fn store(folder: &Path) -> io::Result<()> {
    let (new, old) = (folder.join("state.new"), folder.join("state"));
    fs::create_dir_all(folder.join("deep/er"))?;
    let mut file = File::create(&new)?;
    file.write_all(b"state")?;
    file.sync_all()?;
    file.set_len(3)?;
    file.lock()?;
    fs::rename(&new, &old)?;
    File::open(folder)?.sync_all()?;
    fs::rename(&old, folder.join("deep/er/state"))?;
    fs::copy(folder.join("deep/er/state"), &old)?;
    fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    fs::remove_dir_all(folder.join("deep"))
}

fn tcp() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(5))?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    near.set_read_timeout(Some(Duration::from_secs(5)))?;
    far.write_all(b"share")?;
    let mut got = [0; 5];
    near.read_exact(&mut got)?;
    assert_eq!(&got, b"share");
    Ok(())
}

fn udp() -> io::Result<()> {
    let (near, far) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    near.set_read_timeout(Some(Duration::from_secs(5)))?;
    near.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::LOCALHOST)?;
    far.send_to(b"time", near.local_addr()?)?;
    near.recv_from(&mut [0; 8]).map(drop)
}

fn threads() -> usize {
    let all: Vec<_> =
        (0..8).map(|_| std::thread::Builder::new().name("worker".into()).spawn(std::thread::yield_now)).collect();
    all.into_iter().flatten().count()
}

/// The runtime as the pool has it: timers, sockets, signals, blocking work, files and child processes.
fn tokio_works() -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    runtime.block_on(async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let far = tokio::spawn(async move {
            let (mut far, _) = listener.accept().await?;
            far.write_all(b"job").await
        });
        let mut got = Vec::new();
        tokio::net::TcpStream::connect(address).await?.read_to_end(&mut got).await?;
        far.await.map_err(io::Error::other)??;
        call(&format!("kill {} {}", std::process::id(), libc::SIGHUP))?;
        tokio::time::timeout(Duration::from_secs(5), hangup.recv()).await?;
        let status = tokio::fs::read_to_string("/proc/self/status").await?;
        let child = tokio::process::Command::new(std::env::current_exe()?).args(["free", "report"]).output().await?;
        assert!(status.contains("Threads:") && child.status.success());
        Ok(String::from_utf8_lossy(&got).into_owned())
    })
}

/// A ledger's life: made, written, read by another thread, opened again.
fn lmdb(folder: &Path) -> io::Result<String> {
    let at = folder.join("ledger");
    fs::create_dir_all(&at)?;
    for _ in 0..2 {
        fill_and_count(&at, &folder.join("copy")).map_err(io::Error::other)?;
    }
    Ok("2000".into())
}

fn fill_and_count(at: &Path, copy: &Path) -> heed::Result<()> {
    let environment = open(at)?;
    let made = environment.create_databases_and_commit(environment.write_txn()?, |opener, write| {
        let made = opener.database_options().types::<heed::types::Str, heed::types::Bytes>().create(write)?;
        heed::Result::Ok(heed::CommitOrAbort::<_, ()>::Commit(made))
    })?;
    let table = made.unwrap_commit();
    let mut write = environment.write_txn()?;
    for number in 0..2000 {
        table.put(&mut write, &format!("key {number}"), &[7; 500])?;
    }
    write.commit()?;
    let count = std::thread::scope(|scope| {
        scope.spawn(|| environment.read_txn().and_then(|read| table.len(&read))).join().expect("the reader lives")
    })?;
    assert_eq!(count, 2000);
    environment.copy_to_path(copy, heed::CompactionOption::Enabled)?;
    fs::remove_file(copy)?;
    environment.prepare_for_closing().wait();
    Ok(())
}

#[allow(unsafe_code)]
fn open(at: &Path) -> heed::Result<heed::Env> {
    // SAFETY: no other process touches the map.
    unsafe { heed::EnvOpenOptions::new().map_size(1 << 34).open(at) }
}

/// Itself as a child, as the pool starts the ledger's checker; the child enters again.
fn child(role: &str, what: &str) -> io::Result<String> {
    let output = Command::new(std::env::current_exe()?).args([role, "text", what]).output()?;
    if let Some(signal) = output.status.signal() {
        return Err(io::Error::other(format!("the child died of signal {signal}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Greets one caller on a passed socket, and names all that were passed.
fn accept(name: &str) -> io::Result<String> {
    let sockets = warppool_jail::sockets().map_err(io::Error::other)?;
    let again = warppool_jail::sockets().expect_err("the sockets are taken").to_string();
    let names: Vec<_> = sockets.keys().cloned().collect();
    if let Some(listener) = sockets.get(name) {
        listener.accept()?.0.write_all(names.join(" ").as_bytes())?;
    }
    Ok(again)
}

/// Takes the sockets, then starts itself anew with them, as after a memory fault.
fn accept_anew(role: &str, name: &str) -> io::Result<String> {
    let sockets = warppool_jail::sockets().map_err(io::Error::other)?;
    warppool_jail::hand_on();
    let failed = Command::new(std::env::current_exe()?).args([role, "accept", name]).exec();
    drop(sockets);
    Err(failed)
}

/// Reads and writes at a place of a passed file.
fn positioned(name: &str) -> io::Result<String> {
    let mut files = warppool_jail::files().map_err(io::Error::other)?;
    let file = File::from(files.remove(name).ok_or(io::ErrorKind::NotFound)?);
    let mut got = [0; 4];
    file.read_exact_at(&mut got, 512)?;
    file.write_all_at(b"seen", 1024)?;
    file.sync_all()?;
    Ok(String::from_utf8_lossy(&got).into_owned())
}
