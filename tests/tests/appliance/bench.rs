//! The appliance's figures: memory, the second boot, the sizes of what is flashed and fetched.

use std::time::Duration;

use crate::guest::{BOOT, Guest, STRATUM, setup};
use crate::kit::Kit;

#[tokio::test(flavor = "multi_thread")]
async fn qemu_the_second_boot_takes_no_longer_than_the_kernel_and_memory_stays_small() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::off(setup(&kit.image())).await;
    guest.hand_over();
    guest.power_on();
    guest.healthy();
    guest.power_off();

    guest.power_on();
    let first = guest.machine.console().wait_for("warppool[1]: version", BOOT).unwrap_or_else(|why| panic!("{why}"));
    let started = std::time::Instant::now();
    // The forwarder accepts by itself: only an answer shows that the pool does.
    let subscribe = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";
    guest.machine.ask(STRATUM, subscribe, BOOT).unwrap_or_else(|why| panic!("{why}"));
    let user = started.elapsed();
    println!(
        "second boot: kernel {:.2} s, from PID 1's first line to an answer on port 3333 {:.2} s",
        first.at.as_secs_f64(),
        user.as_secs_f64()
    );

    guest.healthy();
    std::thread::sleep(Duration::from_secs(5));
    let memory = guest.run("awk '/^MemTotal|^MemAvailable/ {print $2}' /proc/meminfo");
    let mut kib = memory.split_whitespace().map(|word| word.parse::<u64>().expect("a number"));
    let used = (kib.next().expect("MemTotal") - kib.next().expect("MemAvailable")) / 1024;
    println!("memory in use, root included: {used} MiB");
    assert!(used <= 128, "{used} MiB are in use");
    assert!(user <= first.at.max(Duration::from_secs(5)), "user space took {user:?}, the kernel {:?}", first.at);
}
