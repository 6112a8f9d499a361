//! Every reason a block is refused for, with a block that is wrong in exactly that; and the blocks that must pass.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::all::OP_CHECKSIG;
use bitcoin::{Amount, BlockHash, CompactTarget, OutPoint, ScriptBuf, TxIn, TxMerkleNode, TxOut, Txid, Witness};

use super::{Draft, NOW, state};
use crate::node::chain::{Accepted, Origin, State};
use crate::node::validate::{Pow, validate_block};

/// Judges the next block after this change to it.
#[track_caller]
fn judge(state: &State, change: impl FnOnce(&mut Draft)) -> Result<(), &'static str> {
    let mut draft = Draft::next(state);
    change(&mut draft);
    validate_block(state, &draft.seal())
}

#[track_caller]
fn refused(reason: &str, change: impl FnOnce(&mut Draft)) {
    // An even number of transactions, so that the last leaf of the tree stands alone.
    assert_eq!(judge(&state(30, 12), change), Err(reason));
}

#[track_caller]
fn good(change: impl FnOnce(&mut Draft)) {
    assert_eq!(judge(&state(30, 12), change), Ok(()));
}

fn checksigs(count: usize) -> TxOut {
    TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![OP_CHECKSIG.to_u8(); count]) }
}

/// A transaction with witnesses and the place it has in the draft.
fn witnessed(draft: &Draft) -> usize {
    let place = draft.block.txdata.iter().skip(1).position(|tx| !tx.input[0].witness.is_empty());
    1 + place.expect("a mempool of all kinds has one")
}

#[test]
fn a_block_built_by_hand_is_good() {
    good(|_| {});
}

#[test]
fn a_block_of_the_coinbase_alone_is_good_with_and_without_commitment() {
    let state = state(30, 12);
    let mut draft = Draft::on(&state, state.tip(), &[]);
    assert_eq!(validate_block(&state, &Draft::on(&state, state.tip(), &[]).seal()), Ok(()));
    draft.commit = false;
    draft.coinbase().output.truncate(1);
    draft.coinbase().input[0].witness.clear();
    assert_eq!(validate_block(&state, &draft.seal()), Ok(()));
}

#[test]
fn a_coinbase_may_claim_less_than_it_may() {
    good(|draft| draft.coinbase().output[0].value = Amount::from_sat(1));
}

#[test]
fn a_coinbase_may_have_more_outputs_and_any_reserved_value() {
    good(|draft| {
        draft.coinbase().output.push(checksigs(1));
        draft.coinbase().input[0].witness = Witness::from_slice(&[[9; 32]]);
    });
}

#[test]
fn of_several_commitments_the_last_counts() {
    good(|draft| {
        let decoy = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[7; 32]].concat();
        draft.coinbase().output[0] = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(decoy) };
    });
}

#[test]
fn a_block_may_be_as_early_or_late_as_the_rules_say() {
    good(|draft| draft.block.header.time = NOW + 7_200);
    let state = state(30, 0);
    let earliest = state.median_time_past(&state.tip()) + 1;
    assert_eq!(judge(&state, |draft| draft.block.header.time = earliest), Ok(()));
}

#[test]
fn heights_up_to_sixteen_are_one_opcode_and_later_ones_a_push() {
    for blocks in [0, 1, 14, 15, 16, 17, 126, 127, 128, 255] {
        let state = state(blocks, 0);
        assert_eq!(judge(&state, |_| {}), Ok(()), "height {}", blocks + 1);
        let height = blocks + 1;
        let pushed = if height < 128 { vec![1, height as u8, 0] } else { vec![1, height as u8, 0, 0] };
        let verdict = judge(&state, |draft| draft.script_sig(&pushed));
        let expected = if (17..128).contains(&height) { Ok(()) } else { Err("bad-cb-height") };
        assert_eq!(verdict, expected, "height {height} as {pushed:?}");
    }
}

#[test]
fn a_hash_above_the_target_is_a_high_hash() {
    refused("high-hash", |draft| draft.work = false);
}

#[test]
fn a_target_that_is_none_is_a_high_hash() {
    for bits in [0xff12_3456, 0x1d80_ffff, 0, 0x2100_ffff] {
        refused("high-hash", |draft| draft.block.header.bits = CompactTarget::from_consensus(bits));
    }
}

#[test]
fn a_root_of_other_transactions_is_refused() {
    refused("bad-txnmrklroot", |draft| {
        draft.root = false;
        draft.block.header.merkle_root = TxMerkleNode::all_zeros();
    });
    refused("bad-txnmrklroot", |draft| {
        draft.block.txdata.swap(2, 3);
        draft.root = false;
        draft.block.header.merkle_root = draft.block.compute_merkle_root().unwrap();
        draft.block.txdata.swap(2, 3);
    });
}

#[test]
fn a_list_repeated_without_a_change_of_the_root_is_refused() {
    let state = state(30, 12);
    let mut block = Draft::next(&state).seal();
    let root = block.header.merkle_root;
    block.txdata.push(block.txdata.last().unwrap().clone());
    assert_eq!(block.compute_merkle_root(), Some(root), "the attack is a real one");
    assert_eq!(validate_block(&state, &block), Err("bad-txns-duplicate"));
}

#[test]
fn a_block_of_nothing_or_too_much_is_refused() {
    refused("bad-blk-length", |draft| {
        draft.block.txdata.clear();
        draft.commit = false;
        draft.root = false;
    });
    refused("bad-blk-length", |draft| {
        draft.coinbase().output[0].script_pubkey = ScriptBuf::from_bytes(vec![0; 1_000_000]);
    });
}

#[test]
fn the_first_transaction_and_only_that_is_a_coinbase() {
    refused("bad-cb-missing", |draft| {
        draft.block.txdata.remove(0);
        draft.commit = false;
    });
    refused("bad-cb-multiple", |draft| {
        let mut second = draft.coinbase().clone();
        second.lock_time = LockTime::ZERO;
        draft.block.txdata.push(second);
    });
}

#[test]
fn a_transaction_has_inputs_and_outputs() {
    refused("bad-txns-vin-empty", |draft| draft.block.txdata[1].input.clear());
    refused("bad-txns-vout-empty", |draft| draft.block.txdata[1].output.clear());
}

#[test]
fn amounts_are_money() {
    let pay = |sats: u64| move |draft: &mut Draft| draft.block.txdata[1].output[0].value = Amount::from_sat(sats);
    refused("bad-txns-vout-negative", pay(1 << 63));
    refused("bad-txns-vout-toolarge", pay(2_100_000_000_000_001));
    refused("bad-txns-txouttotal-toolarge", |draft| {
        let money = TxOut { value: Amount::MAX_MONEY, script_pubkey: ScriptBuf::new() };
        draft.block.txdata[1].output = vec![money.clone(), money];
    });
}

#[test]
fn inputs_are_distinct_and_not_null() {
    refused("bad-txns-inputs-duplicate", |draft| {
        let again = draft.block.txdata[1].input[0].clone();
        draft.block.txdata[1].input.push(again);
    });
    refused("bad-txns-prevout-null", |draft| {
        draft.block.txdata[1].input.push(TxIn { previous_output: OutPoint::null(), ..TxIn::default() });
    });
}

#[test]
fn a_coinbase_script_has_two_to_a_hundred_bytes() {
    let script =
        |length: usize| move |draft: &mut Draft| draft.script_sig(&[&[1, 31][..], &vec![0; length - 2]].concat());
    refused("bad-cb-length", |draft| draft.script_sig(&[31]));
    refused("bad-cb-length", script(101));
    good(script(100));
    good(script(2));
}

#[test]
fn signature_operations_are_limited_with_and_without_the_witnesses() {
    refused("bad-blk-sigops", |draft| draft.coinbase().output.push(checksigs(20_001)));
    // 20,000 legacy ones are the limit exactly: whatever the transactions have is too much.
    let state = state(30, 12);
    let others: u64 = state.mempool().iter().map(|tx| tx.sigops).sum();
    assert!(others > 0);
    let most = (80_000 - others) as usize / 4;
    assert_eq!(judge(&state, |draft| draft.coinbase().output.push(checksigs(most))), Ok(()));
    let verdict = judge(&state, |draft| draft.coinbase().output.push(checksigs(most + 1)));
    assert_eq!(verdict, Err("bad-blk-sigops"));
}

#[test]
fn the_parent_must_be_known() {
    refused("prev-blk-not-found", |draft| draft.block.header.prev_blockhash = BlockHash::all_zeros());
}

#[test]
fn the_parent_must_be_good() {
    let mut state = state(30, 0);
    let mut draft = Draft::next(&state);
    draft.coinbase().output[0].value = Amount::from_int_btc(51);
    let bad = draft.seal();
    assert_eq!(state.accept(&bad, Origin::Submitted, Pow::Required), Err("bad-cb-amount"));
    assert_eq!(state.accept(&bad, Origin::Submitted, Pow::Required), Err("duplicate-invalid"));
    let child = Draft::on(&state, bad.block_hash(), &[]).seal();
    assert_eq!(validate_block(&state, &child), Err("bad-prevblk"));
}

#[test]
fn bits_time_and_version_are_as_the_chain_demands() {
    refused("bad-diffbits", |draft| draft.block.header.bits = CompactTarget::from_consensus(0x207f_fffe));
    refused("time-too-new", |draft| draft.block.header.time = NOW + 7_201);
    refused("bad-version", |draft| draft.block.header.version = Version::from_consensus(3));
    refused("bad-version", |draft| draft.block.header.version = Version::from_consensus(-1));
    let state = state(30, 0);
    let median = state.median_time_past(&state.tip());
    assert_eq!(judge(&state, |draft| draft.block.header.time = median), Err("time-too-old"));
}

#[test]
fn lock_times_must_have_passed() {
    let lock = |lock: u32| move |draft: &mut Draft| draft.coinbase().lock_time = LockTime::from_consensus(lock);
    let state = state(30, 0);
    let median = state.median_time_past(&state.tip());
    for (time, verdict) in [
        (0, Ok(())),
        (30, Ok(())),
        (31, Err("bad-txns-nonfinal")),
        (499_999_999, Err("bad-txns-nonfinal")),
        (median - 1, Ok(())),
        (median, Err("bad-txns-nonfinal")),
    ] {
        assert_eq!(judge(&state, lock(time)), verdict, "lock time {time}");
    }
    let verdict = judge(&state, |draft| {
        lock(31)(draft);
        draft.coinbase().input[0].sequence = bitcoin::Sequence::MAX;
    });
    assert_eq!(verdict, Ok(()), "a final sequence switches the lock time off");
}

#[test]
fn the_coinbase_names_its_height() {
    for script in [&[1, 32, 0][..], &[2, 31, 0, 0], &[0x60, 0x60], &[0, 0]] {
        refused("bad-cb-height", |draft| draft.script_sig(script));
    }
}

#[test]
fn the_reserved_value_is_one_element_of_32_bytes() {
    let stacks: [&[&[u8]]; 4] = [&[], &[&[0; 31]], &[&[0; 33]], &[&[0; 32], &[0; 32]]];
    for stack in stacks {
        refused("bad-witness-nonce-size", |draft| draft.coinbase().input[0].witness = Witness::from_slice(stack));
    }
}

#[test]
fn the_commitment_is_to_these_witnesses_and_this_value() {
    refused("bad-witness-merkle-match", |draft| {
        draft.commit = false;
        let other = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[1; 32]].concat();
        draft.coinbase().output[1].script_pubkey = ScriptBuf::from_bytes(other);
    });
    // The witness is not in the merkle root, so it can change after the block is sealed.
    let state = state(30, 12);
    let draft = Draft::next(&state);
    let place = witnessed(&draft);
    let mut block = draft.seal();
    block.txdata[place].input[0].witness.push([1]);
    assert_eq!(validate_block(&state, &block), Err("bad-witness-merkle-match"));
}

#[test]
fn witnesses_need_a_commitment() {
    refused("unexpected-witness", |draft| {
        draft.commit = false;
        draft.coinbase().output.truncate(1);
    });
}

#[test]
fn a_block_weighs_at_most_four_million() {
    refused("bad-blk-weight", |draft| {
        let place = witnessed(draft);
        draft.block.txdata[place].input[0].witness.push(vec![0; 4_000_000]);
    });
}

#[test]
fn inputs_must_exist_and_be_unspent() {
    let missing = "bad-txns-inputs-missingorspent";
    refused(missing, |draft| {
        let nowhere = OutPoint::new(Txid::from_byte_array([3; 32]), 0);
        draft.block.txdata[1].input[0].previous_output = nowhere;
    });
    refused(missing, |draft| {
        let again = draft.block.txdata[1].clone();
        draft.block.txdata.push(again);
    });
    let mut state = state(30, 12);
    let mined = Draft::next(&state).seal();
    let transactions = state.mempool().to_vec();
    assert_eq!(state.accept(&mined, Origin::Submitted, Pow::Required), Ok(Accepted::Tip));
    assert!(state.mempool().is_empty());
    let again = Draft::on(&state, state.tip(), &transactions[..1]).seal();
    assert_eq!(validate_block(&state, &again), Err(missing));
}

#[test]
fn a_child_comes_after_its_parent() {
    let state = state(30, 200);
    let transactions = state.mempool();
    let is_child = |child: &usize| {
        let parents = transactions[*child].tx.input.iter().map(|input| input.previous_output.txid);
        transactions[..*child].iter().any(|tx| parents.clone().any(|parent| parent == tx.txid))
    };
    let child = (0..transactions.len()).find(is_child).expect("some depend on others");
    let verdict = judge(&state, |draft| {
        let early = draft.block.txdata.remove(child + 1);
        draft.block.txdata.insert(1, early);
    });
    assert_eq!(verdict, Err("bad-txns-inputs-missingorspent"));
}

#[test]
fn a_transaction_pays_no_more_than_it_has() {
    refused("bad-txns-in-belowout", |draft| draft.block.txdata[1].output[0].value = Amount::from_int_btc(1_000));
}

#[test]
fn the_coinbase_claims_no_satoshi_too_much() {
    refused("bad-cb-amount", |draft| draft.coinbase().output[0].value += Amount::from_sat(1));
    // With one transaction less its fee is too much.
    refused("bad-cb-amount", |draft| drop(draft.block.txdata.pop()));
}

#[test]
fn the_subsidy_halves() {
    for (blocks, subsidy) in [(148, 5_000_000_000), (149, 2_500_000_000), (299, 1_250_000_000)] {
        let state = state(blocks, 0);
        assert_eq!(state.subsidy(blocks + 1), subsidy);
        assert_eq!(judge(&state, |_| {}), Ok(()));
        let verdict = judge(&state, |draft| draft.coinbase().output[0].value += Amount::from_sat(1));
        assert_eq!(verdict, Err("bad-cb-amount"));
    }
    assert_eq!(state(1, 0).subsidy(150 * 64), 0);
}

#[test]
fn a_known_transaction_is_good_with_its_own_witness_only() {
    let reason = "block-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)";
    refused(reason, |draft| {
        let place = witnessed(draft);
        draft.block.txdata[place].input[0].witness.push([1]);
    });
}

#[test]
fn no_byte_of_a_body_can_change() {
    let state = state(30, 12);
    let good = bitcoin::consensus::serialize(&Draft::next(&state).seal());
    for place in Header::SIZE..good.len() {
        let mut bytes = good.clone();
        bytes[place] ^= 1 << (place % 8);
        if let Ok((block, _)) = bitcoin::consensus::encode::deserialize_partial(&bytes) {
            assert!(validate_block(&state, &block).is_err(), "byte {place}");
        }
    }
}
