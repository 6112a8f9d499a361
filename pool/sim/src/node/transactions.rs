//! Synthetic transactions: real in form (they parse, hash, weigh and depend on each other as any), made up in their
//! coins and signatures. The coins they spend are given to the node's coin set together with them.

use std::collections::VecDeque;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash as _, hash160, sha256};
use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_CHECKSIG, OP_DROP, OP_PUSHNUM_1, OP_PUSHNUM_2, OP_PUSHNUM_3};
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, OutPoint, PubkeyHash, ScriptBuf, ScriptHash, Sequence, Transaction, TxIn, TxOut, Txid, WPubkeyHash,
    WScriptHash, Witness, Wtxid, consensus,
};

use super::rng::Rng;

/// Outputs of young transactions kept for others to spend.
const SPENDABLE: usize = 64;

/// A transaction with all a template or a validator asks about it.
#[derive(Debug)]
pub struct PoolTx {
    pub tx: Transaction,
    pub txid: Txid,
    pub wtxid: Wtxid,
    /// The coins its inputs spend, in their order.
    pub spent: Vec<TxOut>,
    /// In satoshis.
    pub fee: u64,
    /// In weight units.
    pub weight: u64,
    /// Signature operation cost (legacy operations count four).
    pub sigops: u64,
    /// The entry of getblocktemplate up to the list of `depends`, which alone differs from template to template.
    pub(crate) json: String,
}

impl PoolTx {
    /// `spent` holds the coins of the inputs, in their order.
    pub fn new(tx: Transaction, spent: Vec<TxOut>) -> Self {
        let (txid, wtxid) = (tx.compute_txid(), tx.compute_wtxid());
        let fee = total(&spent).saturating_sub(total(&tx.output));
        let weight = tx.weight().to_wu();
        let sigops = sigop_cost(&tx, &spent);
        let data = consensus::encode::serialize_hex(&tx);
        let json = format!(
            r#"{{"data":"{data}","txid":"{txid}","hash":"{wtxid}","fee":{fee},"sigops":{sigops},"weight":{weight},"depends":["#
        );
        Self { tx, txid, wtxid, spent, fee, weight, sigops, json }
    }
}

fn total(outputs: &[TxOut]) -> u64 {
    outputs.iter().map(|output| output.value.to_sat()).sum()
}

/// The signature operation cost of a transaction whose inputs spend these coins.
pub(crate) fn sigop_cost(tx: &Transaction, spent: &[TxOut]) -> u64 {
    let coin = |outpoint: &OutPoint| {
        let input = tx.input.iter().position(|input| input.previous_output == *outpoint)?;
        spent.get(input).cloned()
    };
    tx.total_sigop_cost(coin) as u64
}

type Key = [u8; 33];

/// What locks an output, and so how a later input opens it.
#[derive(Clone, Debug)]
enum Lock {
    P2pkh(Key),
    P2shMultisig([Key; 3]),
    P2wpkh(Key),
    P2wshMultisig([Key; 3]),
    TaprootKey([u8; 32]),
    TaprootScript([u8; 32], Vec<u8>),
}

impl Lock {
    fn random(rng: &mut Rng) -> Self {
        match rng.below(100) {
            0..25 => Self::P2pkh(key(rng)),
            25..30 => Self::P2shMultisig([key(rng), key(rng), key(rng)]),
            30..65 => Self::P2wpkh(key(rng)),
            65..75 => Self::P2wshMultisig([key(rng), key(rng), key(rng)]),
            75..93 => Self::TaprootKey(rng.bytes()),
            _ => {
                let mut payload = vec![0; 100 + rng.below(400) as usize];
                rng.fill(&mut payload);
                Self::TaprootScript(rng.bytes(), payload)
            }
        }
    }

    fn script_pubkey(&self) -> ScriptBuf {
        match self {
            Self::P2pkh(key) => ScriptBuf::new_p2pkh(&PubkeyHash::from(hash160::Hash::hash(key))),
            Self::P2shMultisig(keys) => {
                ScriptBuf::new_p2sh(&ScriptHash::from(hash160::Hash::hash(multisig(keys).as_bytes())))
            }
            Self::P2wpkh(key) => ScriptBuf::new_p2wpkh(&WPubkeyHash::from(hash160::Hash::hash(key))),
            Self::P2wshMultisig(keys) => {
                ScriptBuf::new_p2wsh(&WScriptHash::from(sha256::Hash::hash(multisig(keys).as_bytes())))
            }
            Self::TaprootKey(key) | Self::TaprootScript(key, _) => {
                Builder::new().push_opcode(OP_PUSHNUM_1).push_slice(key).into_script()
            }
        }
    }

    /// What an input brings to spend it: script signature and witness, with signatures that are only shaped like some.
    fn open(&self, rng: &mut Rng) -> (ScriptBuf, Witness) {
        match self {
            Self::P2pkh(key) => (Builder::new().push_slice(ecdsa(rng)).push_slice(key).into_script(), Witness::new()),
            Self::P2shMultisig(keys) => {
                let redeem =
                    PushBytesBuf::try_from(multisig(keys).into_bytes()).expect("three keys are a short script");
                let script =
                    Builder::new().push_int(0).push_slice(ecdsa(rng)).push_slice(ecdsa(rng)).push_slice(redeem);
                (script.into_script(), Witness::new())
            }
            Self::P2wpkh(key) => (ScriptBuf::new(), Witness::from_slice(&[&ecdsa(rng)[..], &key[..]])),
            Self::P2wshMultisig(keys) => {
                let script = multisig(keys);
                let witness = Witness::from_slice(&[&[][..], &ecdsa(rng)[..], &ecdsa(rng)[..], script.as_bytes()]);
                (ScriptBuf::new(), witness)
            }
            Self::TaprootKey(_) => (ScriptBuf::new(), Witness::from_slice(&[rng.bytes::<64>()])),
            Self::TaprootScript(key, payload) => {
                let payload = PushBytesBuf::try_from(payload.clone()).expect("a payload of some hundred bytes");
                let leaf = Builder::new()
                    .push_slice(payload)
                    .push_opcode(OP_DROP)
                    .push_slice(key)
                    .push_opcode(OP_CHECKSIG)
                    .into_script();
                let mut control = [0xc0; 33];
                control[1..].copy_from_slice(&rng.bytes::<32>());
                (ScriptBuf::new(), Witness::from_slice(&[&rng.bytes::<64>()[..], leaf.as_bytes(), &control[..]]))
            }
        }
    }
}

fn key(rng: &mut Rng) -> Key {
    let mut key = rng.bytes::<33>();
    key[0] = 2 + (key[0] & 1);
    key
}

fn multisig(keys: &[Key; 3]) -> ScriptBuf {
    let script = keys.iter().fold(Builder::new().push_opcode(OP_PUSHNUM_2), Builder::push_slice);
    script.push_opcode(OP_PUSHNUM_3).push_opcode(OP_CHECKMULTISIG).into_script()
}

/// A DER signature in shape: 71 bytes and the sighash flag.
fn ecdsa(rng: &mut Rng) -> [u8; 72] {
    let mut signature = rng.bytes::<72>();
    signature[..5].copy_from_slice(&[0x30, 69, 0x02, 0x21, 0x00]);
    signature[37..39].copy_from_slice(&[0x02, 0x20]);
    signature[71] = 1;
    signature
}

/// The source of synthetic transactions.
#[derive(Debug)]
pub(crate) struct Synth {
    rng: Rng,
    spendable: VecDeque<(OutPoint, TxOut, Lock)>,
}

impl Synth {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed ^ 0x5719_7e7c_7261_6e73), spendable: VecDeque::new() }
    }

    /// Forgets the outputs it would have spent: after a change of the chain they may be gone.
    pub(crate) fn forget(&mut self) {
        self.spendable.clear();
    }

    pub(crate) fn make(&mut self, count: usize) -> Vec<PoolTx> {
        (0..count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> PoolTx {
        let rng = &mut self.rng;
        let inputs = match rng.below(100) {
            0..80 => 1,
            80..95 => 2,
            _ => 3,
        };
        let sequence = if rng.chance(60) { Sequence::ENABLE_RBF_NO_LOCKTIME } else { Sequence::MAX };
        let mut spent = Vec::with_capacity(inputs);
        let mut input = Vec::with_capacity(inputs);
        for _ in 0..inputs {
            let (previous_output, coin, lock) = if !self.spendable.is_empty() && rng.chance(15) {
                let pick = rng.below(self.spendable.len() as u64) as usize;
                self.spendable.swap_remove_back(pick).expect("picked below its length")
            } else {
                let lock = Lock::random(rng);
                let outpoint = OutPoint::new(Txid::from_byte_array(rng.bytes()), rng.below(4) as u32);
                let value = Amount::from_sat(1_000_000 + rng.below(1_000_000_000));
                (outpoint, TxOut { value, script_pubkey: lock.script_pubkey() }, lock)
            };
            let (script_sig, witness) = lock.open(rng);
            spent.push(coin);
            input.push(TxIn { previous_output, script_sig, sequence, witness });
        }
        let locks: Vec<Lock> = (0..=rng.below(3)).map(|_| Lock::random(rng)).collect();
        let output = locks.iter().map(|lock| TxOut { value: Amount::ZERO, script_pubkey: lock.script_pubkey() });
        let mut output: Vec<TxOut> = output.collect();
        if rng.chance(5) {
            let script_pubkey = ScriptBuf::new_op_return(rng.bytes::<32>());
            output.push(TxOut { value: Amount::ZERO, script_pubkey });
        }
        let mut tx = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output };
        // Amounts have a fixed width, so the weight stands before they do.
        let fee = tx.weight().to_vbytes_ceil() * (1 + rng.below(50));
        let share = Amount::from_sat(total(&spent).saturating_sub(fee) / locks.len() as u64);
        for (output, _) in tx.output.iter_mut().zip(&locks) {
            output.value = share;
        }
        let made = PoolTx::new(tx, spent);
        for (vout, lock) in (0_u32..).zip(locks) {
            let output = made.tx.output[vout as usize].clone();
            // Chains of children wear a coin down; what is too small for the next fee is left alone.
            if output.value.to_sat() > 200_000 {
                self.spendable.push_back((OutPoint::new(made.txid, vout), output, lock));
            }
        }
        while self.spendable.len() > SPENDABLE {
            self.spendable.pop_front();
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn four_thousand_transactions_fit_one_block_and_nearly_fill_it() {
        let made = Synth::new(7).make(4_000);
        let weight: u64 = made.iter().map(|tx| tx.weight).sum();
        let sigops: u64 = made.iter().map(|tx| tx.sigops).sum();
        assert!((2_800_000..3_990_000).contains(&weight), "{weight}");
        assert!(sigops < 79_600, "{sigops}");
        let distinct: HashSet<Txid> = made.iter().map(|tx| tx.txid).collect();
        assert_eq!(distinct.len(), made.len());
    }

    #[test]
    fn transactions_are_of_every_kind_parse_and_pay_a_fee() {
        let made = Synth::new(3).make(400);
        let (mut legacy, mut v0, mut taproot, mut children) = (0, 0, 0, 0);
        let txids: HashSet<Txid> = made.iter().map(|tx| tx.txid).collect();
        for pooled in &made {
            let raw = consensus::serialize(&pooled.tx);
            let parsed: Transaction = consensus::deserialize(&raw).unwrap();
            assert_eq!(parsed.compute_wtxid(), pooled.wtxid);
            assert!(pooled.fee > 0 && pooled.fee < total(&pooled.spent) / 2, "{} of {:?}", pooled.fee, pooled.spent);
            assert!(pooled.tx.output.iter().all(|output| output.value <= Amount::MAX_MONEY));
            legacy += usize::from(pooled.txid.to_byte_array() == pooled.wtxid.to_byte_array());
            v0 += usize::from(pooled.spent.iter().any(|coin| coin.script_pubkey.is_p2wpkh()));
            taproot += usize::from(pooled.spent.iter().any(|coin| coin.script_pubkey.is_p2tr()));
            children += usize::from(pooled.tx.input.iter().any(|input| txids.contains(&input.previous_output.txid)));
        }
        assert!(legacy > 40 && v0 > 40 && taproot > 40 && children > 40, "{legacy} {v0} {taproot} {children}");
    }

    #[test]
    fn the_seed_alone_decides_the_transactions() {
        let ids = |seed| Synth::new(seed).make(50).iter().map(|tx| tx.wtxid).collect::<Vec<_>>();
        assert_eq!(ids(9), ids(9));
        assert_ne!(ids(9), ids(10));
    }

    #[test]
    fn signature_operations_are_counted_as_core_counts_them() {
        let mut rng = Rng::new(1);
        let nowhere = || vec![TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return([0; 4]) }];
        for (lock, cost) in [
            (Lock::P2pkh(key(&mut rng)), 0),
            (Lock::P2shMultisig([key(&mut rng); 3]), 12),
            (Lock::P2wpkh(key(&mut rng)), 1),
            (Lock::P2wshMultisig([key(&mut rng); 3]), 3),
            (Lock::TaprootKey([2; 32]), 0),
        ] {
            let (script_sig, witness) = lock.open(&mut rng);
            let input = TxIn { script_sig, witness, ..TxIn::default() };
            let tx =
                Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output: nowhere() };
            let coin = TxOut { value: Amount::ONE_BTC, script_pubkey: lock.script_pubkey() };
            assert_eq!(sigop_cost(&tx, &[coin]), cost, "{lock:?}");
        }
    }
}
