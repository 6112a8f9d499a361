//! What counts as a share, what is a block, and in which order it is found out.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bitcoin::hashes::Hash as _;
use proptest::prelude::*;
use warppool_work::{
    Coinbase, Difficulty, Duplicates, Freshness, Job, JobBook, JobError, JobId, Judged, KEEP, Refusal, STALE_GRACE,
    ShareRules, Submission, TIME_ROLL, VersionMask, judge,
};

mod template;

const EN1: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];
/// Every hash meets it.
const EASY: f64 = 1e-10;
/// No hash found here meets it.
const HARD: f64 = 1e15;
/// A network target no hash found here meets.
const FAR_BITS: u32 = 0x1703_4219;

struct Desk {
    job: Job,
    coinbase: Coinbase,
    rules: ShareRules,
    seen: Duplicates,
}

impl Desk {
    fn new(bits: u32, difficulty: f64) -> Self {
        let mut offered = template::template(5);
        offered.bits = bits;
        let job = template::factory().build(&Arc::new(offered), true).unwrap();
        let coinbase = job.coinbase(&template::payout()).unwrap();
        let difficulty = Difficulty::new(difficulty).unwrap();
        let mask = VersionMask::requested(u32::MAX);
        let rules = ShareRules { difficulty, target: difficulty.target(), mask, safe_mode: true, stale: false };
        Self { job, coinbase, rules, seen: Duplicates::default() }
    }

    fn submission(&self) -> Submission {
        Submission { en2: [1; 8], time: self.job.time, nonce: 7, version_bits: None }
    }

    fn judge(&mut self, submission: &Submission) -> Judged {
        judge(&self.job, &self.coinbase, EN1, submission, &self.rules, &mut self.seen)
    }

    /// A submission that is a block on regtest (every other hash is).
    fn block(&mut self) -> Submission {
        let plain = self.submission();
        (0..100)
            .map(|nonce| Submission { nonce, ..plain })
            .find(|s| judge(&self.job, &self.coinbase, EN1, s, &self.rules, &mut Duplicates::default()).is_block)
            .unwrap()
    }
}

#[test]
fn a_good_share_counts_once() {
    let mut desk = Desk::new(FAR_BITS, EASY);
    let share = desk.submission();
    let judged = desk.judge(&share);
    assert_eq!((judged.verdict, judged.is_block), (Ok(()), false));
    assert_eq!(desk.judge(&share).verdict, Err(Refusal::Duplicate));
    assert_eq!(desk.judge(&Submission { en2: [2; 8], ..share }).verdict, Ok(()));
    assert_eq!(desk.judge(&Submission { nonce: 8, ..share }).verdict, Ok(()));
    assert_eq!(desk.judge(&Submission { version_bits: Some(0x2000), ..share }).verdict, Ok(()));
}

#[test]
fn the_block_a_share_becomes_is_the_one_it_was_judged_as() {
    let mut desk = Desk::new(0x207f_ffff, EASY);
    for version_bits in [None, Some(0x0123_4000 & 0x1fff_e000), Some(0x2040_2000)] {
        let share = Submission { version_bits, ..desk.submission() };
        let judged = desk.judge(&share);
        let bytes = desk.job.block(&desk.coinbase, &judged.header, EN1, share.en2);
        let block: bitcoin::Block = bitcoin::consensus::deserialize(&bytes).unwrap();
        assert_eq!(block.block_hash().to_byte_array(), judged.hash);
        assert!(block.check_merkle_root() && block.check_witness_commitment());
        assert_eq!(block.header.validate_pow(block.header.target()).is_ok(), judged.is_block);
    }
}

#[test]
fn a_block_is_seen_whatever_else_is_wrong_with_the_share() {
    let mut desk = Desk::new(0x207f_ffff, HARD);
    let block = desk.block();
    assert_eq!(desk.judge(&block).verdict, Ok(()), "a block counts at any difficulty");
    let again = desk.judge(&block);
    assert!(again.is_block && again.verdict == Err(Refusal::Duplicate));
    desk.rules.stale = true;
    let late = desk.judge(&block);
    assert!(late.is_block && late.verdict == Err(Refusal::Stale));
    desk.rules.stale = false;
    let plain = desk.submission();
    let wrong_time = (0..100).map(|nonce| Submission { nonce, time: 5, ..plain });
    assert!(wrong_time.map(|s| desk.judge(&s)).any(|j| j.is_block && j.verdict == Err(Refusal::Time)));
}

#[test]
fn unusual_version_bits_are_refused_in_safe_mode_and_read_generously_without() {
    let odd = 0x4000_0001;
    let mut desk = Desk::new(FAR_BITS, EASY);
    let share = Submission { version_bits: Some(odd), ..desk.submission() };
    assert_eq!(desk.judge(&share).verdict, Err(Refusal::Version));
    desk.rules.safe_mode = false;
    assert_eq!(desk.judge(&share).verdict, Ok(()));
    desk.rules.safe_mode = true;
    desk.rules.mask = VersionMask::NONE;
    let rolled = Submission { version_bits: Some(0x2000), ..share };
    assert_eq!(desk.judge(&rolled).verdict, Err(Refusal::Version), "rolled without having asked");

    let mut desk = Desk::new(0x207f_ffff, HARD);
    let plain = desk.submission();
    let found = (0..200).map(|nonce| Submission { nonce, version_bits: Some(odd), ..plain });
    assert!(
        found.map(|s| desk.judge(&s)).any(|j| j.is_block && j.header[..4] == odd.to_le_bytes()),
        "a block with odd bits is found under the version the miner hashed"
    );
}

#[test]
fn the_time_window_is_that_of_the_job() {
    let desk = |max_time| {
        let mut desk = Desk::new(FAR_BITS, EASY);
        desk.job.max_time = max_time;
        desk
    };
    let (min, start) = (1_700_000_000, 1_700_000_600);
    for (max_time, time, expected) in [
        (u32::MAX, min, Ok(())),
        (u32::MAX, min - 1, Err(Refusal::Time)),
        (u32::MAX, start + TIME_ROLL, Ok(())),
        (u32::MAX, start + TIME_ROLL + 1, Err(Refusal::Time)),
        (start + 10, start + 10, Ok(())),
        (start + 10, start + 11, Err(Refusal::Time)),
    ] {
        let mut desk = desk(max_time);
        let share = Submission { time, ..desk.submission() };
        assert_eq!(desk.judge(&share).verdict, expected, "time {time} of at most {max_time}");
    }
}

#[test]
fn low_shares_are_refused_and_cost_no_memory() {
    let mut desk = Desk::new(FAR_BITS, 1000.0);
    let plain = desk.submission();
    for nonce in 0..1000 {
        assert_eq!(desk.judge(&Submission { nonce, ..plain }).verdict, Err(Refusal::LowDifficulty));
    }
    assert_eq!(format!("{:?}", desk.seen), format!("{:?}", Duplicates::default()));
}

#[test]
fn what_cannot_be_mined_is_refused_when_the_job_is_built() {
    let build = |change: &dyn Fn(&mut warppool_work::Template)| {
        let mut offered = template::template(3);
        change(&mut offered);
        template::factory().build(&Arc::new(offered), true).map(|job| job.transactions)
    };
    assert_eq!(build(&|_| {}), Ok(3));
    assert!(matches!(build(&|t| t.bits = 0), Err(JobError::Target(_))));
    assert!(matches!(build(&|t| t.weight_limit = 1_000), Err(JobError::NoRoom)));
    assert!(matches!(build(&|t| (t.coinbase_value, t.weight_limit) = (1, 2_000)), Err(JobError::Value { .. })));
    assert!(matches!(build(&|t| t.max_time = t.min_time - 1), Err(JobError::Times { .. })));
    assert_eq!(build(&|t| t.sigop_limit = 20), Ok(2), "8 of 20 operations are left");
}

#[test]
fn job_ids_never_repeat_also_across_restarts() {
    let offered = Arc::new(template::template(0));
    let first = template::factory();
    let last = (0..100).map(|_| first.build(&offered, false).unwrap().id).collect::<Vec<_>>();
    assert!(last.is_sorted_by(|a, b| a < b));
    let tags = warppool_work::Tags::new("", [0; 8]).unwrap();
    let restarted = warppool_work::JobFactory::new(tags, warppool_work::Reserve::default(), 1_700_000_007);
    assert!(restarted.build(&offered, false).unwrap().id > *last.last().unwrap());
    assert_eq!("1a2b".parse::<JobId>().unwrap().to_string(), "1a2b");
}

#[test]
fn a_late_share_counts_within_the_grace_and_a_late_block_is_found_for_ten_minutes() {
    let mut book = JobBook::default();
    let factory = template::factory();
    let job_on = |tip: u8| {
        let mut offered = template::template(0);
        offered.prev_hash = [tip; 32];
        Arc::new(factory.build(&Arc::new(offered), true).unwrap())
    };
    let second = Duration::from_secs(1);
    let (old, new) = (job_on(1), job_on(2));
    book.push(Arc::clone(&old), Arc::new(()), second);
    book.push(Arc::clone(&new), Arc::new(()), 100 * second);
    let freshness = |book: &JobBook<()>, id, now| book.get(id, now).map(|(_, _, freshness)| freshness);
    let in_grace = Duration::from_millis(99_999) + STALE_GRACE;
    assert_eq!(freshness(&book, old.id, in_grace), Some(Freshness::Current));
    assert_eq!(freshness(&book, old.id, 100 * second + STALE_GRACE), Some(Freshness::Stale));
    assert_eq!(freshness(&book, new.id, 1000 * second), Some(Freshness::Current));
    assert_eq!(freshness(&book, JobId(1), second), None);
    book.push(job_on(3), Arc::new(()), 100 * second + KEEP);
    assert!(book.get(old.id, second).is_some(), "kept ten minutes after it went out of use");
    book.push(job_on(4), Arc::new(()), 101 * second + KEEP);
    assert!(book.get(old.id, second).is_none());
    for n in 0..1000u32 {
        book.push(job_on(n as u8), Arc::new(()), Duration::from_secs(2000));
    }
    assert!(book.len() <= 256);
}

proptest! {
    #[test]
    fn no_submission_panics(
        en2: [u8; 8], time: u32, nonce: u32, version_bits: Option<u32>, mask: u32, safe_mode: bool, stale: bool
    ) {
        let mut desk = Desk::new(0x207f_ffff, EASY);
        desk.rules.mask = VersionMask::requested(mask);
        (desk.rules.safe_mode, desk.rules.stale) = (safe_mode, stale);
        let judged = desk.judge(&Submission { en2, time, nonce, version_bits });
        prop_assert_eq!(judged.hash, warppool_work::block_hash(&judged.header));
        prop_assert!(!stale || judged.verdict == Err(Refusal::Stale));
    }
}
