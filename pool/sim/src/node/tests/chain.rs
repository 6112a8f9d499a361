//! The chain moves: forks, reorganisations, what they do to the mempool, and what is forgotten.

use std::collections::HashSet;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, Txid, Witness};

use super::{Draft, NOW, state};
use crate::node::chain::{Accepted, Origin, State};
use crate::node::options::Options;
use crate::node::transactions::Synth;
use crate::node::validate::Pow;

fn waiting(state: &State) -> HashSet<Txid> {
    state.mempool().iter().map(|tx| tx.txid).collect()
}

fn take(state: &mut State, block: &bitcoin::Block) -> Result<Accepted, &'static str> {
    state.accept(block, Origin::Submitted, Pow::Required)
}

#[test]
fn a_longer_branch_takes_over_and_gives_the_transactions_back() {
    let mut state = state(20, 30);
    let before = waiting(&state);
    let fork = state.tip();
    let ours = Draft::next(&state).seal();
    assert_eq!(take(&mut state, &ours), Ok(Accepted::Tip));
    assert!(state.mempool().is_empty());

    let mut rival = Draft::on(&state, fork, &[]);
    rival.script_sig(&[1, 21, 1]);
    let rival = rival.seal();
    assert_eq!(take(&mut state, &rival), Ok(Accepted::Side), "as much work is not more");
    assert_eq!(state.tip(), ours.block_hash());
    let longer = Draft::on(&state, rival.block_hash(), &[]).seal();
    assert_eq!(take(&mut state, &longer), Ok(Accepted::Tip));
    assert_eq!(state.height(), 22);
    assert!(!state.in_best_chain(&ours.block_hash()));
    assert_eq!(waiting(&state), before);

    let back = Draft::next(&state).seal();
    assert_eq!(take(&mut state, &back), Ok(Accepted::Tip), "they can be mined again");
    assert_eq!(take(&mut state, &back), Ok(Accepted::Known));
}

#[test]
fn a_longer_branch_with_a_bad_block_leaves_everything_as_it_was() {
    let mut state = state(20, 30);
    let fork = state.tip();
    let ours = Draft::next(&state).seal();
    take(&mut state, &ours).unwrap();
    let mut rival = Draft::on(&state, fork, &[]);
    rival.coinbase().output[0].value += Amount::from_sat(1);
    let rival = rival.seal();
    assert_eq!(take(&mut state, &rival), Ok(Accepted::Side), "amounts are judged when it becomes the best");
    let longer = Draft::on(&state, rival.block_hash(), &[]).seal();
    assert_eq!(take(&mut state, &longer), Ok(Accepted::Side));
    assert_eq!(state.tip(), ours.block_hash());
    assert_eq!(take(&mut state, &rival), Err("duplicate-invalid"));
    let next = Draft::next(&state).seal();
    assert_eq!(take(&mut state, &next), Ok(Accepted::Tip));
}

#[test]
fn a_block_whose_witness_was_spoilt_on_the_way_is_taken_when_it_comes_whole() {
    let mut state = state(20, 30);
    let good = Draft::next(&state).seal();
    let mut spoilt = good.clone();
    spoilt.txdata[0].input[0].witness = Witness::from_slice(&[[0; 31]]);
    assert_eq!(take(&mut state, &spoilt), Err("bad-witness-nonce-size"));
    assert_eq!(take(&mut state, &good), Ok(Accepted::Tip));
}

#[test]
fn a_block_takes_its_transactions_out_of_the_mempool_and_leaves_the_rest() {
    let mut state = state(20, 30);
    let (mined, rest) = state.mempool().split_at(10);
    let rest: HashSet<Txid> = rest.iter().map(|tx| tx.txid).collect();
    let block = Draft::on(&state, state.tip(), mined).seal();
    take(&mut state, &block).unwrap();
    assert_eq!(waiting(&state), rest);
}

#[test]
fn old_bodies_are_forgotten_with_their_coins_and_headers_are_not() {
    let options = Options { mock_time: Some(NOW), keep_bytes: 20_000, ..Options::default() };
    let mut state = State::new(&options);
    let mut synth = Synth::new(1);
    for _ in 0..40 {
        state.add_transactions(synth.make(10).into_iter().map(Arc::new).collect(), usize::MAX);
        let block = Draft::next(&state).seal();
        assert_eq!(take(&mut state, &block), Ok(Accepted::Tip));
        synth.forget();
    }
    let bodies = state.active().iter().filter(|hash| state.entry(hash).unwrap().body.is_some()).count();
    assert!((2..20).contains(&bodies), "{bodies}");
    assert_eq!(state.height(), 40);
    assert!(state.entry(&state.hash_at(1).unwrap()).unwrap().stored());
    // Genesis keeps its body, it is no part of the budget.
    assert!(state.entry(&state.hash_at(0).unwrap()).unwrap().body.is_some());
}

#[test]
fn a_template_leaves_out_what_does_not_fit_and_its_children() {
    let options = Options { mock_time: Some(NOW), reserved_weight: 3_900_000, ..Options::default() };
    let mut state = State::new(&options);
    state.add_transactions(Synth::new(2).make(400).into_iter().map(Arc::new).collect(), usize::MAX);
    let chosen = state.select();
    let weight: u64 = chosen.iter().map(|tx| tx.weight).sum();
    assert!(chosen.len() < 400 && weight <= 100_000 && weight > 95_000, "{weight} in {}", chosen.len());
    let block = Draft::on(&state, state.tip(), &chosen).seal();
    assert_eq!(take(&mut state, &block), Ok(Accepted::Tip), "so no child is there without its parent");
}

#[test]
fn the_minimum_time_minds_the_tip_where_difficulty_changes() {
    for (blocks, minimum) in [(142, Some(NOW + 7_200 - 600)), (141, None)] {
        let mut state = state(blocks, 0);
        let mut late = Draft::next(&state);
        late.block.header.time = NOW + 7_200;
        take(&mut state, &late.seal()).unwrap();
        let after_median = state.median_time_past(&state.tip()) + 1;
        assert!(after_median < NOW + 1_000);
        assert_eq!(state.minimum_time(&state.tip()), minimum.unwrap_or(after_median), "height {}", blocks + 2);
    }
}

#[test]
fn the_median_counts_only_the_blocks_there_are() {
    let state = state(0, 0);
    assert_eq!(state.median_time_past(&state.tip()), 1_296_688_602);
    assert_eq!(state.median_time_past(&bitcoin::BlockHash::all_zeros()), 0);
}
