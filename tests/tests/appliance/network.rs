//! The appliance on its network.

use std::net::Ipv4Addr;

use crate::guest::{BOOT, Guest, MOMENT, handed_over, put, setup};
use crate::kit::Kit;

#[tokio::test(flavor = "multi_thread")]
async fn qemu_a_static_address_is_taken_instead_of_dhcp() {
    let Some(kit) = Kit::find() else { return };
    let address = Ipv4Addr::new(10, 0, 2, 77);
    let mut guest = Guest::off(setup(&kit.image()).guest_address(address)).await;
    let network = "[device]\nhostname = \"attic\"\n[network]\naddress = \"10.0.2.77/24\"\ngateway = \"10.0.2.2\"\ndns = [\"10.0.2.3\"]\n";
    put(guest.machine.disk(), "warppool.toml", &format!("{network}{}", handed_over(&guest.node)));
    guest.power_on();
    guest.wait("network: eth0 10.0.2.77/24", BOOT);
    guest.healthy();
    guest.mine().await;
    assert_eq!(guest.run("hostname").trim(), "attic");
    let (_, asks) = guest.shell("pidof udhcpc", MOMENT);
    assert!(!asks, "DHCP is asked all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_without_a_cable_it_waits_and_says_so() {
    let Some(kit) = Kit::find() else { return };
    let mut guest = Guest::off(setup(&kit.image()).without_network()).await;
    guest.hand_over();
    guest.power_on();
    guest.wait("pool: started", BOOT);
    guest.wait("led: ", BOOT);
    assert!(guest.run("warppool ota status").contains("version"));
    guest.power_off();
}
