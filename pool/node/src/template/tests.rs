use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const REGTEST: &str = include_str!("../../tests/data/regtest.json");
const TESTNET4: &str = include_str!("../../tests/data/testnet4.json");

fn parse(chain: Chain, value: &Value) -> Result<Parsed, Error> {
    TemplateParser::new(chain).parse(value.to_string().as_bytes())
}

fn regtest() -> Value {
    serde_json::from_str(REGTEST).unwrap()
}

#[test]
fn a_template_of_bitcoin_core_becomes_ours() {
    let parsed = TemplateParser::new(Chain::Regtest).parse(REGTEST.as_bytes()).unwrap();
    let t = parsed.template;
    assert_eq!((t.height, t.version, t.bits), (106, 0x2000_0000, 0x207f_ffff));
    assert_eq!((t.weight_limit, t.sigop_limit, t.segwit), (4_000_000, 80_000, true));
    assert_eq!((t.coinbase_value, t.max_time), (5_000_030_000, u32::MAX));
    assert_eq!(t.prev_hash[..2], [0x36, 0xd4], "internal order");
    assert_eq!(hash_display(&t.prev_hash), regtest()["previousblockhash"]);
    assert_eq!(parsed.long_poll_id.as_deref(), regtest()["longpollid"].as_str());
    assert_eq!(t.witness_commitment.unwrap()[..6], COMMITMENT_HEAD);
    assert_eq!(t.transactions.len(), 3);
    let (ours, theirs) = (&t.transactions[0], &regtest()["transactions"][0]);
    assert_eq!(const_hex::encode(&ours.data), theirs["data"]);
    assert_eq!(hash_display(&ours.txid), theirs["txid"]);
    assert_eq!(hash_display(&ours.wtxid), theirs["hash"]);
    assert_eq!((ours.fee, ours.sigops, ours.weight), (10_000, 1, 485));
    let legacy = &t.transactions[2];
    assert_eq!(legacy.txid, legacy.wtxid);
}

#[test]
fn a_template_without_transactions_and_of_another_chain_is_fine() {
    let t = TemplateParser::new(Chain::Testnet4).parse(TESTNET4.as_bytes()).unwrap().template;
    assert_eq!((t.height, t.transactions.len(), t.bits), (1, 0, 0x1d00_ffff));
}

#[test]
fn an_unchanged_transaction_is_shared_and_a_changed_one_is_not() {
    let mut parser = TemplateParser::new(Chain::Regtest);
    let first = parser.parse(REGTEST.as_bytes()).unwrap();
    assert_eq!(first.shared, 0);
    let mut value = regtest();
    value["transactions"][1]["fee"] = json!(9_999);
    value["coinbasevalue"] = json!(5_000_029_999_u64);
    let second = parser.parse(value.to_string().as_bytes()).unwrap();
    let same: Vec<bool> =
        first.template.transactions.iter().zip(&second.template.transactions).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
    assert_eq!((same.as_slice(), second.shared), (&[true, false, true][..], 2));
}

#[test]
fn a_template_that_fails_changes_nothing() {
    let mut parser = TemplateParser::new(Chain::Regtest);
    parser.parse(REGTEST.as_bytes()).unwrap();
    assert!(parser.parse(b"{}").is_err());
    let mut value = regtest();
    value["transactions"] = json!([]);
    value["height"] = json!(0);
    assert!(parser.parse(value.to_string().as_bytes()).is_err());
    assert_eq!(parser.parse(REGTEST.as_bytes()).unwrap().shared, 3);
}

type Change = Box<dyn Fn(&mut Value)>;

/// Adds bytes to a transaction's data.
fn append(tx: &mut Value, hex: &str) {
    tx["data"] = json!(tx["data"].as_str().unwrap().to_owned() + hex);
}

/// Makes the digit so many before the end of a transaction's data another.
fn alter(tx: &mut Value, from_end: usize) {
    let mut data = tx["data"].as_str().unwrap().to_owned();
    let place = data.len() - from_end;
    let other = if &data[place..=place] == "1" { "2" } else { "1" };
    data.replace_range(place..=place, other);
    tx["data"] = json!(data);
}

#[test]
fn what_is_wrong_is_named() {
    let tx = |index: usize, change: fn(&mut Value)| move |v: &mut Value| change(&mut v["transactions"][index]);
    let set = |key: &'static str, to: Value| move |v: &mut Value| v[key] = to.clone();
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(set("height", json!(0))), "height is 0"),
        (Box::new(set("height", json!(-1))), "height is -1"),
        (Box::new(set("height", json!(4_294_967_296_u64))), "height is 4294967296"),
        (Box::new(set("height", json!(1.5))), "line 1"),
        (Box::new(set("previousblockhash", json!("00"))), "previousblockhash"),
        (Box::new(set("previousblockhash", json!("é".repeat(32)))), "previousblockhash"),
        (Box::new(set("previousblockhash", json!("0x".to_owned() + &"0".repeat(62)))), "previousblockhash"),
        (Box::new(set("bits", json!("+07fffff"))), "bits"),
        (Box::new(set("bits", json!("20ffffff"))), "bits"),
        (Box::new(set("bits", json!("00000000"))), "bits"),
        (Box::new(set("bits", json!("ff7fffff"))), "bits"),
        (Box::new(set("bits", json!("207ffffe"))), "target"),
        (Box::new(set("target", json!("00"))), "target"),
        (Box::new(set("version", json!(1_u64 << 32))), "version"),
        (Box::new(set("mintime", json!(4_294_967_295_u32))), "mintime"),
        (Box::new(set("mintime", json!(1_795_153_880_u32))), "mintime is 1795153880, outside 0 to 1795153879"),
        (Box::new(set("curtime", json!(-5))), "curtime"),
        (Box::new(set("weightlimit", json!(4_000_001))), "weightlimit"),
        (Box::new(set("sigoplimit", json!(0))), "sigoplimit"),
        (Box::new(set("coinbasevalue", json!(5_000_030_001_u64))), "more than subsidy and fees"),
        (Box::new(set("coinbasevalue", json!(-1))), "coinbasevalue is -1"),
        (Box::new(set("default_witness_commitment", json!("6a24aa21a9ee"))), "default_witness_commitment"),
        (
            Box::new(set("default_witness_commitment", json!(format!("6a24aa21a9ed{}", "11".repeat(32))))),
            "is not the commitment to the template's transactions",
        ),
        (Box::new(|v: &mut Value| v["transactions"].as_array_mut().unwrap().swap(0, 1)), "default_witness_commitment"),
        (Box::new(set("rules", json!(["csv", "!soon"]))), "`soon`"),
        (Box::new(set("rules", json!(vec!["x"; 65]))), "more than 64 rules"),
        (Box::new(set("rules", json!("segwit"))), "a list of at most 64 rules"),
        (Box::new(set("signet_challenge", json!("512103ad"))), "signed by its owner (challenge 512103ad)"),
        (
            Box::new(set("transactions", json!(vec![regtest()["transactions"][0].clone(); 2]))),
            "transaction 1: it stands",
        ),
        (Box::new(set("weightlimit", json!(900))), "transaction 1: with it the transactions weigh more"),
        (Box::new(set("sigoplimit", json!(1))), "transaction 1: with it the transactions have more sigops"),
        (Box::new(tx(1, |t| t["data"] = json!("zz".repeat(200)))), "transaction 1: data"),
        (Box::new(tx(1, |t| t["data"] = json!("0x".to_owned() + &"00".repeat(200)))), "transaction 1: data"),
        (Box::new(tx(1, |t| t["data"] = json!("0".repeat(401)))), "transaction 1: data"),
        (Box::new(tx(1, |t| t["data"] = json!(""))), "transaction 1: its weight does not fit"),
        (Box::new(tx(0, |t| t["data"] = json!([0, 1]))), "line 1"),
        (Box::new(tx(1, |t| t["data"] = json!("00".repeat(200)))), "transaction 1: its data is not a transaction"),
        (Box::new(tx(1, |t| append(t, "00"))), "transaction 1: its data is not a transaction"),
        // The last digits are the lock time, in the signed part; the digits before them are in the witness.
        (Box::new(tx(1, |t| alter(t, 1))), "transaction 1: its txid is not that"),
        (Box::new(tx(1, |t| alter(t, 11))), "transaction 1: its hash is not that"),
        (Box::new(tx(1, |t| t["txid"] = json!("11".repeat(32)))), "transaction 1: its txid is not that"),
        (Box::new(tx(1, |t| t["hash"] = json!("11".repeat(32)))), "transaction 1: its hash is not that"),
        (Box::new(tx(2, |t| t["hash"] = json!("11".repeat(32)))), "transaction 2: its hash is not that"),
        (Box::new(tx(2, |t| t["txid"] = json!("ab"))), "transaction 2: txid"),
        (Box::new(tx(2, |t| t["hash"] = json!("g".repeat(64)))), "transaction 2: hash"),
        (Box::new(tx(0, |t| t["fee"] = json!(-1))), "transaction 0: its fee"),
        (Box::new(tx(0, |t| t["fee"] = json!(i64::MAX))), "transaction 0: its fee"),
        (Box::new(tx(0, |t| t["sigops"] = json!(-1))), "transaction 0: its sigops"),
        (Box::new(tx(0, |t| t["weight"] = json!(100))), "transaction 0: its weight"),
        (Box::new(tx(0, |t| t["weight"] = json!(-1))), "transaction 0: its weight"),
    ];
    for (number, (change, expected)) in cases.iter().enumerate() {
        let mut value = regtest();
        change(&mut value);
        let error = parse(Chain::Regtest, &value).unwrap_err().to_string();
        assert!(error.contains(expected), "case {number}: `{error}` does not say `{expected}`");
    }
}

#[test]
fn a_field_that_is_missing_is_named() {
    for key in ["height", "version", "previousblockhash", "transactions", "coinbasevalue", "bits", "curtime", "mintime"]
    {
        let mut value = regtest();
        value.as_object_mut().unwrap().remove(key);
        let error = parse(Chain::Regtest, &value).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn an_open_signet_is_mined_and_a_signed_one_or_an_unknown_one_is_not() {
    let mut value = regtest();
    value["signet_challenge"] = json!("51");
    value["rules"] = json!(["csv", "!segwit", "taproot", "!signet"]);
    assert!(parse(Chain::Signet, &value).is_ok());
    value["signet_challenge"] = Value::Null;
    assert!(matches!(parse(Chain::Signet, &value), Err(Error::Field { field: "signet_challenge", .. })));
}

#[test]
fn the_height_of_a_tip_does_not_change() {
    let mut parser = TemplateParser::new(Chain::Regtest);
    let mut value = regtest();
    parser.parse(value.to_string().as_bytes()).unwrap();
    value["height"] = json!(107);
    let error = parser.parse(value.to_string().as_bytes()).unwrap_err();
    assert_eq!(error, Error::HeightChanged { height: 107, before: 106 });
    value["previousblockhash"] = json!("ab".repeat(32));
    assert!(parser.parse(value.to_string().as_bytes()).is_ok());
}

#[test]
fn more_transactions_than_a_block_holds_are_not_even_collected() {
    let mut value = regtest();
    let one = value["transactions"][0].clone();
    value["transactions"] = Value::Array(vec![one; 20_001]);
    let error = parse(Chain::Regtest, &value).unwrap_err();
    assert!(error.to_string().contains("more than 20000 transactions"), "{error}");
}

#[test]
fn optional_fields_may_be_absent_and_a_long_poll_id_is_not_kept_at_any_length() {
    let mut value = regtest();
    for key in ["target", "longpollid", "default_witness_commitment", "rules"] {
        value.as_object_mut().unwrap().remove(key);
    }
    let parsed = parse(Chain::Regtest, &value).unwrap();
    assert_eq!((parsed.long_poll_id, parsed.template.witness_commitment, parsed.template.segwit), (None, None, false));
    value["longpollid"] = json!("x".repeat(100_000));
    assert_eq!(parse(Chain::Regtest, &value).unwrap().long_poll_id, None);
}

#[test]
fn segwit_is_active_when_the_rules_say_so_or_there_is_a_commitment() {
    for (rules, commitment, segwit) in [
        (json!(["csv", "!segwit"]), true, true),
        (json!(["csv", "segwit"]), false, true),
        (json!(["csv"]), true, true),
        (json!(["csv"]), false, false),
    ] {
        let mut value = regtest();
        value["rules"] = rules.clone();
        if !commitment {
            value.as_object_mut().unwrap().remove("default_witness_commitment");
        }
        assert_eq!(parse(Chain::Regtest, &value).unwrap().template.segwit, segwit, "{rules} {commitment}");
    }
}

#[test]
fn a_transaction_is_checked_again_when_it_is_not_the_one_known_by_its_hash() {
    let mut parser = TemplateParser::new(Chain::Regtest);
    parser.parse(REGTEST.as_bytes()).unwrap();
    let mut value = regtest();
    value["transactions"][1]["txid"] = json!("11".repeat(32));
    let error = parser.parse(value.to_string().as_bytes()).unwrap_err();
    assert_eq!(error, Error::Transaction { index: 1, what: "its txid is not that of its data" });
}

#[test]
fn negative_block_versions_keep_their_bits() {
    let mut value = regtest();
    value["version"] = json!(-1);
    assert_eq!(parse(Chain::Regtest, &value).unwrap().template.version, u32::MAX);
}

#[test]
fn targets_are_expanded_as_consensus_does() {
    for (bits, expected) in [
        (0x1d00_ffff, Some((3, "00000000ffff"))),
        (0x207f_ffff, Some((0, "7fffff"))),
        (0x0300_1234, Some((29, ""))),
        (0x0112_3456, Some((31, ""))),
        (0x0012_3456, None),
        (0x2100_7fff, Some((0, "7fff"))),
        (0x2101_0000, None),
        (0x0480_0001, None),
    ] {
        let target = expand(bits);
        assert_eq!(target.is_some(), expected.is_some(), "{bits:08x}: {target:?}");
        if let (Some(target), Some((zeros, head))) = (target, expected) {
            assert!(target[..zeros].iter().all(|b| *b == 0), "{bits:08x}: {target:?}");
            assert!(const_hex::encode(target).starts_with(head), "{bits:08x}: {target:?}");
        }
    }
    assert_eq!(expand(0x0112_3456).unwrap()[31], 0x12);
}

#[test]
fn the_subsidy_halves_and_ends() {
    for (chain, height, expected) in [
        (Chain::Mainnet, 1, 5_000_000_000),
        (Chain::Mainnet, 209_999, 5_000_000_000),
        (Chain::Mainnet, 210_000, 2_500_000_000),
        (Chain::Regtest, 150, 2_500_000_000),
        (Chain::Mainnet, 210_000 * 33, 0),
        (Chain::Mainnet, 210_000 * 64, 0),
        (Chain::Regtest, u32::MAX, 0),
    ] {
        assert_eq!(chain.subsidy(height), expected, "{chain} {height}");
    }
}

/// Any JSON, also such that has a template's field names.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,80}".prop_map(Value::from),
        "[0-9a-f]{64}".prop_map(Value::from),
        "[0-9a-f]{8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 16, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_field_value_makes_the_parser_panic(field in 0_usize..32, in_tx in any::<bool>(), value in any_value()) {
        let mut template = regtest();
        let object = if in_tx { &mut template["transactions"][1] } else { &mut template };
        let object = object.as_object_mut().unwrap();
        let key = object.keys().nth(field % object.len()).unwrap().clone();
        object.insert(key, value);
        let _ = parse(Chain::Regtest, &template);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(cut in 0_usize..3000, place in 0_usize..3000, bytes in prop::collection::vec(any::<u8>(), 0..8)) {
        let mut text = REGTEST.as_bytes().to_vec();
        let place = place % text.len();
        text.splice(place..(place + bytes.len()).min(text.len()), bytes.iter().copied());
        text.truncate(text.len().saturating_sub(cut % 1500));
        let mut parser = TemplateParser::new(Chain::Regtest);
        // Whatever was accepted is parsed again the same.
        if let Ok(first) = parser.parse(&text) {
            prop_assert_eq!(parser.parse(&text).unwrap().template, first.template);
        }
    }

    #[test]
    fn hashes_are_displayed_as_they_are_read(hash in any::<[u8; 32]>()) {
        prop_assert_eq!(display_hash(hash_display(&hash).as_bytes()), Some(hash));
    }
}
