//! Blocks that Core accepts: with every kind of transaction in them, at every height, to every kind of address.

use std::collections::HashSet;

use bitcoin::{Amount, Block, BlockHash, Network, ScriptBuf, Sequence, absolute};
use serde_json::json;
use warppool_sim::miner::{Budget, Persona};
use warppool_tests::bitcoind::{Bitcoind, hash};
use warppool_tests::hand::Hand;
use warppool_tests::pool::{NodeLine, Pool, Settings};
use warppool_tests::wait::{LONG, hold, until};
use warppool_tests::wallet::{Kind, Sent, Wallet};
use warppool_tests::{content, listener, miner};

/// What a block is to be.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    pub height: u32,
    pub subsidy: Amount,
    pub sent: &'a [Sent],
    pub payee: ScriptBuf,
    /// Others' parts in parts per million.
    pub cuts: Vec<(ScriptBuf, u64)>,
}

impl Expected<'_> {
    /// Takes the block apart, as the chain has it.
    #[track_caller]
    pub fn check(&self, block: &Block) {
        let coinbase = &block.txdata[0];
        let transactions: HashSet<_> = block.txdata[1..].iter().map(bitcoin::Transaction::compute_txid).collect();
        let sent: HashSet<_> = self.sent.iter().map(|sent| sent.txid).collect();
        assert_eq!(transactions, sent, "all that was sent is in the block, and nothing else");

        let value = self.subsidy + self.sent.iter().map(|sent| sent.fee).sum::<Amount>();
        let paid = coinbase.output.iter().filter(|output| !output.script_pubkey.is_op_return());
        let paid: Vec<_> = paid.map(|output| (output.script_pubkey.clone(), output.value)).collect();
        let cuts = self.cuts.iter().map(|(script, ppm)| (script.clone(), value * *ppm / 1_000_000));
        let mut expected: Vec<_> = cuts.collect();
        let rest = value - expected.iter().map(|(_, value)| *value).sum::<Amount>();
        expected.insert(0, (self.payee.clone(), rest));
        assert_eq!(paid, expected, "the outputs to the satoshi");

        let input = &coinbase.input[0];
        let height = bitcoin::script::Builder::new().push_int(self.height.into()).into_script();
        assert!(input.script_sig.as_bytes().starts_with(height.as_bytes()), "BIP34 at {}", self.height);
        let tag = b"WarpPool";
        assert!(input.script_sig.as_bytes().windows(tag.len()).any(|part| part == tag), "{}", input.script_sig);
        assert_eq!(coinbase.lock_time, absolute::LockTime::from_consensus(self.height - 1), "BIP54");
        assert_ne!(input.sequence, Sequence::MAX, "BIP54");
    }
}

/// Of a regtest block.
pub fn subsidy(height: u32) -> Amount {
    Amount::from_sat(5_000_000_000 >> (height / 150))
}

/// An address nobody has the key of.
pub const NOBODY: &str = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202";

/// Coins of every kind, mature, on a chain of somebody else's blocks.
pub async fn with_coins(node: &Bitcoind, wallet: &Wallet, of_each: u32) {
    for kind in Kind::ALL {
        node.generate(of_each, &wallet.address(kind).to_string()).await;
    }
    node.generate(100, NOBODY).await;
}

/// A block without transactions: the template after it has the whole mempool.
pub async fn empty_block(node: &Bitcoind) -> BlockHash {
    hash(&node.rpc("generateblock", json!([NOBODY, []])).await["hash"])
}

async fn a_full_mempool_becomes_a_block(rolling: bool) {
    let node = Bitcoind::regtest().await;
    let wallet = Wallet::new(Network::Regtest);
    with_coins(&node, &wallet, 4).await;
    let pool = Pool::start(Settings::new("regtest", [NodeLine::of("core", &node)])).await;
    let target = pool.target().await;
    let payee = wallet.address(Kind::P2wpkh);
    let strict = listener(target.clone(), &format!("{payee}.strict"), Persona::NerdminerV2);
    let user = format!("{payee}.finder");
    let mut hand =
        if rolling { Hand::connect_rolling(&target, &user).await } else { Hand::connect(&target, &user).await };

    let sent = wallet.fill(&node, &wallet.coins(&node).await).await;
    assert!(sent.len() > 60, "dozens of transactions, {}", sent.len());
    let tip = empty_block(&node).await;
    let found = hand.find_on(tip).await;
    let shown = pool.fate(found, "confirmed").await;
    assert_eq!(node.tip().await, found);

    let block = node.block(found).await;
    let height = node.height().await;
    let expected =
        Expected { height, subsidy: subsidy(height), sent: &sent, payee: payee.script_pubkey(), cuts: Vec::new() };
    expected.check(&block);
    if rolling {
        assert_ne!(block.header.version.to_consensus() & 0x1fff_e000, 0, "the version was rolled");
    }
    assert_eq!(shown["height"], height);
    assert_eq!(shown["worker"], user.as_str());
    assert_eq!(shown["address"], payee.to_string());
    assert_eq!(shown["value_sat"], block.txdata[0].output[0].value.to_sat());
    assert_eq!(pool.worker(&user).await["blocks_found"], 1);
    hand.job_on(found).await;
    content(&strict.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_with_transactions_of_every_kind_is_accepted() {
    a_full_mempool_becomes_a_block(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_found_with_a_rolled_version_is_accepted() {
    a_full_mempool_becomes_a_block(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_mined_from_its_genesis_block_on() {
    let node = Bitcoind::regtest().await;
    let wallet = Wallet::new(Network::Regtest);
    let pool = Pool::start(Settings::new("regtest", [NodeLine::of("core", &node)])).await;
    let payee = wallet.address(Kind::TaprootKey);
    let mut hand = Hand::connect(&pool.target().await, &payee.to_string()).await;
    let mut tip = node.tip().await;
    for height in 1..=18 {
        tip = hand.find_on(tip).await;
        pool.fate(tip, "confirmed").await;
        let expected =
            Expected { height, subsidy: subsidy(height), sent: &[], payee: payee.script_pubkey(), cuts: Vec::new() };
        expected.check(&node.block(tip).await);
    }
    assert_eq!((node.height().await, node.tip().await), (18, tip));
    assert_eq!(pool.overview().await["blocks_found"], 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_every_honest_persona_are_accepted() {
    let node = Bitcoind::regtest().await;
    node.generate(5, NOBODY).await;
    // Whatever a device asks for, every share it finds is a block.
    let settings = Settings::new("regtest", [NodeLine::of("core", &node)]).with("vardiff.max_diff", "1e-9");
    let pool = Pool::start(settings).await;
    let target = pool.target().await;
    // One after another: each mines on the tip of the one before.
    for persona in Persona::honest() {
        let user = format!("{NOBODY}.{persona}");
        let miner = miner(target.clone(), &user, persona, Budget::SharesPerSecond(2.0));
        // It may find two on the same tip, of which one counts: so it goes on until two do.
        until(LONG, format!("two blocks of {persona} are in Core's chain"), async || {
            let blocks = pool.blocks().await;
            let own = blocks.iter().filter(|block| block["worker"] == user.as_str());
            let confirmed = own.clone().filter(|block| block["fate"] == "confirmed").count();
            hold(confirmed >= 2, (), format!("{:?}", own.collect::<Vec<_>>()))
        })
        .await;
        let stats = miner.stop().await;
        content(&stats);
        assert!(stats.blocks >= 2, "{persona}: {stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_address_is_paid_and_fee_and_donation_are_exact() {
    let node = Bitcoind::regtest().await;
    let wallet = Wallet::new(Network::Regtest);
    with_coins(&node, &wallet, 2).await;
    let fee = "bcrt1q2nfxmhd4n3c8834pj72xagvyr9gl57n5r94fsl";
    let donation = wallet.address(Kind::Nested);
    let script = |address: &str| {
        let address: bitcoin::Address<_> = address.parse().unwrap();
        bitcoin::Address::require_network(address, Network::Regtest).unwrap().script_pubkey()
    };
    let settings = Settings::new("regtest", [NodeLine::of("core", &node)])
        .with("mining.pool_fee_percent", "1.37")
        .with("mining.pool_fee_address", format!("'{fee}'"))
        .with("mining.operator_donation_percent", "0.0503")
        .with("mining.operator_donation_address", format!("'{donation}'"))
        .with("mining.payout_address", format!("'{NOBODY}'"));
    let pool = Pool::start(settings).await;
    let target = pool.target().await;
    let cuts = vec![(script(fee), 13_700), (donation.script_pubkey(), 503)];

    let kinds = [Kind::P2pkh, Kind::P2sh, Kind::P2wpkh, Kind::P2wsh, Kind::TaprootScript];
    let mut users: Vec<_> =
        kinds.map(|kind| (wallet.address(kind).to_string(), wallet.address(kind).script_pubkey())).into();
    // In upper case, as some firmware sends it; and a plain name, which is the operator's.
    users.push((
        wallet.address(Kind::TaprootKey).to_string().to_uppercase(),
        wallet.address(Kind::TaprootKey).script_pubkey(),
    ));
    users.push(("rig1".into(), script(NOBODY)));
    let coins = wallet.coins(&node).await;
    for (n, (user, payee)) in users.into_iter().enumerate() {
        // Fees that are no round number, so that nothing divides evenly.
        let sent = wallet.fill(&node, &coins[n..=n]).await;
        let tip = empty_block(&node).await;
        let mut hand = Hand::connect(&target, &user).await;
        let found = hand.find_on(tip).await;
        let shown = pool.fate(found, "confirmed").await;
        let height = node.height().await;
        let expected = Expected { height, subsidy: subsidy(height), sent: &sent, payee, cuts: cuts.clone() };
        let block = node.block(found).await;
        expected.check(&block);
        let paid: Vec<u64> =
            shown["payouts"].as_array().unwrap().iter().map(|p| p["value_sat"].as_u64().unwrap()).collect();
        let in_chain: Vec<u64> = block.txdata[0].output.iter().map(|output| output.value.to_sat()).collect();
        assert_eq!(paid, in_chain[..3], "the block list says what the chain has");
    }
}
