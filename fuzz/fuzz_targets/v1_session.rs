//! What a miner sends, byte by byte: a byte 0xff ends a read, 0xfe and the one after it let time pass. Whatever comes, the
//! answers are lines of JSON, and a block that the session reports is one.
#![no_main]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use warppool_events::Bus;
use warppool_stratum::{Admitted, Found, Login, Pool, Reason, Server, SessionInfo, Settings, ShareReport, WorkerId};
use warppool_work::{
    Chain, ExtranonceAllocator, Job, JobFactory, Payee, Payout, Reserve, START_TAG_SIZE, Tags, Template, Username,
    VardiffState, block_hash,
};

const END_OF_READ: u8 = 0xff;
const LATER: u8 = 0xfe;

/// Lets in whoever names an address or any plain name.
struct Everyone;

impl Pool for Everyone {
    fn authorize(&self, login: &Login<'_>) -> Result<Admitted, String> {
        let username = Username::parse(login.username, Chain::Regtest).map_err(|refusal| refusal.to_string())?;
        let script = match &username.payee {
            Payee::Address { script, .. } => script.clone(),
            Payee::Plain(_) => vec![0x51],
        };
        let payout = Payout::new(script, Vec::new()).expect("no cuts are not too large");
        Ok(Admitted { worker: WorkerId(1), name: username.to_string().into(), payout: Arc::new(payout), vardiff: None })
    }

    fn shares(&self, shares: &[ShareReport]) {
        assert!(shares.iter().all(|share| share.credited.is_finite() && share.credited >= 0.0));
    }

    fn block(&self, found: Found) {
        assert_eq!(block_hash(&found.header), found.hash);
        let block = found.job.block(&found.coinbase, &found.header, found.en1, found.en2);
        assert_eq!(block[..80], found.header);
    }

    fn connected(&self, _: &SessionInfo) {}

    fn disconnected(&self, _: &SessionInfo, _: Reason, _: Option<VardiffState>) {}
}

/// On regtest's target, so that half of all hashes are blocks.
static JOB: LazyLock<Arc<Job>> = LazyLock::new(|| {
    let template = Template {
        height: 200,
        version: 0x2000_0000,
        prev_hash: [0x11; 32],
        bits: 0x207f_ffff,
        min_time: 1_700_000_000,
        max_time: u32::MAX,
        cur_time: 1_700_000_600,
        coinbase_value: 2_500_000_000,
        transactions: Vec::new(),
        witness_commitment: None,
        segwit: true,
        weight_limit: 4_000_000,
        sigop_limit: 80_000,
    };
    let tags = Tags::new("WarpPool", [0; START_TAG_SIZE]).expect("a short tag is one");
    // Job ids count on from 0x10.
    let factory = JobFactory::new(tags, Reserve::default(), 1);
    Arc::new(factory.build(&Arc::new(template), true).expect("an empty template makes a job"))
});

fuzz_target!(|bytes: &[u8]| {
    let server = Server::new(Settings::default(), Arc::new(Everyone), ExtranonceAllocator::new(0), Bus::new());
    server.publish(Arc::clone(&JOB));
    let mut miner = server.converse(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let mut out = Vec::new();
    for read in bytes.split(|&byte| byte == END_OF_READ) {
        let (later, read) = match read {
            [LATER, minutes, read @ ..] => (Duration::from_mins((*minutes).into()), read),
            read => (Duration::ZERO, read),
        };
        // A socket gives no empty read.
        let more = if read.is_empty() {
            miner.tick_later(later, &mut out)
        } else {
            miner.receive_later(later, read, &mut out)
        };
        if let Err(reason) = more {
            if reason == Reason::Http {
                return;
            }
            break;
        }
    }
    for line in out.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let fields: HashMap<&str, &RawValue> = serde_json::from_slice(line).expect("every line to a miner is JSON");
        let is_answer = ["id", "result", "error"].iter().all(|key| fields.contains_key(key));
        let is_notice = ["id", "method", "params"].iter().all(|key| fields.contains_key(key));
        assert!(is_answer || is_notice, "{fields:?}");
    }
});
