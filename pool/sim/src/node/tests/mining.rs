//! The methods a pool lives on: templates that are whole and right, and submissions answered as Core answers them.

use std::time::Duration;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, Block, Network, Transaction, Witness, consensus};
use serde_json::{Value, json};

use super::{Draft, NOW, call, next, node, submit, template, to_hex};
use crate::node::{Options, Origin, Submission};

#[tokio::test]
async fn a_template_says_all_that_core_says() {
    let node = node(Options { transactions: 300, ..Options::default() }).await;
    let template = template(&node).await;
    let known = [
        ("capabilities", json!(["proposal"])),
        ("version", json!(0x2000_0000)),
        ("rules", json!(["csv", "!segwit", "taproot"])),
        ("vbavailable", json!({})),
        ("vbrequired", json!(0)),
        ("previousblockhash", json!(node.tip().to_string())),
        ("coinbaseaux", json!({})),
        ("target", json!(format!("7fffff{}", "0".repeat(58)))),
        ("mutable", json!(["time", "transactions", "prevblock"])),
        ("noncerange", json!("00000000ffffffff")),
        ("sigoplimit", json!(80_000)),
        ("sizelimit", json!(4_000_000)),
        ("weightlimit", json!(4_000_000)),
        ("curtime", json!(NOW)),
        ("bits", json!("207fffff")),
        ("height", json!(21)),
    ];
    for (field, value) in known {
        assert_eq!(template[field], value, "{field}");
    }
    let median = node.with_state(|state| state.median_time_past(&state.tip()));
    assert_eq!(template["mintime"], median + 1);
    assert!(template["longpollid"].as_str().unwrap().starts_with(&node.tip().to_string()));

    let transactions = template["transactions"].as_array().unwrap();
    assert_eq!(transactions.len(), 300);
    let mut fees = 0;
    let mut depending = 0;
    for (place, entry) in transactions.iter().enumerate() {
        let raw = hex::decode(entry["data"].as_str().unwrap()).unwrap();
        let tx: Transaction = consensus::deserialize(&raw).unwrap();
        assert_eq!(entry["txid"], tx.compute_txid().to_string());
        assert_eq!(entry["hash"], tx.compute_wtxid().to_string());
        assert_eq!(entry["weight"], tx.weight().to_wu());
        assert!(entry["sigops"].is_u64());
        fees += entry["fee"].as_u64().unwrap();
        for parent in entry["depends"].as_array().unwrap() {
            let parent = parent.as_u64().unwrap() as usize;
            assert!((1..=place).contains(&parent));
            let parent = &transactions[parent - 1]["txid"];
            assert!(tx.input.iter().any(|input| *parent == input.previous_output.txid.to_string()));
            depending += 1;
        }
    }
    assert!(depending > 20, "{depending}");
    assert_eq!(template["coinbasevalue"], 5_000_000_000_u64 + fees);
    let block = next(&node);
    let commitment = block.txdata[0].output[1].script_pubkey.to_hex_string();
    assert_eq!(template["default_witness_commitment"], commitment);
}

#[tokio::test]
async fn a_block_built_from_the_template_alone_is_accepted() {
    let node = node(Options { transactions: 50, refill: false, ..Options::default() }).await;
    let template = template(&node).await;
    let mut draft = node.with_state(|state| Draft::on(state, state.tip(), &[]));
    draft.commit = false;
    let script = hex::decode(template["default_witness_commitment"].as_str().unwrap()).unwrap();
    draft.coinbase().output[1].script_pubkey = script.into();
    draft.coinbase().output[0].value = Amount::from_sat(template["coinbasevalue"].as_u64().unwrap());
    for entry in template["transactions"].as_array().unwrap() {
        let raw = hex::decode(entry["data"].as_str().unwrap()).unwrap();
        draft.block.txdata.push(consensus::deserialize(&raw).unwrap());
    }
    let mut tips = node.tips();
    let block = draft.seal();
    assert_eq!(submit(&node, &block).await, Value::Null);
    assert!(tips.has_changed().unwrap());
    assert_eq!(tips.borrow_and_update().hash, block.block_hash());
    assert_eq!(node.height(), 21);
    let last = node.blocks().pop().unwrap();
    assert_eq!((last.hash, last.origin, last.transactions), (block.block_hash(), Origin::Submitted, 51));
    assert_eq!(last.coinbase, block.txdata[0]);
    let info = call(&node, "getmempoolinfo", json!([])).await.unwrap();
    assert_eq!(info["size"], 0);
}

#[tokio::test]
async fn getblocktemplate_demands_what_core_demands() {
    let node = node(Options::default()).await;
    let segwit = "getblocktemplate must be called with the segwit rule set (call with {\"rules\": [\"segwit\"]})";
    let wrong = "Wrong type passed:\n{\n    \"Position 1 (template_request)\": \
                 \"JSON value of type string is not of expected type object\"\n}";
    let length = "longpollid must be of length 64 (not 3, for 'abc')";
    for (params, code, message) in [
        (json!([]), -1, "the parameter template_request is missing"),
        (json!([{}]), -8, segwit),
        (json!([{ "rules": ["csv"] }]), -8, segwit),
        (json!([{ "rules": ["segwit"], "mode": "guess" }]), -8, "Invalid mode"),
        (json!([{ "rules": ["segwit"], "mode": 5 }]), -8, "Invalid mode"),
        (json!([{ "rules": ["segwit"], "longpollid": "abc" }]), -8, length),
        (json!(["segwit"]), -3, wrong),
    ] {
        let answer = call(&node, "getblocktemplate", params.clone()).await;
        assert_eq!(answer, Err((code, message.to_owned())), "{params}");
    }
    let named = json!({ "template_request": { "rules": ["segwit"] } });
    assert!(call(&node, "getblocktemplate", named).await.is_ok());
}

#[tokio::test]
async fn a_signet_template_needs_and_names_its_rule() {
    let node = node(Options { chain: Network::Signet, ..Options::default() }).await;
    let (code, message) = call(&node, "getblocktemplate", json!([{ "rules": ["segwit"] }])).await.unwrap_err();
    assert_eq!(code, -8);
    assert!(message.contains("signet rule set"), "{message}");
    let template = call(&node, "getblocktemplate", json!([{ "rules": ["segwit", "signet"] }])).await.unwrap();
    assert_eq!(template["rules"], json!(["csv", "!segwit", "taproot", "!signet"]));
    assert_eq!(template["signet_challenge"], "51");
}

#[tokio::test]
async fn submitblock_answers_as_core_does() {
    let node = node(Options { refill: false, ..Options::default() }).await;
    let fork = node.tip();
    let block = next(&node);
    let mut spoilt = node.with_state(Draft::next);
    spoilt.coinbase().output[0].value += Amount::from_sat(1);
    assert_eq!(submit(&node, &spoilt.seal()).await, "bad-cb-amount");
    assert_eq!(submit(&node, &block).await, Value::Null);
    assert_eq!(submit(&node, &block).await, "duplicate");
    let mut side = node.with_state(|state| Draft::on(state, fork, &[]));
    side.script_sig(&[1, 21, 9]);
    let side = side.seal();
    assert_eq!(submit(&node, &side).await, "inconclusive");
    let mut old = node.with_state(Draft::next);
    old.block.header.version = bitcoin::block::Version::from_consensus(2);
    assert_eq!(submit(&node, &old.seal()).await, "bad-version(0x00000002)");
    let mut orphan = node.with_state(Draft::next);
    orphan.block.header.prev_blockhash = bitcoin::BlockHash::all_zeros();
    assert_eq!(submit(&node, &orphan.seal()).await, "prev-blk-not-found");
    let remembered = node.submissions();
    assert_eq!(remembered.len(), 6);
    assert_eq!(remembered[1], Submission { hash: block.block_hash(), answer: None });
    assert_eq!(remembered[3], Submission { hash: side.block_hash(), answer: Some("inconclusive".to_owned()) });
}

#[tokio::test]
async fn submitblock_adds_the_coinbase_witness_that_is_missing() {
    let node = node(Options::default()).await;
    let mut block = next(&node);
    block.txdata[0].input[0].witness = Witness::new();
    assert_eq!(submit(&node, &block).await, Value::Null);
    let stored = call(&node, "getblock", json!([block.block_hash().to_string(), 0])).await.unwrap();
    let stored: Block = consensus::deserialize(&hex::decode(stored.as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(stored.txdata[0].input[0].witness, Witness::from_slice(&[[0; 32]]));
}

#[tokio::test]
async fn what_is_no_block_does_not_decode() {
    let node = node(Options::default()).await;
    let block = to_hex(&next(&node));
    let failed = Err((-22, "Block decode failed".to_owned()));
    for data in ["", "zz", "0", &block[..block.len() - 2], &block[..160], &block[1..]] {
        assert_eq!(call(&node, "submitblock", json!([data])).await, failed, "{data:.20}");
    }
    let (code, _) = call(&node, "submitblock", json!([5])).await.unwrap_err();
    assert_eq!(code, -3);
    let (code, _) = call(&node, "submitblock", json!([])).await.unwrap_err();
    assert_eq!(code, -1);
    // Core reads a block and ignores what follows it.
    assert_eq!(call(&node, "submitblock", json!([format!("{block}00"), "ignored"])).await, Ok(Value::Null));
}

#[tokio::test]
async fn a_proposal_is_judged_without_work() {
    let node = node(Options::default()).await;
    let propose = async |block: &Block| {
        call(&node, "getblocktemplate", json!([{ "mode": "proposal", "data": to_hex(block) }])).await.unwrap()
    };
    let mut draft = node.with_state(Draft::next);
    draft.work = false;
    assert_eq!(propose(&draft.seal()).await, Value::Null);
    let mut draft = node.with_state(Draft::next);
    draft.coinbase().output[0].value += Amount::from_sat(1);
    assert_eq!(propose(&draft.seal()).await, "bad-cb-amount");
    let block = next(&node);
    submit(&node, &block).await;
    assert_eq!(propose(&block).await, "duplicate");
    let mut stale = node.with_state(|state| Draft::on(state, block.header.prev_blockhash, &[]));
    stale.script_sig(&[1, 21, 4]);
    assert_eq!(propose(&stale.seal()).await, "inconclusive-not-best-prevblk");
}

#[tokio::test]
async fn a_refused_block_is_known_and_not_in_the_chain() {
    let node = node(Options::default()).await;
    let mut draft = node.with_state(Draft::next);
    draft.coinbase().output[0].value += Amount::from_sat(1);
    let bad = draft.seal();
    assert_eq!(submit(&node, &bad).await, "bad-cb-amount");
    let header = call(&node, "getblockheader", json!([bad.block_hash().to_string()])).await.unwrap();
    assert_eq!(header["confirmations"], -1);
    assert_eq!(submit(&node, &bad).await, "duplicate-invalid");
}

#[tokio::test]
async fn generatetoaddress_mines_the_mempool_to_the_address() {
    let node = node(Options { refill: false, ..Options::default() }).await;
    let address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    let hashes = call(&node, "generatetoaddress", json!([3, address])).await.unwrap();
    assert_eq!(hashes.as_array().unwrap().len(), 3);
    assert_eq!(hashes[2], node.tip().to_string());
    assert_eq!(node.height(), 23);
    let blocks = node.blocks();
    assert_eq!(blocks[21].transactions, 21);
    assert_eq!(blocks[22].transactions, 1);
    assert_eq!(
        blocks[21].coinbase.output[0].script_pubkey.to_hex_string(),
        "0014751e76e8199196d454941c45d1b3a323f1433bd6"
    );
    for bad in ["nonsense", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"] {
        let answer = call(&node, "generatetoaddress", json!([1, bad])).await;
        assert_eq!(answer, Err((-5, "Error: Invalid address".to_owned())), "{bad}");
    }
    assert_eq!(call(&node, "generatetoaddress", json!([-1, address])).await.unwrap_err().0, -8);
}

#[tokio::test]
async fn a_long_poll_waits_for_a_tip_or_for_transactions() {
    let node = node(Options { refill: false, ..Options::default() }).await;
    let id = template(&node).await["longpollid"].clone();
    let long_poll = |id: &Value| {
        let (node, params) = (node.clone(), json!([{ "rules": ["segwit"], "longpollid": id }]));
        tokio::spawn(async move { call(&node, "getblocktemplate", params).await.unwrap() })
    };
    let mut poll = long_poll(&id);
    let early = tokio::time::timeout(Duration::from_millis(60), &mut poll).await;
    assert!(early.is_err(), "nothing happened yet");
    node.add_transactions(5).await;
    let woken = poll.await.unwrap();
    assert_eq!(woken["transactions"].as_array().unwrap().len(), 25);
    assert_ne!(woken["longpollid"], id);

    let poll = long_poll(&woken["longpollid"]);
    let tip = node.mine_block().await;
    let woken = poll.await.unwrap();
    assert_eq!(woken["previousblockhash"], tip.to_string());
    assert_eq!(woken["height"], 22);
    let stale = long_poll(&id).await.unwrap();
    assert_eq!(stale["previousblockhash"], tip.to_string(), "an id of another tip is answered at once");
}

#[tokio::test]
async fn the_seed_decides_the_chain_and_the_templates() {
    let run = |seed| async move {
        let node = node(Options { seed, transactions: 30, ..Options::default() }).await;
        node.mine_block().await;
        let template = template(&node).await;
        node.shutdown().await;
        template
    };
    let (one, same, other) = tokio::join!(run(4), run(4), run(5));
    assert_eq!(one, same);
    assert_ne!(one["previousblockhash"], other["previousblockhash"]);
}

#[tokio::test]
async fn with_a_target_out_of_reach_the_node_extends_by_fiat_and_miners_cannot() {
    let node = node(Options { bits: 0x1903_a30c, ..Options::default() }).await;
    assert_eq!(node.height(), 20);
    let tip = node.mine_block().await;
    let template = template(&node).await;
    assert_eq!(template["previousblockhash"], tip.to_string());
    assert_eq!(template["bits"], "1903a30c");
    let mut draft = node.with_state(Draft::next);
    draft.work = false;
    assert_eq!(submit(&node, &draft.seal()).await, "high-hash");
    let mut easy = node.with_state(Draft::next);
    easy.block.header.bits = bitcoin::CompactTarget::from_consensus(0x207f_ffff);
    assert_eq!(submit(&node, &easy.seal()).await, "bad-diffbits");
}

#[tokio::test]
async fn the_mempool_is_full_again_after_a_block() {
    let node = node(Options { transactions: 40, ..Options::default() }).await;
    let before = template(&node).await;
    node.mine_block().await;
    let after = template(&node).await;
    assert_eq!(after["transactions"].as_array().unwrap().len(), 40);
    assert_ne!(before["transactions"][0]["txid"], after["transactions"][0]["txid"]);
}

#[tokio::test]
async fn a_full_template_is_rendered_once_and_shared_by_all_who_ask() {
    let node = node(Options { transactions: 4_000, ..Options::default() }).await;
    let one = node.shared.template(None).await.unwrap();
    let body = template(&node).await;
    assert_eq!(body["transactions"].as_array().unwrap().len(), 4_000);
    let two = node.shared.template(None).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&one, &two));
    node.mine_block().await;
    let three = node.shared.template(None).await.unwrap();
    assert_ne!(one.longpollid, three.longpollid);
    assert_eq!(node.blocks().last().unwrap().transactions, 4_001);
}
