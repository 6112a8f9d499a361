//! The node under test: a block built by hand from a state, and a caller of the RPC.

mod chain;
mod failing;
mod mining;
mod notify;
mod peers;
mod rpc;
mod validation;

use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, Block, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    consensus, transaction,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::chain::{Origin, State};
use super::options::{Options, target_of};
use super::transactions::{PoolTx, Synth};
use super::validate::Pow;
use super::{SimNode, assemble};

const NOW: u32 = 1_800_000_000;

/// A regtest chain of so many blocks with so many transactions waiting, and a clock that stands still.
fn state(blocks: u32, transactions: usize) -> State {
    let mut state = State::new(&Options { mock_time: Some(NOW), ..Options::default() });
    for salt in 0..blocks {
        let tip = state.tip();
        let mut block = assemble::assemble(&state, &tip, &assemble::nobody(), &[], salt.into()).unwrap();
        assert!(assemble::grind(&mut block.header));
        state.accept(&block, Origin::Node, Pow::Required).unwrap();
    }
    state.add_transactions(Synth::new(5).make(transactions).into_iter().map(Arc::new).collect(), usize::MAX);
    assert_eq!(state.mempool().len(), transactions);
    state
}

/// A block made by hand, before its commitment, root and nonce.
struct Draft {
    block: Block,
    commit: bool,
    root: bool,
    /// Whether the hash shall meet the header's own target.
    work: bool,
}

impl Draft {
    /// On this parent, with these transactions, claiming all it may.
    fn on(state: &State, parent: BlockHash, transactions: &[Arc<PoolTx>]) -> Self {
        let height = state.entry(&parent).unwrap().height + 1;
        // Written out by hand, not with the node's own code: one opcode up to 16, then a little-endian push.
        let mut script = match height {
            1..=16 => vec![0x50 + height as u8],
            17..=127 => vec![1, height as u8],
            _ => vec![2, height as u8, (height >> 8) as u8],
        };
        script.extend(b"by hand");
        let fees: u64 = transactions.iter().map(|tx| tx.fee).sum();
        let reward = 50 * 100_000_000 / 2_u64.pow(height / 150) + fees;
        let coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::from_consensus(height - 1),
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                script_sig: ScriptBuf::from_bytes(script),
                sequence: Sequence(0xffff_fffe),
                witness: Witness::from_slice(&[[0_u8; 32]]),
            }],
            output: vec![
                TxOut { value: Amount::from_sat(reward), script_pubkey: ScriptBuf::from_bytes(vec![0x51]) },
                TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() },
            ],
        };
        let mut txdata = vec![coinbase];
        txdata.extend(transactions.iter().map(|tx| tx.tx.clone()));
        let header = Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: parent,
            merkle_root: TxMerkleNode::all_zeros(),
            time: NOW.max(state.median_time_past(&parent) + 1),
            bits: state.bits(),
            nonce: 0,
        };
        Self { block: Block { header, txdata }, commit: true, root: true, work: true }
    }

    /// The next block of the chain with the whole mempool.
    fn next(state: &State) -> Self {
        Self::on(state, state.tip(), state.mempool())
    }

    fn coinbase(&mut self) -> &mut Transaction {
        &mut self.block.txdata[0]
    }

    fn script_sig(&mut self, bytes: &[u8]) {
        self.coinbase().input[0].script_sig = ScriptBuf::from_bytes(bytes.to_vec());
    }

    /// Commits to the witnesses in the second output, sums up the transactions, and looks for a nonce.
    fn seal(mut self) -> Block {
        if self.commit {
            let root = self.block.witness_root().unwrap();
            let reserved = self.block.txdata[0].input[0].witness.nth(0).unwrap_or(&[0; 32]);
            let commitment = Block::compute_witness_commitment(&root, reserved);
            let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &commitment.to_byte_array()].concat();
            self.coinbase().output[1].script_pubkey = ScriptBuf::from_bytes(script);
        }
        if self.root {
            self.block.header.merkle_root = self.block.compute_merkle_root().unwrap();
        }
        if let Some(target) = target_of(self.block.header.bits) {
            while target.is_met_by(self.block.block_hash()) != self.work {
                self.block.header.nonce += 1;
            }
        }
        self.block
    }
}

fn to_hex(block: &Block) -> String {
    consensus::encode::serialize_hex(block)
}

/// A node with a clock that stands still.
async fn node(options: Options) -> SimNode {
    SimNode::start(Options { mock_time: Some(NOW), ..options }).await.unwrap()
}

/// What came back over HTTP; `None` where the connection died.
async fn post(node: &SimNode, body: String, authorization: Option<&str>) -> Option<(StatusCode, Vec<u8>)> {
    let address = node.rpc_url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let stream = TcpStream::connect(&address).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<bytes::Bytes>>(TokioIo::new(stream)).await.ok()?;
    let driver = tokio::spawn(connection);
    let mut request = Request::post("/").header("host", address);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let response = sender.send_request(request.body(Full::from(body)).unwrap()).await.ok()?;
    let status = response.status();
    let collected = response.into_body().collect().await;
    driver.abort();
    Some((status, collected.ok()?.to_bytes().to_vec()))
}

/// A call's result, or its error's code and message.
async fn call(node: &SimNode, method: &str, params: Value) -> Result<Value, (i64, String)> {
    let request = json!({ "jsonrpc": "1.0", "id": 7, "method": method, "params": params });
    let (status, body) = post(node, request.to_string(), None).await.expect("the node answers");
    let answer: Value = serde_json::from_slice(&body).expect("the answer is JSON");
    assert_eq!(answer["id"], 7);
    if answer["error"].is_null() {
        assert_eq!(status, 200);
        Ok(answer["result"].clone())
    } else {
        assert_ne!(status, 200);
        assert!(answer["result"].is_null());
        let error = &answer["error"];
        Err((error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned()))
    }
}

async fn template(node: &SimNode) -> Value {
    call(node, "getblocktemplate", json!([{ "rules": ["segwit"] }])).await.unwrap()
}

async fn submit(node: &SimNode, block: &Block) -> Value {
    call(node, "submitblock", json!([to_hex(block)])).await.unwrap()
}

/// The next block of a node, built by hand.
fn next(node: &SimNode) -> Block {
    node.with_state(Draft::next).seal()
}
