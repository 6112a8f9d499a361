//! Blocks that exist, put together again from their parts.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use warppool_work::hash::{merkle_branches, merkle_root, sha256d, sha256d_pair};
use warppool_work::{Hash, Target, difficulty_of_hash};

/// From the form hashes are displayed in.
fn displayed(hex: &str) -> Hash {
    let mut bytes: Hash = hex::decode(hex).unwrap().try_into().unwrap();
    bytes.reverse();
    bytes
}

#[test]
fn mainnet_block_100000_comes_out_of_its_parts() {
    let txids = [
        "8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87",
        "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
        "6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
        "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
    ]
    .map(displayed);
    let root = merkle_root(txids[0], &merkle_branches(&txids[1..]));
    assert_eq!(root, displayed("f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766"));

    let mut header = Vec::new();
    header.extend_from_slice(&1u32.to_le_bytes());
    header.extend_from_slice(&displayed("000000000002d01c1fccc21636b607dfd930d31d01c3a62104612a1719011250"));
    header.extend_from_slice(&root);
    for field in [1_293_623_863u32, 0x1b04_864c, 274_148_111] {
        header.extend_from_slice(&field.to_le_bytes());
    }
    let hash = sha256d(&header);
    assert_eq!(hash, displayed("000000000003ba27aa200b1cecaad478d2b00432346c3f1f3986da1afd33e506"));
    let target = Target::from_compact(0x1b04_864c).unwrap();
    assert!(target.is_met_by(&hash));
    assert!((target.difficulty() - 14_484.162_361_228_22).abs() < 1e-6, "{}", target.difficulty());
    assert!(difficulty_of_hash(&hash) > target.difficulty());
}

/// Testnet block 1263442, a vector of BIP158: two transactions, one with a witness.
const SEGWIT_BLOCK: &str = "\
    000000201c8d1a529c39a396db2db234d5ec152fa651a2872966daccbde028b400000000083f14492679151dbfaa1a825ef4\
    c18518e780c1f91044180280a7d33f4a98ff5f45765aaddc001d38333b9a0201000000000101000000000000000000000000\
    0000000000000000000000000000000000000000ffffffff230352471300fe5f45765afe94690a000963676d696e65723432\
    08000000000000000000ffffffff024423a804000000001976a914f2c25ac3d59f3d674b1d1d0a25c27339aaac0ba688ac00\
    00000000000000266a24aa21a9edcb26cb3052426b9ebb4d19c819ef87c19677bbf3a7c46ef0855bd1b2abe8349101200000\
    0000000000000000000000000000000000000000000000000000000000000000000002000000000101d20978463906ba4ff5\
    e7192494b88dd5eb0de85d900ab253af909106faa22cc5010000000004000000014777ff000000000016001446c29eabe820\
    8a33aa1023c741fa79aa92e881ff0347304402207d7ca96134f2bcfdd6b536536fdd39ad17793632016936f777ebb32c2294\
    3fda02206014d2fb8a6aa58279797f861042ba604ebd2f8f61e5bddbd9d3be5a245047b201004b632103eeaeba7ce5dc2470\
    221e9517fb498e8d6bd4e73b85b8be655196972eb9ccd5566754b2752103a40b74d43df244799d041f32ce1ad515a6cd9950\
    1701540e38750d883ae21d3a68ac00000000\
";

#[test]
fn a_segwit_block_has_the_root_and_the_commitment_we_compute() {
    let raw = hex::decode(SEGWIT_BLOCK.trim()).unwrap();
    let block: bitcoin::Block = deserialize(&raw).unwrap();
    assert_eq!(sha256d(&raw[..80]), displayed("000000006f27ddfe1dd680044a34548f41bed47eba9e6f0b310da21423bc5f33"));

    let txids: Vec<Hash> = block.txdata.iter().map(|tx| tx.compute_txid().to_byte_array()).collect();
    assert_eq!(merkle_root(txids[0], &merkle_branches(&txids[1..])), block.header.merkle_root.to_byte_array());

    let wtxids: Vec<Hash> = block.txdata[1..].iter().map(|tx| tx.compute_wtxid().to_byte_array()).collect();
    assert!(!block.txdata[1].input[0].witness.is_empty());
    let commitment = sha256d_pair(&merkle_root([0; 32], &merkle_branches(&wtxids)), &[0; 32]);
    let committed = block.txdata[0]
        .output
        .iter()
        .find(|output| output.script_pubkey.as_bytes().starts_with(&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed]));
    assert_eq!(committed.unwrap().script_pubkey.as_bytes()[6..], commitment);
    assert_eq!(serialize(&block), raw);
}

mod template;

#[test]
fn a_job_commits_to_its_witnesses_as_the_library_does_also_after_dropping_transactions() {
    for (count, limit) in [(0, 4_000_000), (1, 4_000_000), (7, 4_000_000), (40, 12_000), (40, 2_000)] {
        let mut offered = template::template(count);
        offered.weight_limit = limit;
        let factory = template::factory();
        let offered = Arc::new(offered);
        let job = factory.build(&offered, true).unwrap();
        let coinbase = job.coinbase(&template::payout()).unwrap();
        let (en1, en2) = ([1; 4], [2; 8]);
        let root = merkle_root(coinbase.txid(en1, en2), &job.branches);
        let header = job.header(job.version, &root, job.time, 0);
        let block: bitcoin::Block = deserialize(&job.block(&coinbase, &header, en1, en2)).unwrap();
        assert_eq!(block.txdata.len(), job.transactions + 1);
        assert!(block.check_merkle_root() && block.check_witness_commitment(), "{count} transactions");
        assert_eq!(block.bip34_block_height().unwrap(), u64::from(offered.height));
        assert!(block.weight().to_wu() <= u64::from(limit), "{} of {limit}", block.weight());
        let fees: u64 = offered.transactions[..job.transactions].iter().map(|tx| tx.fee).sum();
        let paid: u64 = block.txdata[0].output.iter().map(|output| output.value.to_sat()).sum();
        assert_eq!(paid, template::SUBSIDY + fees, "no satoshi more or less than the kept transactions allow");
        assert_eq!(job.transactions == count, limit == 4_000_000 || count == 0);
    }
}
