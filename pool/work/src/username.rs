//! What a miner calls itself: `address.worker`, or a plain name.

use std::str::FromStr;

use bitcoin::{Address, Network, Script, address::NetworkUnchecked};

use crate::Chain;

/// Longest worker name kept, in bytes; the rest is cut.
const MOST_WORKER: usize = 64;
/// Longest username read at all; firmware overflows at 127 anyway.
const MOST_USERNAME: usize = 256;

/// A username taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username {
    pub payee: Payee,
    /// The part after the first dot; empty when there is none.
    pub worker: String,
}

/// Whom the coinbase of a miner's job is to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payee {
    Address {
        /// In its canonical form (bech32 in lower case).
        address: String,
        script: Vec<u8>,
    },
    /// Not an address: paid to the operator's own, when there is one.
    Plain(String),
}

/// Why a username is refused. Shown to the miner's owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsernameError {
    #[error("the username is empty; use your Bitcoin address as username")]
    Empty,
    #[error("the username is longer than {MOST_USERNAME} bytes; use ADDRESS.WORKER")]
    TooLong,
    #[error("the username has control characters; use ADDRESS.WORKER in plain letters and digits")]
    ControlCharacter,
    #[error("address '{0}' has a typing error (its checksum or length is wrong); copy it again from your wallet")]
    Malformed(String),
    #[error("address '{address}' is not for {chain}; use an address of that network")]
    WrongNetwork { address: String, chain: Chain },
}

impl Username {
    /// Reads a username as firmware sends it: percent-encoded, in upper case, cut off behind the address.
    pub fn parse(text: &str, chain: Chain) -> Result<Self, UsernameError> {
        if text.len() > MOST_USERNAME {
            return Err(UsernameError::TooLong);
        }
        let decoded = percent_decode(text.trim());
        let text = decoded.trim();
        if text.chars().any(char::is_control) {
            return Err(UsernameError::ControlCharacter);
        }
        let text = without_scheme(text);
        let (name, worker) = text.split_once('.').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(UsernameError::Empty);
        }
        let payee = if looks_like_an_address(name) {
            let (address, script) = parse_address(name, chain)?;
            Payee::Address { address, script }
        } else {
            Payee::Plain(cut(name).to_owned())
        };
        Ok(Self { payee, worker: cut(worker).to_owned() })
    }
}

impl std::fmt::Display for Username {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match &self.payee {
            Payee::Address { address, .. } => address,
            Payee::Plain(name) => name,
        };
        f.write_str(name)?;
        if self.worker.is_empty() { Ok(()) } else { write!(f, ".{}", self.worker) }
    }
}

/// Reads an address of a chain; gives its canonical form and its scriptPubKey.
pub fn parse_address(text: &str, chain: Chain) -> Result<(String, Vec<u8>), UsernameError> {
    // Bech32 may be all upper case (QR codes), where base58 tells the cases apart.
    let lower = text.to_ascii_lowercase();
    let text = if is_bech32_like(&lower) && text.chars().all(|c| !c.is_ascii_lowercase()) { &lower } else { text };
    let unchecked =
        Address::<NetworkUnchecked>::from_str(text).map_err(|_| UsernameError::Malformed(text.to_owned()))?;
    let address = unchecked
        .require_network(network(chain))
        .map_err(|_| UsernameError::WrongNetwork { address: text.to_owned(), chain })?;
    Ok((address.to_string(), address.script_pubkey().into_bytes()))
}

/// The address of a scriptPubKey, where it has one.
pub fn address_of_script(script: &[u8], chain: Chain) -> Option<String> {
    Address::from_script(Script::from_bytes(script), network(chain)).ok().map(|address| address.to_string())
}

fn network(chain: Chain) -> Network {
    match chain {
        Chain::Mainnet => Network::Bitcoin,
        Chain::Testnet4 => Network::Testnet4,
        Chain::Signet => Network::Signet,
        Chain::Regtest => Network::Regtest,
    }
}

fn is_bech32_like(lower: &str) -> bool {
    ["bc1", "tb1", "bcrt1"].iter().any(|prefix| lower.starts_with(prefix))
}

/// Letters and digits in a row that are too many for a name somebody gave a machine.
const ADDRESS_LIKE: usize = 20;

/// Whether somebody meant an address. Rather too often than not: mining to a mistyped address, or to one with something
/// else than a dot behind it, as if it were a name would pay the wrong person.
fn looks_like_an_address(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let longest_run = name.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max();
    ["bc1", "tb1", "bcrt1"].iter().any(|prefix| lower.contains(prefix)) || longest_run >= Some(ADDRESS_LIKE)
}

/// Without `bitcoin:` in front and parameters behind, as payment links and QR codes have them.
fn without_scheme(text: &str) -> &str {
    const SCHEME: &str = "bitcoin:";
    match text.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let rest = &text[SCHEME.len()..];
            rest.split_once('?').map_or(rest, |(address, _)| address)
        }
        _ => text,
    }
}

fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MOST_WORKER)]
}

/// Undoes percent-encoding; what is not valid encoding, or not UTF-8 afterwards, stays as it is.
fn percent_decode(text: &str) -> String {
    let hex = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let encoded = match bytes[at..] {
            [b'%', high, low, ..] => hex(high).zip(hex(low)),
            _ => None,
        };
        out.push(encoded.map_or(bytes[at], |(high, low)| high << 4 | low));
        at += if encoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const P2WPKH: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
    const P2TR: &str = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0";

    #[track_caller]
    fn accepted(text: &str, chain: Chain, expected: &str, script_size: usize) {
        let username = Username::parse(text, chain).unwrap();
        assert_eq!(username.to_string(), expected);
        let Payee::Address { script, .. } = username.payee else { panic!("{text} is an address") };
        assert_eq!(script.len(), script_size, "{text}");
        let canonical = expected.split('.').next().map(str::to_owned);
        assert_eq!(address_of_script(&script, chain), canonical);
    }

    #[test]
    fn all_address_types_of_all_chains_are_understood() {
        accepted("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", Chain::Mainnet, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", 25);
        accepted("3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", Chain::Mainnet, "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", 23);
        accepted(P2WPKH, Chain::Mainnet, P2WPKH, 22);
        accepted(P2TR, Chain::Mainnet, P2TR, 34);
        accepted("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", Chain::Testnet4, "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", 25);
        let testnet = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx";
        accepted(testnet, Chain::Testnet4, testnet, 22);
        accepted(testnet, Chain::Signet, testnet, 22);
        let wsh = "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7";
        accepted(wsh, Chain::Signet, wsh, 34);
        let regtest = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
        accepted(regtest, Chain::Regtest, regtest, 22);
    }

    #[test]
    fn the_forms_firmware_sends_are_understood() {
        let with = |rest: &str| format!("{P2WPKH}{rest}");
        accepted(&with(".rig1"), Chain::Mainnet, &with(".rig1"), 22);
        accepted(&with("%2Erig%201"), Chain::Mainnet, &with(".rig 1"), 22);
        accepted(&with(".a.b"), Chain::Mainnet, &with(".a.b"), 22);
        accepted(&P2WPKH.to_uppercase(), Chain::Mainnet, P2WPKH, 22);
        accepted(&format!(" bitcoin:{P2WPKH} "), Chain::Mainnet, P2WPKH, 22);
        accepted(&format!("BITCOIN:{}", P2WPKH.to_uppercase()), Chain::Mainnet, P2WPKH, 22);
        accepted(&format!("bitcoin:{P2WPKH}?label=x&amount=1.5"), Chain::Mainnet, P2WPKH, 22);
        // Avalon cuts at 63 characters: of a taproot address and its worker the dot is left.
        accepted(&format!("{P2TR}.avalon")[..63], Chain::Mainnet, P2TR, 34);
    }

    #[test]
    fn a_plain_name_is_a_name() {
        for name in ["rig1", "wohnzimmer", "x", "müller", "1-2-3"] {
            assert_eq!(Username::parse(name, Chain::Mainnet).unwrap().payee, Payee::Plain(name.into()));
        }
    }

    #[test]
    fn what_was_meant_as_an_address_is_never_taken_for_a_name() {
        let malformed = |text: &str| {
            assert!(matches!(Username::parse(text, Chain::Mainnet), Err(UsernameError::Malformed(_))), "{text}");
        };
        malformed("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5");
        malformed("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7k");
        malformed("bc1qW508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
        malformed("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb");
        malformed("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfN0");
        malformed("bc1mining.rig");
        for separator in ["_", "/", "-", " ", ",", "+", "%2F"] {
            malformed(&format!("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa{separator}rig"));
            malformed(&format!("{P2WPKH}{separator}rig"));
        }
        malformed("btc:1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa");
        malformed("\u{200b}1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa");
        malformed("1A1zP1eP5QGefi2DMPTfTL5S");
        let wrong = |text: &str, chain| {
            assert!(matches!(Username::parse(text, chain), Err(UsernameError::WrongNetwork { .. })), "{text}");
        };
        wrong(P2WPKH, Chain::Regtest);
        wrong("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", Chain::Mainnet);
        wrong("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Chain::Signet);
    }

    #[test]
    fn bad_input_is_named() {
        assert_eq!(Username::parse("", Chain::Mainnet), Err(UsernameError::Empty));
        assert_eq!(Username::parse(" .rig", Chain::Mainnet), Err(UsernameError::Empty));
        assert_eq!(Username::parse(&"x".repeat(257), Chain::Mainnet), Err(UsernameError::TooLong));
        assert_eq!(Username::parse("a%00b", Chain::Mainnet), Err(UsernameError::ControlCharacter));
        let long = Username::parse(&format!("rig.{}", "ä".repeat(60)), Chain::Mainnet).unwrap();
        assert_eq!(long.worker.len(), MOST_WORKER);
    }

    proptest::proptest! {
        #[test]
        fn no_username_panics(text in ".{0,300}") {
            let _ = Username::parse(&text, Chain::Mainnet);
        }
    }
}
