//! Judging a share: is it a block, and does it count?

use crate::coinbase::Coinbase;
use crate::extranonce::EN1_SIZE;
use crate::hash::{merkle_root, sha256d_header};
use crate::target::{Difficulty, Target, difficulty_of_hash};
use crate::version::{Rolled, VersionMask, roll};
use crate::{Duplicates, Hash, Job};

/// How far a miner may roll the time of its job forward, seconds.
pub const TIME_ROLL: u32 = 7000;
/// What a miner sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// As the miner sent it; [`EN2_SIZE`](crate::EN2_SIZE) bytes.
    pub en2: [u8; 8],
    /// Header time, Unix seconds.
    pub time: u32,
    pub nonce: u32,
    /// Version bits as sent, when sent.
    pub version_bits: Option<u32>,
}

/// What a session works under.
#[derive(Clone, Copy, Debug)]
pub struct ShareRules {
    /// The difficulty the job was sent with, or an earlier one still honoured for it.
    pub difficulty: Difficulty,
    /// The target of `difficulty`.
    pub target: Target,
    pub mask: VersionMask,
    /// Refuse shares that only unusual hardware sends: version bits outside the negotiated mask.
    pub safe_mode: bool,
    /// The job's tip is gone, or the job too old: the share cannot count any more.
    pub stale: bool,
}

/// Why a share does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    Stale,
    /// Header time outside the job's window.
    Time,
    /// Version bits outside the negotiated mask.
    Version,
    LowDifficulty,
    Duplicate,
}

/// What a share turned out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Block hash of the share's header, internal byte order.
    pub hash: Hash,
    pub header: [u8; 80],
    /// It meets the network's target: a block, whatever `verdict` says.
    pub is_block: bool,
    pub verdict: Result<(), Refusal>,
}

impl Judged {
    /// How hard the share's hash is, whatever was asked for.
    pub fn difficulty(&self) -> f64 {
        difficulty_of_hash(&self.hash)
    }
}

/// Judges one share: builds its header, compares it with the network target before anything can refuse it, then applies the
/// session's rules in the order stale, time, version, difficulty, duplicate. Allocates nothing unless `seen` grows.
pub fn judge(
    job: &Job,
    coinbase: &Coinbase,
    en1: [u8; EN1_SIZE],
    submission: &Submission,
    rules: &ShareRules,
    seen: &mut Duplicates,
) -> Judged {
    let root = merkle_root(coinbase.txid(en1, submission.en2), &job.branches);
    let hashed = |version| {
        let header = job.header(version, &root, submission.time, submission.nonce);
        (sha256d_header(&header), header)
    };
    let (hash, header, usual) = match roll(job.version, submission.version_bits, rules.mask) {
        Rolled::Plain(version) => {
            let (hash, header) = hashed(version);
            (hash, header, true)
        }
        Rolled::Unusual(versions) => {
            // The miner knows which one it hashed; the best hash tells us.
            let [first, rest @ ..] = versions.map(hashed);
            let (hash, header) = rest.into_iter().fold(first, |best, next| {
                if Target::from_le_bytes(&next.0) < Target::from_le_bytes(&best.0) { next } else { best }
            });
            (hash, header, false)
        }
    };
    let is_block = job.network_target.is_met_by(&hash);
    let verdict = if rules.stale {
        Err(Refusal::Stale)
    } else if !time_is_right(job, submission.time) {
        Err(Refusal::Time)
    } else if !usual && rules.safe_mode {
        Err(Refusal::Version)
    } else if !rules.target.is_met_by(&hash) && !is_block {
        // A block counts at any difficulty; the network's may be the lower one on a test chain.
        Err(if usual { Refusal::LowDifficulty } else { Refusal::Version })
    } else if !seen.insert(&hash) {
        Err(Refusal::Duplicate)
    } else {
        Ok(())
    };
    Judged { hash, header, is_block, verdict }
}

fn time_is_right(job: &Job, time: u32) -> bool {
    (job.min_time..=job.time.saturating_add(TIME_ROLL).min(job.max_time)).contains(&time)
}
