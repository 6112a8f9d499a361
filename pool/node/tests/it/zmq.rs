//! Block news from a real ZMQ publisher.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use warppool_events::{Event, Level, TipSource};
use warppool_node::{NodeSettings, Settings, ZmqState};
use zeromq::{PubSocket, Socket as _, SocketSend as _, ZmqMessage};

use crate::core::FakeCore;
use crate::templates::{tip, update};
use crate::{LONG, Pool, node, settings, start, until};

struct Publisher {
    socket: PubSocket,
    endpoint: String,
    sequence: u32,
}

impl Publisher {
    async fn bind(endpoint: &str) -> Self {
        let mut socket = PubSocket::new();
        let endpoint = loop {
            match socket.bind(endpoint).await {
                Ok(endpoint) => break endpoint.to_string(),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        Self { socket, endpoint, sequence: 0 }
    }

    async fn send(&mut self, frames: Vec<Bytes>) {
        self.socket.send(ZmqMessage::try_from(frames).unwrap()).await.unwrap();
    }

    async fn announce(&mut self, byte: u8) {
        let sequence = Bytes::copy_from_slice(&self.sequence.to_le_bytes());
        self.sequence += 1;
        self.send(vec![Bytes::from_static(b"hashblock"), Bytes::from(vec![byte; 32]), sequence]).await;
    }

    /// Announces until the pool has heard `count` announcements: a publisher drops what comes before the subscription.
    async fn announce_until_heard(&mut self, pool: &Pool, byte: u8) {
        let before = pool.nodes.status()[0].zmq.announced;
        while pool.nodes.status()[0].zmq.announced == before {
            self.announce(byte).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn with_zmq(core: &FakeCore, endpoint: &str) -> Settings {
    let node = NodeSettings { zmq_hashblock: Some(endpoint.to_owned()), ..node("a", core) };
    // Neither polling nor, in most tests, the long poll finds the tip.
    Settings { poll_interval: LONG, ..settings(vec![node]) }
}

fn zmq_state(pool: &Pool) -> ZmqState {
    pool.nodes.status()[0].zmq.state
}

#[tokio::test]
async fn an_announced_tip_is_news_at_once_and_its_template_follows() {
    let core = FakeCore::start().await;
    let mut publisher = Publisher::bind("tcp://127.0.0.1:0").await;
    let pool = start(with_zmq(&core, &publisher.endpoint));
    update(&pool, tip(0x11)).await;
    publisher.announce_until_heard(&pool, 0x11).await;
    let mut news = pool.nodes.tip_news();
    // The template lags behind the announcement.
    core.change(|w| {
        w.lag = Some((0x11, 105, 4));
    });
    publisher.announce(0x22).await;
    tokio::time::timeout(LONG, news.changed()).await.unwrap().unwrap();
    let first = news.borrow().clone().unwrap();
    assert_eq!((first.hash, first.source, first.node.as_str()), ([0x22; 32], TipSource::Zmq, "a"));
    until("the lagging template was asked for again", || core.count("getblocktemplate") - core.count("longpoll") >= 3)
        .await;
    core.mine(0x22);
    let found = update(&pool, tip(0x22)).await;
    assert!(found.new_tip);
    assert_eq!((found.source, found.tip_seen), (TipSource::Zmq, first.seen));
    assert_eq!((core.most("plain"), core.most("longpoll")), (1, 1));
}

#[tokio::test]
async fn an_announcement_of_the_tip_mined_on_asks_for_nothing() {
    let core = FakeCore::start().await;
    let mut publisher = Publisher::bind("tcp://127.0.0.1:0").await;
    let pool = start(with_zmq(&core, &publisher.endpoint));
    update(&pool, tip(0x11)).await;
    publisher.announce_until_heard(&pool, 0x11).await;
    assert_eq!(core.count("getblocktemplate") - core.count("longpoll"), 1);
    assert!(pool.nodes.tip_news().borrow().is_none());
}

#[tokio::test]
async fn a_restarted_publisher_is_heard_again() {
    let core = FakeCore::start().await;
    let mut publisher = Publisher::bind("tcp://127.0.0.1:0").await;
    let endpoint = publisher.endpoint.clone();
    let pool = start(with_zmq(&core, &endpoint));
    update(&pool, tip(0x11)).await;
    publisher.announce_until_heard(&pool, 0x11).await;
    for byte in [0x21, 0x22] {
        drop(publisher);
        until("the loss is noticed", || zmq_state(&pool) == ZmqState::Down).await;
        publisher = Publisher::bind(&endpoint).await;
        until("it is connected", || zmq_state(&pool) == ZmqState::Connected).await;
        core.mine(byte);
        publisher.announce_until_heard(&pool, byte).await;
        update(&pool, tip(byte)).await;
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_told_with_its_remedy_and_mining_goes_on_without() {
    let core = FakeCore::start().await;
    // A port that is closed again.
    let endpoint = Publisher::bind("tcp://127.0.0.1:0").await.endpoint;
    core.change(|w| w.zmq = json!([{ "type": "pubhashblock", "address": "tcp://127.0.0.1:1", "hwm": 1000 }]));
    let quick = Settings { poll_interval: Duration::from_millis(40), ..with_zmq(&core, &endpoint) };
    let pool = start(quick);
    let mut events = pool.bus.subscribe_after(0);
    update(&pool, tip(0x11)).await;
    core.mine(0x12);
    update(&pool, tip(0x12)).await;
    until("it is down", || zmq_state(&pool) == ZmqState::Down).await;
    until("the remedy", || pool.nodes.status()[0].zmq.remedy.contains("tcp://127.0.0.1:1: set")).await;
    loop {
        if let Event::Notice { level, message } = &events.next().await.unwrap().event {
            assert_eq!(*level, Level::Warning);
            assert!(message.contains("node a: no block news by ZMQ") && message.contains(&endpoint), "{message}");
            break;
        }
    }
    let mut publisher = Publisher::bind(&endpoint).await;
    publisher.announce_until_heard(&pool, 0x12).await;
    loop {
        if let Event::Notice { level, message } = &events.next().await.unwrap().event {
            assert_eq!((*level, message.as_str()), (Level::Info, "node a: block news by ZMQ are back"));
            break;
        }
    }
}

#[tokio::test]
async fn a_publisher_that_announces_nothing_is_found_out() {
    let core = FakeCore::start().await;
    let mut publisher = Publisher::bind("tcp://127.0.0.1:0").await;
    let pool = start(with_zmq(&core, &publisher.endpoint));
    update(&pool, tip(0x11)).await;
    let mut byte = 0x20;
    let mined = async {
        while zmq_state(&pool) != ZmqState::Silent {
            byte += 1;
            core.mine(byte);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::time::timeout(LONG, mined).await.unwrap();
    assert!(pool.nodes.status()[0].zmq.remedy.contains("zmqpubhashblock="));
    publisher.announce_until_heard(&pool, byte).await;
    assert_eq!(zmq_state(&pool), ZmqState::Connected);
}

#[tokio::test]
async fn foreign_messages_are_passed_over_and_gaps_are_counted() {
    let core = FakeCore::start().await;
    let mut publisher = Publisher::bind("tcp://127.0.0.1:0").await;
    let pool = start(with_zmq(&core, &publisher.endpoint));
    update(&pool, tip(0x11)).await;
    publisher.announce_until_heard(&pool, 0x11).await;
    let lost = pool.nodes.status()[0].zmq.lost;
    publisher.send(vec![Bytes::from_static(b"hashblock")]).await;
    publisher.send(vec![Bytes::from_static(b"hashblock"), Bytes::from(vec![0; 31]), Bytes::from(vec![0; 4])]).await;
    publisher.send(vec![Bytes::from_static(b"hashblockextra"), Bytes::from(vec![0; 4000])]).await;
    publisher.sequence += 3;
    core.mine(0x33);
    publisher.announce(0x33).await;
    update(&pool, tip(0x33)).await;
    until("the gap is counted", || pool.nodes.status()[0].zmq.lost == lost + 3).await;
    assert_eq!(zmq_state(&pool), ZmqState::Connected);
}

#[tokio::test]
async fn switched_off_zmq_leaves_the_endpoint_alone() {
    let core = FakeCore::start().await;
    let pool = start(Settings { use_zmq: false, ..with_zmq(&core, "tcp://127.0.0.1:1") });
    update(&pool, tip(0x11)).await;
    assert_eq!(zmq_state(&pool), ZmqState::Off);
}
