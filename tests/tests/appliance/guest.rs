//! An appliance in its machine, with a real Bitcoin Core outside and a miner's hand.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bitcoin::BlockHash;
use warppool_firmware::{Board, Boot, Eeprom, Firmware, Medium};
use warppool_machine::{End, Machine, Setup};
use warppool_ota::Layout;
use warppool_tests::bitcoind::Bitcoind;
use warppool_tests::hand::Hand;
use warppool_tests::wait::until;

use crate::kit::Kit;

/// A boot to a pool that mines takes some ten seconds where nothing else runs.
pub const BOOT: Duration = Duration::from_secs(150);
/// What takes a moment on an idle machine.
pub const MOMENT: Duration = Duration::from_mins(1);
pub const STRATUM: u16 = 3333;
/// Rewards go to this name's address.
const PAYOUT: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
/// The gate's time in tests, seconds.
const GATE: &str = "warppool.gate=5";

/// The appliance, and who is around it.
pub struct Guest {
    pub machine: Machine,
    pub node: Bitcoind,
    /// Blocks the pool has accepted from [`Guest::mine`].
    pub found: Vec<BlockHash>,
    commands: u32,
}

/// A machine as most tests want it: a 2 GiB NVMe disk, the miners' port reached from outside, a shell on the console.
pub fn setup(image: &Path) -> Setup {
    Setup::new(image).on_a_copy().disk_size(2 << 30).forward(STRATUM).argument("warppool.console=shell").argument(GATE)
}

/// A current loader, whose power has just come on.
pub fn firmware(medium: Medium) -> Firmware {
    Firmware::new(Eeprom::current(), Board::Virt, medium)
}

/// Where a boot came from: the partition, and whether as a trial.
pub fn from(boot: &Boot) -> (u32, bool) {
    (boot.partition, boot.chosen.tryboot == 1)
}

/// What an owner writes on the hand-over partition for this node.
pub fn handed_over(node: &Bitcoind) -> String {
    let cookie = std::fs::read_to_string(node.cookie_path()).expect("the node runs");
    let (user, password) = cookie.split_once(':').expect("user:password");
    let url = node.rpc_url().replace("127.0.0.1", "10.0.2.2");
    let zmq = node.zmq_url().replace("127.0.0.1", "10.0.2.2");
    format!(
        "[node]\nurl = \"{url}\"\nuser = \"{user}\"\npassword = \"{password}\"\nzmq = \"{zmq}\"\n\n\
         [mining]\nchain = \"regtest\"\npayout_address = \"{PAYOUT}\"\n"
    )
}

/// Writes a file onto the hand-over partition of a disk that nobody uses, as a computer would.
pub fn put(disk: &Path, name: &str, text: &str) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("there is room");
    let partition = format!("{}@@{}", disk.display(), Layout::default().handover.bytes().start);
    let done = Command::new("mcopy")
        .args(["-o", "-i", &partition])
        .arg(file.path())
        .arg(format!("::{name}"))
        .output()
        .expect("mtools is installed");
    assert!(done.status.success(), "mcopy: {}", String::from_utf8_lossy(&done.stderr));
}

/// Reads a file of the hand-over partition; `None` where there is none.
pub fn get(disk: &Path, name: &str) -> Option<String> {
    let partition = format!("{}@@{}", disk.display(), Layout::default().handover.bytes().start);
    let done = Command::new("mtype").args(["-i", &partition, &format!("::{name}")]).output().expect("mtools");
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

impl Guest {
    /// Switched on for the first time, with its node handed over, and mining.
    pub async fn mining(kit: &Kit) -> Self {
        let mut guest = Self::off(setup(&kit.image())).await;
        guest.hand_over();
        guest.power_on();
        guest.healthy();
        guest
    }

    /// A new disk; not switched on yet.
    pub async fn off(setup: Setup) -> Self {
        let node = Bitcoind::regtest().await;
        let machine = Machine::new(setup, firmware(Medium::Nvme)).expect("the machine is put together");
        Self { machine, node, found: Vec::new(), commands: 0 }
    }

    /// The owner's file for this node; only while the machine is off.
    pub fn hand_over(&self) {
        put(self.machine.disk(), "warppool.toml", &handed_over(&self.node));
    }

    pub fn power_on(&mut self) -> Boot {
        self.machine.power_on().expect("the loader finds something to start")
    }

    pub fn wait(&self, text: &str, within: Duration) -> String {
        self.machine.console().wait_for(text, within).unwrap_or_else(|why| panic!("{why}")).text
    }

    /// Waits until the pool serves miners.
    pub fn healthy(&self) {
        self.wait("pool: healthy", BOOT);
    }

    pub fn ends(&mut self, within: Duration) -> End {
        self.machine.wait_end(within).unwrap_or_else(|why| panic!("{why}"))
    }

    /// A miner outside finds a block, and Bitcoin Core has it as its tip.
    pub async fn mine(&mut self) -> BlockHash {
        let target = self.machine.address(STRATUM).expect("forwarded").to_string();
        let mut hand = until(MOMENT, "a miner is let in", async || Hand::try_connect(&target, PAYOUT).await).await;
        let hash = hand.find().await;
        let node = &self.node;
        until(MOMENT, "the node takes the block", async || {
            let tip = node.tip().await;
            if tip == hash { Ok(()) } else { Err(format!("its tip is {tip}")) }
        })
        .await;
        self.found.push(hash);
        hash
    }

    /// Every block the pool has accepted is in the chain.
    pub async fn has_lost_no_block(&self) {
        let chain = self.node.chain().await;
        for hash in &self.found {
            assert!(chain.iter().any(|block| block.block_hash() == *hash), "block {hash} is not in the chain");
        }
    }

    /// Runs a command in the console's shell; gives its output and whether it succeeded.
    pub fn shell(&mut self, command: &str, within: Duration) -> (String, bool) {
        self.commands += 1;
        let (begin, end) = (format!("<begin {}>", self.commands), format!("<end {} ", self.commands));
        // In two pieces, so that the echo of what is typed is not taken for the answer.
        let line = format!("echo '<be''gin {0}>'; {command}; echo '<e''nd {0} '$?'>'", self.commands);
        self.machine.type_line(&line).expect("the machine is on");
        let last = self.wait(&end, within);
        let lines = self.machine.console().lines();
        let from = lines.iter().rposition(|line| line.text.contains(&begin)).expect("began");
        let output: Vec<&str> = lines[from + 1..]
            .iter()
            .map(|line| line.text.trim_end())
            .take_while(|text| !text.contains(&end))
            .filter(|text| !text.contains("warppool[1]:") && !text.starts_with("[ "))
            .collect();
        (output.join("\n"), last.contains(&format!("{end}0>")))
    }

    /// [`Guest::shell`] that must succeed.
    pub fn run(&mut self, command: &str) -> String {
        let (output, succeeded) = self.shell(command, MOMENT);
        assert!(succeeded, "{command}: {output}");
        output
    }

    /// Switches off by the power key and waits until it is. Where no button is wired the key is the button: its first press shows how
    /// things are, a second one soon after means off.
    pub fn power_off(&mut self) {
        for _ in 0..2 {
            self.machine.press_power().expect("the machine is on");
            std::thread::sleep(Duration::from_millis(700));
        }
        assert_eq!(self.ends(MOMENT), End::PowerOff);
    }
}
