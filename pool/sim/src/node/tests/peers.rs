//! Two nodes that hear of each other, and races between them.

use std::time::Duration;

use bitcoin::BlockHash;

use super::{Draft, node, submit, template};
use crate::node::{Options, Origin, SimNode};

async fn reaches(node: &SimNode, tip: BlockHash) {
    let mut tips = node.tips();
    let reached = tokio::time::timeout(Duration::from_secs(5), tips.wait_for(|it| it.hash == tip)).await;
    assert!(reached.is_ok(), "the node is at {} and not at {tip}", node.tip());
}

fn small(seed: u64) -> Options {
    Options { seed, transactions: 15, ..Options::default() }
}

#[tokio::test]
async fn a_block_one_node_accepts_is_the_others_tip() {
    let (one, two) = (node(small(1)).await, node(small(2)).await);
    assert_ne!(one.tip(), two.tip());
    let _link = one.connect(&two, Duration::ZERO);
    // Their branches are equally long: the first block on top of either decides.
    let block = one.with_state(Draft::next).seal();
    assert!(submit(&one, &block).await.is_null());
    reaches(&two, block.block_hash()).await;
    assert_eq!(two.blocks().last().unwrap().origin, Origin::Peer);
    let next = two.mine_block().await;
    reaches(&one, next).await;
    assert_eq!(one.blocks().last().unwrap().transactions, two.blocks().last().unwrap().transactions);
}

#[tokio::test]
async fn blocks_made_by_fiat_are_shared_as_well() {
    let options = |seed| Options { bits: 0x1903_a30c, ..small(seed) };
    let (one, two) = (node(options(1)).await, node(options(2)).await);
    let _link = one.connect(&two, Duration::ZERO);
    reaches(&two, one.mine_block().await).await;
}

#[tokio::test]
async fn a_race_leaves_two_tips_until_the_next_block() {
    let (one, two) = (node(small(1)).await, node(small(1)).await);
    assert_eq!(one.tip(), two.tip());
    one.connect(&two, Duration::from_millis(50)).keep();
    let mut rival = two.with_state(|state| Draft::on(state, state.tip(), &[]));
    rival.script_sig(&[1, 21, 8]);
    let (ours, rival) = (one.with_state(Draft::next).seal(), rival.seal());
    assert!(submit(&one, &ours).await.is_null());
    assert!(submit(&two, &rival).await.is_null());
    let known = |node: &SimNode, hash| node.with_state(|state| state.entry(&hash).is_some());
    while !(known(&one, rival.block_hash()) && known(&two, ours.block_hash())) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((one.tip(), two.tip()), (ours.block_hash(), rival.block_hash()), "each keeps what it saw first");
    let decides = two.mine_block().await;
    reaches(&one, decides).await;
    assert!(!one.blocks().iter().any(|block| block.hash == ours.block_hash()), "ours is an orphan");
}

#[tokio::test]
async fn parted_nodes_go_their_own_ways_and_the_longer_wins_when_they_meet() {
    let (one, two) = (node(small(1)).await, node(small(1)).await);
    let link = one.connect(&two, Duration::ZERO);
    reaches(&two, one.mine_block().await).await;
    link.cut();
    one.mine_block().await;
    for _ in 0..2 {
        two.mine_block().await;
        template(&two).await;
    }
    assert_eq!((one.height(), two.height()), (22, 23));
    let _link = one.connect(&two, Duration::ZERO);
    reaches(&one, two.tip()).await;
    assert_eq!(one.height(), 23);
}
