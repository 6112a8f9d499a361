//! Files as owners write them.

use proptest::prelude::*;

use super::*;
use crate::EXAMPLE;

fn all_zones(_: &TimeZone) -> bool {
    true
}

fn few_zones(zone: &TimeZone) -> bool {
    zone.as_str() == "Europe/Berlin"
}

#[track_caller]
fn taken(text: &str) -> HandOver {
    parse(text.as_bytes(), &few_zones).unwrap_or_else(|faults| panic!("{text}\n{faults:?}"))
}

/// The first fault's line, key, and that it says something about `said`.
#[track_caller]
fn refused(text: &str, line: u32, key: &str, said: &str) {
    let faults = parse(text.as_bytes(), &few_zones).expect_err(text);
    let fault = &faults[0];
    assert_eq!((fault.line, fault.key.as_str()), (Some(line), key), "{fault}");
    assert!(fault.to_string().contains(said), "{fault}");
    assert!(!fault.remedy.is_empty(), "{fault}");
}

/// What the book shows first is what people copy.
#[test]
fn the_shortest_file_of_the_book_is_taken() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/flash-it.md")).expect("a page");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let settings = taken(&block.replace("bc1q…", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"));
    assert!(settings.nodes.len() == 1 && settings.payout_address.is_some());
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHnC6uJZ0P0aCcpGtMdYyOoGxSAsBSLpjmJzPgfm1sN1 me@laptop";

#[test]
fn a_whole_file_is_taken() {
    let settings = taken(&format!(
        "[device]\nhostname = \"Pool-2\"\ntimezone = \"Europe/Berlin\"\nntp = \"192.168.1.1\"\nallow_downgrade = true\n\
         [network]\naddress = \"192.168.1.20/24\"\ngateway = \"192.168.1.1\"\naddress6 = \"fd00::20/64\"\n\
         gateway6 = \"fe80::1\"\ndns = [\"192.168.1.1\", \"fd00::1\"]\n\
         [wifi]\nssid = \" Home \"\npassword = \"correct horse\"\ncountry = \"de\"\nhidden = true\n\
         [[node]]\nurl = \"http://192.168.1.10:8332/\"\nuser = \"u\"\npassword = \"p\"\nzmq = \"tcp://192.168.1.10:28332\"\n\
         [[node]]\nname = \"cellar\"\nurl = \"http://umbrel.local:8332\"\nuser = \"u2\"\npassword = 'back\\slash'\n\
         [mining]\npayout_address = \"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq\"\nchain = \"mainnet\"\n\
         [ssh]\nkeys = [\"{KEY}\"]\n"
    ));
    assert_eq!(settings.hostname.expect("a name").as_str(), "pool-2");
    assert_eq!(settings.ntp.expect("servers").len(), 1);
    assert!(settings.allow_downgrade);
    let network = settings.network.expect("addresses");
    assert_eq!(network.v4.and_then(warppool_network::Static4::gateway), "192.168.1.1".parse().ok());
    assert_eq!(network.v6.expect("an address").net().to_string(), "fd00::20/64");
    assert_eq!(network.dns.len(), 2);
    let wifi = settings.wifi.expect("a network");
    assert_eq!((wifi.ssid.as_str(), wifi.country.as_str(), wifi.hidden), (" Home ", "DE", true));
    let names: Vec<&str> = settings.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node-1", "cellar"]);
    assert_eq!(settings.nodes[1].password.reveal(), "back\\slash");
    assert_eq!(settings.chain, Some(crate::Chain::Mainnet));
    assert_eq!(settings.ssh_keys[0].comment(), "me@laptop");
}

#[test]
fn what_is_wrong_is_told_with_line_key_and_remedy() {
    refused("\n[device]\nhostname = \"my pool\"\n", 3, "device.hostname", "write it as in: hostname = \"warppool\"");
    refused("[device]\ntimezone = \"Europe/Bonn\"\n", 2, "device.timezone", "Europe/Bonn");
    refused("[device]\nntp = [\"ok.example\",\n\"a b\"]\n", 3, "device.ntp", "`a b`");
    refused("[device]\nhostname = 5\n", 2, "device.hostname", "a number, not a text");
    refused("[device]\nallow_downgrade = \"yes\"\n", 2, "device.allow_downgrade", "neither true nor false");
    refused("[network]\naddress = \"192.168.1.20\"\n", 2, "network.address", "192.168.1.20/24");
    refused(
        "[network]\naddress = \"192.168.1.20/24\"\ndns = []\ngateway = \"10.0.0.1\"\n",
        2,
        "network.gateway",
        "not in",
    );
    refused("[network]\naddress = \"192.168.1.20/24\"\n", 1, "network.dns", "name servers have to be said");
    refused("[network]\ngateway = \"192.168.1.1\"\n", 1, "network.gateway", "leave both out for DHCP");
    refused(
        "[network]\naddress6 = \"fd00::2/64\"\ngateway6 = \"192.168.1.1\"\n",
        3,
        "network.gateway6",
        "belongs into gateway",
    );
    refused("[wifi]\nssid = \"Home\"\n", 1, "wifi.country", "country = \"DE\"");
    refused("[wifi]\ncountry = \"DE\"\n", 1, "wifi.ssid", "missing");
    refused("[wifi]\nssid = \"a\\b\"\ncountry = \"DE\"\n", 2, "wifi.ssid", "invisible");
    refused("[wifi]\nssid = \"x\"\ncountry = \"DE\"\npassword = \"short\"\n", 4, "wifi.password", "this has 5");
    refused("[node]\nurl = \"192.168.1.10\"\nuser = \"u\"\npassword = \"p\"\n", 2, "node.url", "http://host:port");
    refused("[node]\nurl = \"http://n\"\npassword = \"p\"\n", 1, "node.user", "missing");
    refused("[mining]\npayout_address = \"rig1\"\n", 2, "mining.payout_address", "Bitcoin address");
    refused("[mining]\nchain = \"testnet\"\n", 2, "mining.chain", "testnet4");
    refused("[ssh]\nkey = \"-----BEGIN OPENSSH PRIVATE KEY-----\"\n", 2, "ssh.key", ".pub");
}

#[test]
fn a_key_in_the_wrong_place_or_misspelt_is_told_where_it_belongs() {
    refused("hostname = \"x\"\n", 1, "hostname", "[device]");
    refused("[device]\nhostnam = \"x\"\n", 2, "device.hostnam", "is hostname meant?");
    refused("[device]\nssid = \"x\"\n", 2, "device.ssid", "[wifi]");
    refused("[wlan]\nssid = \"x\"\n", 1, "wlan", "the sections are [device], [network], [wifi]");
    refused("[Wifi]\nssid = \"x\"\n", 1, "Wifi", "is [wifi] meant?");
    refused("[device]\ncolour = \"red\"\n", 2, "device.colour", "the keys here are hostname, timezone");
    refused("wifi = \"Home\"\n", 1, "wifi", "write [wifi]");
    let same = "[[node]]\nname = \"a\"\nurl = \"http://n\"\nuser = \"u\"\npassword = \"p\"\n";
    refused(&format!("{same}{same}"), 7, "node.name", "another node");
}

#[test]
fn the_usual_slips_of_typing_are_called_by_their_names() {
    refused("[device]\nhostname = \u{201c}pool\u{201d}\n", 2, "", "typographic");
    refused("[device]\nhostname = pool\n", 2, "", "between quotation marks");
    refused("[wifi]\nssid = \"a\\q c\"\n", 2, "", "backslash");
    refused("[device]\nhostname = \"a\"\nhostname = \"b\"\n", 3, "", "cannot be read");
    refused("[device\n", 1, "", "cannot be read");
}

#[test]
fn typographic_marks_inside_a_name_are_part_of_it() {
    let settings = taken("[wifi]\nssid = \"\u{201e}Zu Hause\u{201c}\"\ncountry = \"DE\"\n");
    assert_eq!(settings.wifi.expect("a network").ssid.as_str(), "\u{201e}Zu Hause\u{201c}");
}

#[test]
fn the_example_asks_for_nothing_until_its_lines_are_used() {
    let settings = parse(EXAMPLE.as_bytes(), &few_zones).expect("parses");
    assert!(!settings.asks_for_something());
    // A comment on a line that can be used begins without a blank.
    let usable = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = EXAMPLE.lines().map(|line| line.strip_prefix('#').filter(usable).unwrap_or(line));
    let used = lines.collect::<Vec<_>>().join("\n");
    let used = used
        .replace("bc1q...", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq")
        .replace("ssh-ed25519 AAAA... me@laptop", KEY);
    let settings = taken(&used);
    assert!(settings.hostname.is_some() && settings.network.is_some() && settings.wifi.is_some());
    assert!(settings.nodes.len() == 1 && settings.payout_address.is_some() && settings.ssh_keys.len() == 1);
    for key in &keys::KEYS {
        let line = format!("{} = ", key.name);
        assert!(used.contains(&line) || key.name == "name" || key.name == "key", "the example lacks {}", key.name);
    }
}

#[test]
fn only_so_many_faults_are_listed() {
    let text = (0..100).fold("[device]\n".to_owned(), |text, n| format!("{text}key{n} = 1\n"));
    let faults = parse(text.as_bytes(), &few_zones).expect_err("unknown keys");
    assert_eq!(faults.len(), MAX_FAULTS + 1);
    assert!(faults[MAX_FAULTS].problem.contains("80 faults more"), "{}", faults[MAX_FAULTS]);
}

#[test]
fn a_file_that_is_too_large_is_refused_before_it_is_read() {
    let faults = parse(&vec![b'#'; MAX_FILE + 1], &few_zones).expect_err("too large");
    assert!(faults[0].problem.contains("at most"), "{}", faults[0]);
    assert!(parse(&vec![b'#'; MAX_FILE], &few_zones).is_ok());
}

#[test]
fn deep_nesting_is_a_fault_and_no_overflow() {
    for open in ["[", "{a=", "a."] {
        let text = format!("x = {}", open.repeat(20_000));
        assert!(parse(text.as_bytes(), &few_zones).is_err());
    }
}

#[test]
fn a_fault_shows_no_control_characters_of_the_file() {
    let faults = parse(b"\"a\\u001b[2Jb\" = 1\n", &few_zones).expect_err("no such key");
    assert!(!faults[0].to_string().contains('\u{1b}'), "{:?}", faults[0]);
}

#[test]
fn what_was_taken_can_be_written_down_without_its_secrets_and_read_again() {
    let text = "[wifi]\nssid = \"Q\\\"uote\"\npassword = \"correct horse\"\ncountry = \"DE\"\n\
                [network]\naddress = \"10.0.0.2/8\"\ndns = []\n\
                [node]\nurl = \"http://n:1\"\nuser = \"u\"\npassword = \"battery staple\"\n";
    let settings = taken(text);
    let redacted = settings.redacted();
    assert!(!redacted.contains("horse") && !redacted.contains("staple"), "{redacted}");
    let whole = redacted.replace("# password = \"…\"", "password = \"filled in again\"");
    let again = taken(&whole);
    assert_eq!((again.network, again.nodes[0].url.clone()), (settings.network, settings.nodes[0].url.clone()));
    assert_eq!(again.wifi.expect("a network").ssid, settings.wifi.expect("a network").ssid);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, &all_zones);
    }

    #[test]
    fn nothing_that_looks_like_a_file_makes_it_panic(
        lines in prop::collection::vec(
            "\\[{0,2}(device|network|wifi|node|mining|ssh|x)\\]{0,2}|(address|gateway|dns|ssid|keys|url|name) = (\"\\PC{0,12}\"|\\[.{0,9}\\]|[0-9.e-]{1,9})",
            0..12,
        )
    ) {
        if let Err(faults) = parse(lines.join("\n").as_bytes(), &all_zones) {
            prop_assert!(faults.iter().all(|fault| !fault.remedy.is_empty()));
        }
    }
}
