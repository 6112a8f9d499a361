//! What a notify run comes down to, for people and as JSON. All times are milliseconds.

use std::fmt;

use serde::Serialize;

use crate::load::Spread;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub target: String,
    pub connections: usize,
    /// Bytes of a notify, line feed included.
    pub notify_bytes: usize,
    pub ready_ms: Option<Spread>,
    pub blocks: Vec<Block>,
    /// From the node's ZMQ message to the first miner's notify, over blocks. Below zero where a miner heard before we did.
    pub zmq_to_first_ms: Option<Spread>,
    /// To the last miner's.
    pub zmq_to_last_ms: Option<Spread>,
    /// To each miner's, over all miners and blocks.
    pub zmq_to_each_ms: Option<Spread>,
    /// From the first miner's notify to the last one's: the pool's broadcast, over blocks. On a busy machine the reader may
    /// wake late for the first and make this short; `zmq_to_last_ms` does not suffer from that.
    pub first_to_last_ms: Option<Spread>,
    /// One thread writing as many bytes to as many loopback sockets, same reader: first arrival to last.
    pub bare_first_to_last_ms: Option<Spread>,
    /// From before the first write to the last arrival.
    pub bare_loop_ms: Option<Spread>,
    /// Median `first_to_last_ms` / median `bare_first_to_last_ms`.
    pub ratio: Option<f64>,
    /// The least of both, which other work on the machine disturbs less.
    pub ratio_of_least: Option<f64>,
    /// Median `first_to_last_ms` / median `bare_loop_ms`.
    pub ratio_to_whole_loop: Option<f64>,
    /// Miners, over all blocks, that heard of a block too late or never.
    pub missing: usize,
    pub disconnects: usize,
    pub first_disconnect: Option<String>,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Block {
    pub hash: String,
    /// Miners whose notify came in time.
    pub notified: usize,
    /// `None` where the node's ZMQ message did not come.
    pub zmq_to_first_ms: Option<f64>,
    pub zmq_to_last_ms: Option<f64>,
    pub first_to_last_ms: f64,
    /// Over the miners, from the ZMQ message on.
    pub zmq_to_each_ms: Option<Spread>,
    #[serde(skip)]
    pub(crate) each_ms: Vec<f64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, connections, notify_bytes, blocks, .. } = self;
        writeln!(f, "{target}: {} blocks to {connections} miners, {notify_bytes} bytes each", blocks.len())?;
        let lines = [
            ("ready", self.ready_ms),
            ("ZMQ to first", self.zmq_to_first_ms),
            ("ZMQ to last", self.zmq_to_last_ms),
            ("ZMQ to each", self.zmq_to_each_ms),
            ("first to last", self.first_to_last_ms),
            ("bare loop, first to last", self.bare_first_to_last_ms),
            ("bare loop, whole", self.bare_loop_ms),
        ];
        for (name, spread) in lines {
            if let Some(spread) = spread {
                writeln!(f, "{name:<26}{spread}")?;
            }
        }
        if let (Some(ratio), Some(least), Some(whole)) = (self.ratio, self.ratio_of_least, self.ratio_to_whole_loop) {
            let name = "ratio to the bare loop";
            writeln!(f, "{name:<26}{ratio:.2} (medians), {least:.2} (least of both), {whole:.2} (whole loop)")?;
        }
        if self.missing > 0 {
            writeln!(f, "{:<26}{} notifies", "missing", self.missing)?;
        }
        let first = self.first_disconnect.as_deref();
        first.map_or(Ok(()), |why| {
            writeln!(f, "{:<26}{} connections, the first because {why}", "lost", self.disconnects)
        })
    }
}
