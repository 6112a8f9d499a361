//! The simulated node and real Core say the same of the same blocks, word for word: where tests use the one for the other,
//! they must be worth as much.

use base64::Engine as _;
use bitcoin::absolute::LockTime;
use bitcoin::blockdata::constants::genesis_block;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::OP_TRUE;
use bitcoin::opcodes::all::OP_CHECKSIG;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Txid, Witness, block, transaction,
};
use serde_json::{Value, json};
use warppool_sim::node::{Options, SimNode};
use warppool_tests::bitcoind::Bitcoind;
use warppool_tests::http;
use warppool_tests::wait::LONG;

use crate::core_blocks::subsidy;

const HEIGHT: u32 = 104;

/// A block in the making. What is switched off is not put right at the end.
struct Draft {
    block: Block,
    commit: bool,
    root: bool,
    work: bool,
}

impl Draft {
    fn next(prev: BlockHash, height: u32, time: u32) -> Self {
        let coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                script_sig: Builder::new().push_int(height.into()).push_slice(b"agree").into_script(),
                witness: Witness::from_slice(&[[0; 32]]),
                ..TxIn::default()
            }],
            output: vec![anybodys(subsidy(height)), TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() }],
        };
        let header = block::Header {
            version: block::Version::from_consensus(0x2000_0000),
            prev_blockhash: prev,
            merkle_root: TxMerkleNode::all_zeros(),
            time,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        Self { block: Block { header, txdata: vec![coinbase] }, commit: true, root: true, work: true }
    }

    fn coinbase(&mut self) -> &mut Transaction {
        &mut self.block.txdata[0]
    }

    fn script(&mut self, bytes: &[u8]) {
        self.coinbase().input[0].script_sig = ScriptBuf::from_bytes(bytes.to_vec());
    }

    fn add(&mut self, inputs: &[OutPoint], sats: u64) -> &mut Transaction {
        let input = inputs.iter().map(|at| TxIn { previous_output: *at, sequence: Sequence::MAX, ..TxIn::default() });
        self.block.txdata.push(Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: input.collect(),
            output: vec![anybodys(Amount::from_sat(sats))],
        });
        self.block.txdata.last_mut().unwrap()
    }

    fn seal(mut self) -> Block {
        if self.commit {
            let root = self.block.witness_root().unwrap();
            let commitment = Block::compute_witness_commitment(&root, &[0; 32]).to_byte_array();
            let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &commitment].concat();
            self.coinbase().output[1].script_pubkey = ScriptBuf::from_bytes(script);
        }
        if self.root {
            self.block.header.merkle_root = self.block.compute_merkle_root().unwrap_or(TxMerkleNode::all_zeros());
        }
        let target = bitcoin::Target::from_compact(CompactTarget::from_consensus(0x207f_ffff));
        while target.is_met_by(self.block.block_hash()) != self.work {
            self.block.header.nonce += 1;
        }
        self.block
    }
}

fn anybodys(value: Amount) -> TxOut {
    TxOut { value, script_pubkey: Builder::new().push_opcode(OP_TRUE).into_script() }
}

fn checksigs(count: usize) -> TxOut {
    TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![OP_CHECKSIG.to_u8(); count]) }
}

type Change = Box<dyn Fn(&mut Draft)>;

/// Every way to be wrong, by name. Nothing here depends on what a coinbase's coin is worth or how old it is: the simulated
/// node keeps none of them.
fn changes(coin: OutPoint) -> Vec<(&'static str, Change)> {
    fn change(name: &'static str, change: impl Fn(&mut Draft) + 'static) -> (&'static str, Change) {
        (name, Box::new(change))
    }
    let nowhere = OutPoint::new(Txid::from_byte_array([3; 32]), 0);
    vec![
        change("no work", |d| d.work = false),
        change("another root", |d| d.root = false),
        change("bits of another chain", |d| d.block.header.bits = CompactTarget::from_consensus(0x207f_fffe)),
        change("bits that are none", |d| d.block.header.bits = CompactTarget::from_consensus(0xff12_3456)),
        change("an unknown parent", |d| d.block.header.prev_blockhash = BlockHash::all_zeros()),
        change("too early", |d| d.block.header.time = 1_296_688_603),
        change("too late", |d| d.block.header.time += 3 * 3600),
        change("an old version", |d| d.block.header.version = block::Version::from_consensus(3)),
        change("a negative version", |d| d.block.header.version = block::Version::from_consensus(-1)),
        change("the wrong height", |d| d.script(&[1, HEIGHT as u8 + 1, 0])),
        change("a padded height", |d| d.script(&[2, HEIGHT as u8, 0, 0])),
        change("no height", |d| d.script(&[0x51, 0x51])),
        change("a short script", |d| d.script(&[1])),
        change("a long script", |d| d.script(&[&[1, HEIGHT as u8][..], &[0; 99]].concat())),
        change("one satoshi too much", |d| d.coinbase().output[0].value += Amount::from_sat(1)),
        change("a negative amount", |d| d.coinbase().output[0].value = Amount::from_sat(1 << 63)),
        change("more than all money", |d| d.coinbase().output[0].value = Amount::MAX_MONEY + Amount::from_sat(1)),
        change("all money twice", |d| {
            d.coinbase().output[0].value = Amount::MAX_MONEY;
            d.coinbase().output.push(anybodys(Amount::MAX_MONEY));
        }),
        change("no outputs", |d| {
            d.commit = false;
            d.coinbase().output.clear();
        }),
        change("no transactions", |d| {
            d.commit = false;
            d.block.txdata.clear();
        }),
        change("another commitment", |d| {
            d.commit = false;
            let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[1; 32]].concat();
            d.coinbase().output[1].script_pubkey = ScriptBuf::from_bytes(script);
        }),
        change("a witness and no commitment", |d| {
            d.commit = false;
            d.coinbase().output.truncate(1);
        }),
        change("a short reserved value", |d| d.coinbase().input[0].witness = Witness::from_slice(&[[0; 31]])),
        change("two reserved values", |d| d.coinbase().input[0].witness = Witness::from_slice(&[[0; 32]; 2])),
        change("another reserved value", |d| d.coinbase().input[0].witness = Witness::from_slice(&[[9; 32]])),
        change("a coinbase locked to its own height", |d| {
            d.coinbase().lock_time = LockTime::from_consensus(HEIGHT);
            d.coinbase().input[0].sequence = Sequence::ZERO;
        }),
        change("two coinbases", |d| {
            let mut second = d.coinbase().clone();
            second.output.truncate(1);
            d.block.txdata.push(second);
        }),
        change("too many signature operations", |d| d.coinbase().output.push(checksigs(20_001))),
        change("a block too large", |d| {
            d.coinbase().output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x51; 1_000_000]);
        }),
        change("a block too heavy", |d| {
            for n in [1, 2] {
                d.add(&[nowhere_of(n)], 1).input[0].witness.push(vec![0; 2_000_000]);
            }
        }),
        change("a transaction of nothing", |d| {
            d.add(&[nowhere_of(1)], 1).output.clear();
        }),
        change("an input twice", move |d| {
            d.add(&[coin, coin], 1);
        }),
        change("a null input", move |d| {
            d.add(&[coin, OutPoint::null()], 1);
        }),
        change("an unknown coin", move |d| {
            d.add(&[nowhere], 1);
        }),
        change("a coin spent twice", move |d| {
            d.add(&[coin], 1);
            d.add(&[coin], 2);
        }),
        change("a locked transaction", move |d| {
            let tx = d.add(&[coin], 1);
            tx.lock_time = LockTime::from_consensus(HEIGHT);
            tx.input[0].sequence = Sequence::ZERO;
        }),
        change("a child before its parent", move |d| {
            let parent = d.add(&[coin], 5).compute_txid();
            d.add(&[OutPoint::new(parent, 0)], 1);
            d.block.txdata.swap(1, 2);
        }),
        change("a list repeated under the same root", move |d| {
            d.add(&[coin], 5);
            d.add(&[nowhere], 5);
            d.block.header.merkle_root = {
                d.commit = false;
                d.coinbase().output.truncate(1);
                d.coinbase().input[0].witness.clear();
                d.block.compute_merkle_root().unwrap()
            };
            d.root = false;
            let last = d.block.txdata[2].clone();
            d.block.txdata.push(last);
        }),
    ]
}

fn nowhere_of(n: u8) -> OutPoint {
    OutPoint::new(Txid::from_byte_array([n; 32]), 0)
}

/// Blocks that are good, each of which becomes the tip of both.
fn good() -> Vec<(&'static str, Change)> {
    vec![
        ("as it should be", Box::new(|_: &mut Draft| {})),
        ("less than it may claim", Box::new(|d| d.coinbase().output[0].value = Amount::from_sat(1))),
        (
            "no witness and no commitment",
            Box::new(|d| {
                d.commit = false;
                d.coinbase().output.truncate(1);
                d.coinbase().input[0].witness.clear();
            }),
        ),
        ("the witness of the coinbase left to the node", Box::new(|d| d.coinbase().input[0].witness.clear())),
        ("two hours ahead", Box::new(|d| d.block.header.time += 3600)),
    ]
}

struct Pair {
    core: Bitcoind,
    sim_port: u16,
}

impl Pair {
    /// What both say of `submitblock` with this hex; an error as its code.
    async fn submit(&self, what: &str, hex: String) -> Value {
        let params = json!([hex]);
        let ours = match self.core.call("submitblock", params.clone()).await.unwrap() {
            Ok(answer) => answer,
            Err(error) => json!(error.code),
        };
        let any = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("any:any"));
        let body = json!({ "id": 1, "method": "submitblock", "params": params }).to_string();
        let answer = http::post(self.sim_port, &any, body, LONG).await.unwrap().json();
        let theirs = if answer["error"].is_null() { &answer["result"] } else { &answer["error"]["code"] };
        assert_eq!(&ours, theirs, "{what}: Core, and the simulated node");
        ours
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_node_judges_blocks_as_core_does() {
    let sim = SimNode::start(Options { transactions: 0, initial_blocks: 0, zmq_bind: None, ..Options::default() });
    let sim = sim.await.unwrap();
    let sim_port = sim.rpc_url().trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
    let pair = Pair { core: Bitcoind::regtest().await, sim_port };
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32;
    let mut tip = genesis_block(Network::Regtest).block_hash();
    let mut coins = Vec::new();
    for height in 1..HEIGHT {
        let block = Draft::next(tip, height, now - 600 * (HEIGHT - height)).seal();
        assert_eq!(pair.submit("the chain", serialize_hex(&block)).await, Value::Null, "at {height}");
        tip = block.block_hash();
        coins.push(OutPoint::new(block.txdata[0].compute_txid(), 0));
    }

    let mut reasons = std::collections::BTreeSet::new();
    for (n, (what, change)) in changes(coins[0]).into_iter().enumerate() {
        // No two have the same header.
        let mut draft = Draft::next(tip, HEIGHT, now - n as u32);
        change(&mut draft);
        let block = draft.seal();
        let answer = pair.submit(what, serialize_hex(&block)).await;
        assert_ne!(answer, Value::Null, "{what} is not good");
        reasons.insert(answer.to_string());
        // And what they say of it when they see it again.
        pair.submit(what, serialize_hex(&block)).await;
    }
    assert!(reasons.len() > 25, "the blocks are wrong in different ways: {reasons:?}");

    for (n, (what, change)) in good().into_iter().enumerate() {
        let mut draft = Draft::next(tip, HEIGHT + n as u32, now + n as u32);
        change(&mut draft);
        let block = draft.seal();
        let hex = serialize_hex(&block);
        assert_eq!(pair.submit(what, hex.clone()).await, Value::Null, "{what}");
        assert_eq!(pair.submit(what, hex.clone()).await, "duplicate");
        // A second block at the same height is kept aside.
        let rival = Draft::next(tip, HEIGHT + n as u32, now + 100 + n as u32).seal();
        assert_eq!(pair.submit("a rival", serialize_hex(&rival)).await, "inconclusive");
        for broken in
            [hex[..hex.len() - 2].to_owned(), hex[..100].to_owned(), format!("{hex}00"), "zz".into(), String::new()]
        {
            pair.submit("no block", broken).await;
        }
        tip = block.block_hash();
    }
    assert_eq!((pair.core.tip().await, sim.tip()), (tip, tip));
}
