//! The failure modes: something breaks, the pool bears it and says so, it heals, the pool recovers.

mod disk;
mod hang;
mod memory;
mod network;
mod rpc;
mod template;
mod tls;
mod zmq;

use super::play::Act;

pub(super) const ACTS: &[Act] = &[
    Act {
        name: "rpc-down",
        about: "Bitcoin Core cannot be reached, refuses the password, has no peers, downloads the chain",
        alone: false,
        play: |stage| Box::pin(rpc::play(stage)),
    },
    Act {
        name: "zmq-disconnect",
        about: "block news by ZMQ are gone, or get lost on the way",
        alone: false,
        play: |stage| Box::pin(zmq::play(stage)),
    },
    Act {
        name: "tls-handshake-fail",
        about: "the certificate is expired, broken, or another key's",
        alone: false,
        play: |stage| Box::pin(tls::play(stage)),
    },
    Act {
        name: "miner-hang",
        about: "a miner stops reading, another stops working",
        alone: false,
        play: |stage| Box::pin(hang::play(stage)),
    },
    Act {
        name: "network-latency",
        about: "between miner and pool every byte takes its time, or comes alone",
        alone: false,
        play: |stage| Box::pin(network::latency(stage)),
    },
    Act {
        name: "packet-loss",
        about: "between miner and pool packets get lost, and connections with them",
        alone: false,
        play: |stage| Box::pin(network::loss(stage)),
    },
    Act {
        name: "invalid-template",
        about: "the node's template is wrong in every way it can be",
        alone: false,
        play: |stage| Box::pin(template::play(stage)),
    },
    Act {
        name: "reorg",
        about: "the tip is rolled back, deeper and deeper",
        alone: false,
        play: |stage| Box::pin(template::reorg(stage)),
    },
    Act {
        name: "memory-pressure",
        about: "the system gives the pool hardly more memory than it needs",
        alone: true,
        play: |stage| Box::pin(memory::play(stage)),
    },
    Act {
        name: "disk-full",
        about: "the ledger cannot be written, and a block is found",
        alone: false,
        play: |stage| Box::pin(disk::play(stage)),
    },
];
