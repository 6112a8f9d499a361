//! The ZMQ publisher, heard by a subscriber.

use std::time::Duration;

use bitcoin::{Block, BlockHash};
use zeromq::{Socket as _, SocketRecv as _, SubSocket, ZmqMessage};

use super::{Draft, node, submit};
use crate::node::{Options, SimNode};

async fn subscribe(node: &SimNode, topic: &str) -> SubSocket {
    let mut socket = SubSocket::new();
    socket.connect(&node.zmq_url().unwrap()).await.unwrap();
    socket.subscribe(topic).await.unwrap();
    socket
}

/// The frames of the next message.
async fn hear(socket: &mut SubSocket) -> ZmqMessage {
    let heard = tokio::time::timeout(Duration::from_secs(5), socket.recv()).await;
    heard.expect("something is published").unwrap()
}

/// The hash of the block a message of either topic is about.
fn block_of(message: &ZmqMessage) -> BlockHash {
    let body = message.get(1).unwrap();
    if body.len() == 32 {
        hex::encode(body).parse().unwrap()
    } else {
        bitcoin::consensus::deserialize::<Block>(body).unwrap().block_hash()
    }
}

/// The message about this block, after those about earlier ones.
async fn hear_of(socket: &mut SubSocket, hash: BlockHash) -> ZmqMessage {
    loop {
        let message = hear(socket).await;
        if block_of(&message) == hash {
            return message;
        }
    }
}

/// Mines until the subscription has arrived at the publisher; gives the message about the tip.
async fn first(node: &SimNode, socket: &mut SubSocket) -> ZmqMessage {
    for _ in 0..100 {
        node.mine_block().await;
        if tokio::time::timeout(Duration::from_millis(50), socket.recv()).await.is_ok() {
            let tip = node.mine_block().await;
            return hear_of(socket, tip).await;
        }
    }
    panic!("the publisher was never heard");
}

fn counter(message: &ZmqMessage) -> u32 {
    u32::from_le_bytes(message.get(2).unwrap()[..].try_into().unwrap())
}

#[tokio::test]
async fn a_new_tip_is_published_in_three_frames() {
    let node = node(Options::default()).await;
    let mut hashes = subscribe(&node, "hashblock").await;
    let mut blocks = subscribe(&node, "rawblock").await;
    let start = counter(&first(&node, &mut hashes).await);
    first(&node, &mut blocks).await;
    let block = node.with_state(Draft::next).seal();
    assert!(submit(&node, &block).await.is_null());
    let message = hear_of(&mut hashes, block.block_hash()).await;
    assert_eq!(message.len(), 3);
    assert_eq!(message.get(0).unwrap()[..], b"hashblock"[..]);
    assert!(counter(&message) > start);
    let message = hear_of(&mut blocks, block.block_hash()).await;
    assert_eq!(message.get(0).unwrap()[..], b"rawblock"[..]);
    assert!(message.get(1).unwrap()[..] == bitcoin::consensus::serialize(&block));
}

#[tokio::test]
async fn a_reorganisation_publishes_only_its_last_block() {
    let node = node(Options::default()).await;
    let mut socket = subscribe(&node, "hashblock").await;
    let start = counter(&first(&node, &mut socket).await);
    node.faults().reorg(3).unwrap();
    let message = hear(&mut socket).await;
    assert_eq!(block_of(&message), node.tip());
    assert_eq!(counter(&message), start + 1);
    let next = node.mine_block().await;
    assert_eq!(block_of(&hear(&mut socket).await), next, "nothing came in between");
}

#[tokio::test]
async fn lost_messages_are_a_gap_in_the_counter() {
    let node = node(Options::default()).await;
    let mut socket = subscribe(&node, "hashblock").await;
    let start = counter(&first(&node, &mut socket).await);
    node.faults().zmq_skip(2);
    for _ in 0..3 {
        node.mine_block().await;
    }
    let message = hear(&mut socket).await;
    assert_eq!(counter(&message), start + 3);
    assert_eq!(block_of(&message), node.tip());
}

#[tokio::test]
async fn a_publisher_goes_and_comes_back_on_its_port() {
    let node = node(Options::default()).await;
    let mut socket = subscribe(&node, "hashblock").await;
    first(&node, &mut socket).await;
    let endpoint = node.zmq_url().unwrap();
    node.faults().zmq_down().await;
    tokio::net::TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap_err();
    node.mine_block().await;
    node.faults().zmq_up().await.unwrap();
    assert_eq!(node.zmq_url().unwrap(), endpoint);
    let mut again = subscribe(&node, "hashblock").await;
    let height = node.height();
    let message = first(&node, &mut again).await;
    let published = node.height() - height;
    assert_eq!(counter(&message) + 1, published, "a publisher that comes back counts from zero");
}

#[tokio::test]
async fn a_node_without_zmq_has_none() {
    let node = node(Options { zmq_bind: None, ..Options::default() }).await;
    assert_eq!(node.zmq_url(), None);
    node.mine_block().await;
    node.faults().zmq_down().await;
    node.faults().zmq_up().await.unwrap();
    node.shutdown().await;
}
