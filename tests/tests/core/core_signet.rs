//! Mining with work that counts: on a signet of our own a block takes five million hashes.

use bitcoin::blockdata::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, BlockHash, Network, Target};
use warppool_sim::miner::Persona;
use warppool_tests::bitcoind::Bitcoind;
use warppool_tests::hand::Hand;
use warppool_tests::pool::{NodeLine, Pool, Settings};
use warppool_tests::wallet::{Kind, Wallet};
use warppool_tests::{content, listener, signet};

use crate::core_blocks::Expected;

/// Prints the nonces for `src/signet.nonces`; only needed when the blocks of the chain are to change.
#[test]
#[ignore = "grinds for minutes"]
fn the_nonces_of_the_signet_chain() {
    let mut prev = genesis_block(Network::Signet).block_hash();
    for height in 1..=signet::LENGTH as u32 {
        let header = signet::draft(height, prev).header;
        let target = Target::from_compact(header.bits);
        let mut bytes: [u8; 80] = bitcoin::consensus::serialize(&header).try_into().unwrap();
        let hash = |bytes: &mut [u8; 80], nonce: u32| {
            bytes[76..].copy_from_slice(&nonce.to_le_bytes());
            warppool_work::hash::sha256d_header(bytes)
        };
        let met = |hash: &[u8; 32]| hash[30..] == [0; 2] && target.is_met_by(BlockHash::from_byte_array(*hash));
        let nonce = (0..u32::MAX).find(|nonce| met(&hash(&mut bytes, *nonce))).unwrap();
        prev = BlockHash::from_byte_array(hash(&mut bytes, nonce));
        println!("{nonce:08x}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_with_transactions_are_accepted_on_a_signet_of_our_own() {
    let node = Bitcoind::open_signet().await;
    let wallet = Wallet::new(Network::Signet);
    for block in signet::chain() {
        assert_eq!(node.submit(&block).await, serde_json::Value::Null);
    }
    let sent = wallet.fill(&node, &wallet.coins(&node).await).await;
    assert!(sent.len() > 30, "{} transactions", sent.len());
    let pool = Pool::start(Settings::new("signet", [NodeLine::of("core", &node)])).await;
    let target = pool.target().await;
    let payee = wallet.address(Kind::TaprootScript);
    let strict = listener(target.clone(), &payee.to_string(), Persona::NerdminerV2);
    let mut hand = Hand::connect_rolling(&target, &payee.to_string()).await;

    let mut tip = node.tip().await;
    for sent in [&sent[..], &[]] {
        let job = hand.job_on(tip).await;
        assert_eq!(job.nbits, 0x1e03_77ae);
        let solution = hand.solve(&job, 2).await;
        let answer = hand.submit(&solution).await;
        assert_eq!(answer["result"], true, "{answer}");
        tip = solution.hash;
        pool.fate(tip, "confirmed").await;
        assert_eq!(node.tip().await, tip);
        let height = node.height().await;
        // Halvings are far away on a signet.
        let subsidy = Amount::from_int_btc(50);
        Expected { height, subsidy, sent, payee: payee.script_pubkey(), cuts: Vec::new() }
            .check(&node.block(tip).await);
    }
    content(&strict.stop().await);
}
