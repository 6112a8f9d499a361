//! What a strict firmware would choke on: the ways a pool can break the protocol as real devices understand it.
//! A simulated miner records them and goes on; a test asserts that there are none.

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Violation {
    #[error("the first line after {method} is not its answer but {line}")]
    FirstLineNotAnswer { method: &'static str, line: String },
    #[error("a line is no Stratum V1: {why}: {line}")]
    Malformed { why: String, line: String },
    #[error("a line is longer than {limit} bytes")]
    LineTooLong { limit: usize },
    #[error("an answer lacks one of id, result, error: {line}")]
    IncompleteAnswer { line: String },
    #[error("an answer carries the id {id}, which no open request has")]
    UnknownAnswerId { id: String },
    #[error("result[0][0][1] of the answer to mining.subscribe is not a string: {result}")]
    SubscriptionShape { result: String },
    #[error("extranonce 2 has {size} bytes, this device takes {allowed}")]
    Extranonce2Size { size: usize, allowed: &'static str },
    #[error("the job {job_id} arrives before the answer to mining.subscribe")]
    NotifyBeforeSubscribed { job_id: String },
    #[error("the job {job_id} arrives before any mining.set_difficulty")]
    NotifyBeforeDifficulty { job_id: String },
    #[error("the coinbase of job {job_id} has {bytes} bytes, this device holds {limit}")]
    CoinbaseTooLong { job_id: String, bytes: usize, limit: usize },
    #[error("job {job_id} has {branches} merkle branches, this device holds {limit}")]
    TooManyBranches { job_id: String, branches: usize, limit: usize },
    #[error("the job id {job_id} is used again among the last 16 without clean_jobs")]
    RepeatedJobId { job_id: String },
    #[error("the version {version:08x} of job {job_id} has bits inside the rolling mask {mask:08x}")]
    VersionBitsInMask { job_id: String, version: u32, mask: u32 },
    #[error("nothing was heard for {seconds} s")]
    Silence { seconds: u64 },
}
