//! The plug is pulled at random moments: while it boots, mines, installs, tries and commits.

use std::time::Duration;

use crate::guest::{BOOT, Guest, from};
use crate::kit::{Kit, Variant};
use crate::server::Server;

/// `WARPPOOL_CUTS` asks for more of them.
const CUTS: u32 = 5;

/// Different in each run unless `WARPPOOL_SEED` says otherwise; printed, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn throw() -> Self {
        let seed = std::env::var("WARPPOOL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_nanos() as u64)
        });
        println!("WARPPOOL_SEED={seed}");
        Self(seed)
    }

    /// A moment up to `most`.
    fn moment(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        most.mul_f64((self.0 >> 33) as f64 / f64::from(1_u32 << 31))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_power_cuts_at_random_moments_lose_no_block_and_always_come_back() {
    let Some(kit) = Kit::find() else { return };
    let cuts = std::env::var("WARPPOOL_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(CUTS);
    let mut dice = Dice::throw();
    let server = Server::start(kit.folder());
    let mut guest = Guest::mining(&kit).await;
    for cut in 0..cuts {
        guest.mine().await;
        let what = match cut % 3 {
            0 => {
                std::thread::sleep(dice.moment(Duration::from_secs(5)));
                "mining"
            }
            1 => {
                let version = format!("0.1.{}", cut + 1);
                let bundle = kit.bundle(&Variant::of(&version));
                let url = server.url(&bundle.file_name().expect("a file").to_string_lossy());
                guest.machine.type_line(&format!("warppool ota install {url}")).expect("the machine is on");
                std::thread::sleep(dice.moment(Duration::from_secs(25)));
                // The trial has its turn, when the installation was that fast.
                if guest.machine.console().find("shutdown:").is_some() {
                    guest.ends(BOOT);
                    guest.power_on();
                    std::thread::sleep(dice.moment(Duration::from_secs(30)));
                }
                "installing"
            }
            _ => {
                guest.machine.cut_power();
                guest.power_on();
                std::thread::sleep(dice.moment(Duration::from_secs(12)));
                "booting"
            }
        };
        guest.machine.cut_power();
        let boot = guest.power_on();
        let (partition, trial) = from(&boot);
        println!("cut {cut} while {what}: back from partition {partition}");
        assert!(!trial, "a trial survived the cut");
        guest.healthy();
    }
    guest.mine().await;
    guest.has_lost_no_block().await;
    assert!(guest.run("warppool ota verify").contains("sound"));
}
