//! A wallet of its own: one address of every kind, coinbases mined to them, and signed spends of every kind from them.

use std::fmt;

use bitcoin::hashes::Hash as _;
use bitcoin::key::{Keypair, TapTweak as _};
use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_CHECKSIG, OP_PUSHNUM_1, OP_PUSHNUM_2};
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::secp256k1::{All, Message, Secp256k1, SecretKey};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, Signature as TaprootSignature, TaprootBuilder, TaprootSpendInfo};
use bitcoin::{
    Address, Amount, CompressedPublicKey, EcdsaSighashType, Network, OutPoint, PublicKey, ScriptBuf, Sequence,
    TapLeafHash, TapSighashType, Transaction, TxIn, TxOut, Txid, Witness, absolute, transaction,
};
use serde_json::json;

use crate::bitcoind::Bitcoind;

/// The ways to spend there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    P2pkh,
    /// One of two keys, bare multisig behind a script hash.
    P2sh,
    P2wpkh,
    P2wsh,
    /// P2WPKH in P2SH.
    Nested,
    TaprootKey,
    TaprootScript,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::P2pkh, Self::P2sh, Self::P2wpkh, Self::P2wsh, Self::Nested, Self::TaprootKey, Self::TaprootScript];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Something the wallet can spend.
#[derive(Clone, Copy, Debug)]
pub struct Coin {
    pub at: OutPoint,
    pub value: Amount,
    pub kind: Kind,
}

/// A transaction that was sent, with its fee.
#[derive(Clone, Debug)]
pub struct Sent {
    pub txid: Txid,
    pub fee: Amount,
}

/// Keys of a fixed seed, on one network.
#[derive(Debug)]
pub struct Wallet {
    network: Network,
    secp: Secp256k1<All>,
    keys: [Keypair; 2],
}

impl Wallet {
    pub fn new(network: Network) -> Self {
        let secp = Secp256k1::new();
        let keys = [0x11, 0x22].map(|byte| {
            Keypair::from_secret_key(&secp, &SecretKey::from_slice(&[byte; 32]).expect("a small number is a key"))
        });
        Self { network, secp, keys }
    }

    fn public(&self) -> PublicKey {
        PublicKey::new(self.keys[0].public_key())
    }

    fn compressed(&self) -> CompressedPublicKey {
        CompressedPublicKey(self.keys[0].public_key())
    }

    /// What is behind the script hashes of [`Kind::P2sh`] and [`Kind::P2wsh`].
    fn redeem_script(&self) -> ScriptBuf {
        Builder::new()
            .push_opcode(OP_PUSHNUM_1)
            .push_key(&self.public())
            .push_key(&PublicKey::new(self.keys[1].public_key()))
            .push_opcode(OP_PUSHNUM_2)
            .push_opcode(OP_CHECKMULTISIG)
            .into_script()
    }

    fn leaf(&self) -> ScriptBuf {
        Builder::new().push_x_only_key(&self.keys[0].x_only_public_key().0).push_opcode(OP_CHECKSIG).into_script()
    }

    /// Key 2 is the internal key, key 1 may spend by the script.
    fn tree(&self) -> TaprootSpendInfo {
        let internal = self.keys[1].x_only_public_key().0;
        TaprootBuilder::new().add_leaf(0, self.leaf()).unwrap().finalize(&self.secp, internal).unwrap()
    }

    pub fn address(&self, kind: Kind) -> Address {
        match kind {
            Kind::P2pkh => Address::p2pkh(self.public(), self.network),
            Kind::P2sh => Address::p2sh(&self.redeem_script(), self.network).unwrap(),
            Kind::P2wpkh => Address::p2wpkh(&self.compressed(), self.network),
            Kind::P2wsh => Address::p2wsh(&self.redeem_script(), self.network),
            Kind::Nested => Address::p2shwpkh(&self.compressed(), self.network),
            Kind::TaprootKey => Address::p2tr(&self.secp, self.keys[0].x_only_public_key().0, None, self.network),
            Kind::TaprootScript => Address::p2tr_tweaked(self.tree().output_key(), self.network),
        }
    }

    /// A signed transaction from these coins to these outputs.
    pub fn spend(&self, coins: &[Coin], outputs: Vec<TxOut>) -> Transaction {
        let input = coins.iter().map(|coin| TxIn {
            previous_output: coin.at,
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            ..TxIn::default()
        });
        let mut tx = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: input.collect(),
            output: outputs,
        };
        let spent: Vec<TxOut> = coins
            .iter()
            .map(|coin| TxOut { value: coin.value, script_pubkey: self.address(coin.kind).script_pubkey() })
            .collect();
        for (index, coin) in coins.iter().enumerate() {
            let (script_sig, witness) = self.sign(&tx, index, coin, &spent);
            tx.input[index].script_sig = script_sig;
            tx.input[index].witness = witness;
        }
        tx
    }

    fn sign(&self, tx: &Transaction, index: usize, coin: &Coin, spent: &[TxOut]) -> (ScriptBuf, Witness) {
        let mut cache = SighashCache::new(tx);
        let all = EcdsaSighashType::All;
        let ecdsa = |digest: [u8; 32]| {
            let signature = self.secp.sign_ecdsa(&Message::from_digest(digest), &self.keys[0].secret_key());
            bitcoin::ecdsa::Signature { signature, sighash_type: all }.to_vec()
        };
        let push = |bytes: Vec<u8>| PushBytesBuf::try_from(bytes).unwrap();
        let script = spent[index].script_pubkey.clone();
        match coin.kind {
            Kind::P2pkh => {
                let digest = cache.legacy_signature_hash(index, &script, all.to_u32()).unwrap();
                let signature = push(ecdsa(digest.to_byte_array()));
                (Builder::new().push_slice(signature).push_key(&self.public()).into_script(), Witness::new())
            }
            Kind::P2sh => {
                let redeem = self.redeem_script();
                let digest = cache.legacy_signature_hash(index, &redeem, all.to_u32()).unwrap();
                let signature = push(ecdsa(digest.to_byte_array()));
                let redeem = push(redeem.into_bytes());
                // OP_CHECKMULTISIG takes one element too many.
                (Builder::new().push_int(0).push_slice(signature).push_slice(redeem).into_script(), Witness::new())
            }
            Kind::P2wpkh | Kind::Nested => {
                let program = ScriptBuf::new_p2wpkh(&self.compressed().wpubkey_hash());
                let digest = cache.p2wpkh_signature_hash(index, &program, coin.value, all).unwrap();
                let witness =
                    Witness::from_slice(&[ecdsa(digest.to_byte_array()), self.compressed().to_bytes().to_vec()]);
                let script_sig = match coin.kind {
                    Kind::Nested => Builder::new().push_slice(push(program.into_bytes())).into_script(),
                    _ => ScriptBuf::new(),
                };
                (script_sig, witness)
            }
            Kind::P2wsh => {
                let script = self.redeem_script();
                let digest = cache.p2wsh_signature_hash(index, &script, coin.value, all).unwrap();
                let witness = [Vec::new(), ecdsa(digest.to_byte_array()), script.into_bytes()];
                (ScriptBuf::new(), Witness::from_slice(&witness))
            }
            Kind::TaprootKey => {
                let sighash_type = TapSighashType::Default;
                let digest =
                    cache.taproot_key_spend_signature_hash(index, &Prevouts::All(spent), sighash_type).unwrap();
                let key = self.keys[0].tap_tweak(&self.secp, None).to_keypair();
                let signature = self.secp.sign_schnorr_no_aux_rand(&Message::from_digest(digest.to_byte_array()), &key);
                (ScriptBuf::new(), Witness::p2tr_key_spend(&TaprootSignature { signature, sighash_type }))
            }
            Kind::TaprootScript => {
                let (leaf, sighash_type) = (self.leaf(), TapSighashType::All);
                let hash = TapLeafHash::from_script(&leaf, LeafVersion::TapScript);
                let digest = cache
                    .taproot_script_spend_signature_hash(index, &Prevouts::All(spent), hash, sighash_type)
                    .unwrap();
                let message = Message::from_digest(digest.to_byte_array());
                let signature = self.secp.sign_schnorr_no_aux_rand(&message, &self.keys[0]);
                let signature = TaprootSignature { signature, sighash_type }.to_vec();
                let control = self.tree().control_block(&(leaf.clone(), LeafVersion::TapScript)).unwrap();
                (ScriptBuf::new(), Witness::from_slice(&[signature, leaf.into_bytes(), control.serialize()]))
            }
        }
    }

    /// The coinbases of the node's chain that pay this wallet and can be spent in the next block.
    pub async fn coins(&self, node: &Bitcoind) -> Vec<Coin> {
        let chain = node.chain().await;
        let mature = (chain.len() + 1).saturating_sub(100);
        let coinbases = chain[..mature.min(chain.len())].iter().map(|block| &block.txdata[0]);
        coinbases
            .filter_map(|coinbase| {
                let paid = &coinbase.output[0];
                let kind =
                    Kind::ALL.into_iter().find(|kind| self.address(*kind).script_pubkey() == paid.script_pubkey)?;
                Some(Coin { at: OutPoint::new(coinbase.compute_txid(), 0), value: paid.value, kind })
            })
            .collect()
    }

    /// Fills the node's mempool: each coin is spent to two outputs of other kinds, one of them spent again at once, and that
    /// once more together with another coin's. Every fee is another.
    pub async fn fill(&self, node: &Bitcoind, coins: &[Coin]) -> Vec<Sent> {
        let mut sent = Vec::new();
        let mut last: Option<Coin> = None;
        for (n, coin) in coins.iter().enumerate() {
            let (first, second) = (kind(n), kind(n + 3));
            let half = coin.value / 2;
            let parent = self.send(node, &[*coin], &[(first, half), (second, half)], &mut sent).await;
            let child = self.send(node, &parent[..1], &[(kind(n + 1), half)], &mut sent).await;
            if let Some(other) = last.take() {
                // Both spends of a kind in one transaction, and a grandchild of two families.
                self.send(node, &[child[0], other], &[(kind(n + 2), half)], &mut sent).await;
            } else {
                last = Some(child[0]);
            }
        }
        sent
    }

    /// Sends these coins to outputs of these kinds and values; what is missing to the fee comes off the first output.
    async fn send(&self, node: &Bitcoind, coins: &[Coin], to: &[(Kind, Amount)], sent: &mut Vec<Sent>) -> Vec<Coin> {
        let fee = Amount::from_sat(5_000 + 17 * sent.len() as u64);
        let total: Amount = coins.iter().map(|coin| coin.value).sum();
        let others: Amount = to[1..].iter().map(|(_, value)| *value).sum();
        let mut outputs: Vec<TxOut> = to
            .iter()
            .map(|(kind, value)| TxOut { value: *value, script_pubkey: self.address(*kind).script_pubkey() })
            .collect();
        outputs[0].value = total - others - fee;
        let tx = self.spend(coins, outputs);
        let txid = tx.compute_txid();
        let raw = bitcoin::consensus::encode::serialize_hex(&tx);
        node.rpc("sendrawtransaction", json!([raw, 0])).await;
        sent.push(Sent { txid, fee });
        let kinds = to.iter().map(|(kind, _)| *kind).enumerate();
        kinds.map(|(n, kind)| Coin { at: OutPoint::new(txid, n as u32), value: tx.output[n].value, kind }).collect()
    }
}

fn kind(n: usize) -> Kind {
    Kind::ALL[n % Kind::ALL.len()]
}
