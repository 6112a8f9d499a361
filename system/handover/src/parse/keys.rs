//! Every section and key there is, each with an example of how it is written.

/// A key of a section.
pub(super) struct Key {
    pub section: &'static str,
    pub name: &'static str,
    /// As it would stand in the file.
    pub example: &'static str,
}

const fn key(section: &'static str, name: &'static str, example: &'static str) -> Key {
    Key { section, name, example }
}

pub(super) const SECTIONS: [&str; 6] = ["device", "network", "wifi", "node", "mining", "ssh"];

pub(super) const KEYS: [Key; 27] = [
    key("device", "hostname", "hostname = \"warppool\""),
    key("device", "timezone", "timezone = \"Europe/Berlin\""),
    key("device", "ntp", "ntp = [\"pool.ntp.org\"]"),
    key("device", "allow_downgrade", "allow_downgrade = true"),
    key("network", "address", "address = \"192.168.1.20/24\""),
    key("network", "gateway", "gateway = \"192.168.1.1\""),
    key("network", "address6", "address6 = \"fd00::20/64\""),
    key("network", "gateway6", "gateway6 = \"fe80::1\""),
    key("network", "dns", "dns = [\"192.168.1.1\"]"),
    key("wifi", "ssid", "ssid = \"My network\""),
    key("wifi", "password", "password = \"the network's password\""),
    key("wifi", "country", "country = \"DE\""),
    key("wifi", "hidden", "hidden = true"),
    key("wifi", "address", "address = \"192.168.1.21/24\""),
    key("wifi", "gateway", "gateway = \"192.168.1.1\""),
    key("wifi", "address6", "address6 = \"fd00::21/64\""),
    key("wifi", "gateway6", "gateway6 = \"fe80::1\""),
    key("wifi", "dns", "dns = [\"192.168.1.1\"]"),
    key("node", "name", "name = \"attic\""),
    key("node", "url", "url = \"http://192.168.1.10:8332\""),
    key("node", "user", "user = \"warppool\""),
    key("node", "password", "password = \"the password of rpcauth\""),
    key("node", "zmq", "zmq = \"tcp://192.168.1.10:28332\""),
    key("mining", "payout_address", "payout_address = \"bc1q…\""),
    key("mining", "chain", "chain = \"mainnet\""),
    key("ssh", "keys", "keys = [\"ssh-ed25519 AAAA… me@laptop\"]"),
    key("ssh", "key", "key = \"ssh-ed25519 AAAA… me@laptop\""),
];

pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// A section where a key of this name would be right.
pub(super) fn home(name: &str) -> Option<&'static str> {
    KEYS.iter().find(|key| key.name == name).map(|key| key.section)
}

/// The name that was probably meant.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // What is long is not compared: the effort grows with the square.
    let short: String = name.chars().take(32).collect::<String>().to_lowercase();
    names
        .map(|other| (strsim::damerau_levenshtein(&short, other), other))
        .filter(|(distance, other)| *distance <= 2.min(other.len() / 2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}
