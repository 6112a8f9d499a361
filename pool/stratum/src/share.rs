//! A submission judged: the network's target first, then whether it counts.

use std::sync::Arc;

use warppool_events::Event;
use warppool_work::{Difficulty, Extranonce1, Refusal, ShareRules, Target, judge};

use crate::ladder::Rung;
use crate::line::{Fields, Id};
use crate::metrics::Counters;
use crate::pool::{Found, Outcome, Reason, RefusedFor, ShareReport, SubmitMode};
use crate::reply::{self, Code};
use crate::session::{Flow, Session, Turn};
use crate::submit::Submitted;

/// A share that does not count, and what is told about it.
struct Refused<'a> {
    reason: RefusedFor,
    /// Place of its worker among the session's; the first where it named none of them.
    worker: usize,
    /// How hard its hash is; zero when it was not hashed.
    actual: f64,
    message: &'a str,
}

impl Session {
    pub(crate) fn submit(&mut self, id: Id<'_>, fields: &Fields<'_>, turn: &mut Turn<'_>) -> Flow {
        if !self.is_announced() {
            self.announce(turn.view);
        }
        let unseen = |reason, message| Refused { reason, worker: 0, actual: 0.0, message };
        let Submitted { worker, job: job_id, share } = match Submitted::read(fields) {
            Ok(submitted) => submitted,
            Err(malformed) => {
                return self.refuse(id, &unseen(RefusedFor::Malformed, &malformed.to_string()), turn);
            }
        };
        let Some(en1) = self.en1.as_ref().map(Extranonce1::bytes) else {
            return self.refuse(id, &unseen(RefusedFor::NotSubscribed, "not subscribed"), turn);
        };
        let Some(payout) = &self.payout else {
            return self.refuse(id, &unseen(RefusedFor::Unauthorized, "not authorized"), turn);
        };
        let board = &*turn.view.board;
        let Some(posted) = board.get(job_id, turn.view.now.at) else {
            return self.refuse(id, &unseen(RefusedFor::UnknownJob, "job not found"), turn);
        };
        if self.coinbase.as_ref().is_none_or(|(cached, _)| *cached != job_id) {
            let Ok(coinbase) = posted.prepared.coinbase(posted.job, payout) else {
                return self.refuse(id, &unseen(RefusedFor::UnknownJob, "job not found"), turn);
            };
            self.coinbase = Some((job_id, coinbase));
        }
        self.seen.follow(board.tip());
        let worker = self.named(worker);
        let asked = self.sent.for_job(job_id);
        let Some((_, coinbase)) = &self.coinbase else { return Flow::Continue(()) };
        let (difficulty, target) = asked.unwrap_or((Difficulty::ONE, Target::DIFFICULTY_1));
        let rules = ShareRules {
            difficulty,
            target,
            mask: self.mask,
            safe_mode: turn.view.settings().safe_mode,
            // What cannot count for other reasons must not be remembered as seen either.
            stale: posted.stale || worker.is_none() || asked.is_none(),
        };
        let seen = self.seen.of(posted.prepared.tip());
        let judged = judge(posted.job, coinbase, en1, &share, &rules, seen);
        let actual = judged.difficulty();
        if let Ok(()) = judged.verdict {
            self.submit_mode =
                if share.version_bits.is_some() { SubmitMode::VersionRolling } else { SubmitMode::Plain };
        }
        if judged.is_block {
            Counters::count(&turn.view.core.counters.blocks);
            let finder = self.workers.get(worker.unwrap_or(0));
            if let (Some(finder), Some(payout)) = (finder, &self.payout) {
                turn.view.core.pool.block(Found {
                    job: Arc::clone(posted.job),
                    coinbase: Arc::clone(coinbase),
                    en1,
                    en2: share.en2,
                    header: judged.header,
                    hash: judged.hash,
                    worker: finder.id,
                    worker_name: Arc::clone(&finder.name),
                    payout: Arc::clone(payout),
                    difficulty: actual,
                });
            }
        }
        let Some(worker) = worker else {
            let message = "this worker is not authorized on this connection";
            return self.refuse(id, &Refused { actual, ..unseen(RefusedFor::Unauthorized, message) }, turn);
        };
        match judged.verdict {
            Ok(()) => {
                self.accept(id, worker, difficulty, actual, turn);
                Flow::Continue(())
            }
            Err(refusal) => {
                let (reason, message) = told(refusal);
                self.refuse(id, &Refused { reason, worker, actual, message }, turn)
            }
        }
    }

    /// The place of the worker a submission names. With one worker there is no doubt, whatever the firmware makes of its name.
    fn named(&self, name: &[u8]) -> Option<usize> {
        match self.workers.len() {
            1 => Some(0),
            _ => self.workers.iter().position(|worker| worker.login().as_bytes() == name),
        }
    }

    fn accept(&mut self, id: Id<'_>, worker: usize, difficulty: Difficulty, actual: f64, turn: &mut Turn<'_>) {
        let now = turn.view.now;
        self.accepted += 1;
        self.ladder.accepted();
        turn.shares.push(ShareReport {
            at_ms: now.unix_ms,
            worker: self.workers[worker].id,
            credited: difficulty.get(),
            actual,
            outcome: Outcome::Accepted,
        });
        reply::yes(turn.out, id);
        if let Some(vardiff) = &mut self.vardiff
            && vardiff.on_share(difficulty, now.seconds()).is_some()
        {
            self.update_difficulty(turn.view, turn.out);
        }
    }

    fn refuse(&mut self, id: Id<'_>, refused: &Refused<'_>, turn: &mut Turn<'_>) -> Flow {
        let now = turn.view.now;
        reply::error(turn.out, id, code(refused.reason), refused.message);
        self.refused.add(refused.reason);
        match self.workers.get(refused.worker) {
            Some(worker) => turn.shares.push(ShareReport {
                at_ms: now.unix_ms,
                worker: worker.id,
                credited: 0.0,
                actual: refused.actual,
                outcome: Outcome::Refused(refused.reason),
            }),
            // Nobody's share: only counted.
            None => turn.view.core.counters.refused(refused.reason),
        }
        if refused.reason == RefusedFor::Duplicate {
            return Flow::Continue(());
        }
        match self.ladder.refused(now.at) {
            Rung::Nothing => Flow::Continue(()),
            Rung::Resend => {
                self.send_newest(turn);
                Flow::Continue(())
            }
            Rung::Reconnect => {
                reply::reconnect(turn.out);
                Flow::Continue(())
            }
            Rung::Drop => {
                self.ban(turn);
                Flow::Break(Reason::OnlyRejects)
            }
        }
    }

    /// Shuts this connection's workers out from its address for a while.
    fn ban(&self, turn: &mut Turn<'_>) {
        let (view, core) = (turn.view, turn.view.core);
        let Some(duration) = view.settings().ban else { return };
        for worker in &self.workers {
            core.bans.add(self.source(), &worker.name, view.now.at + duration);
            tracing::warn!(worker = %worker.name, peer = %self.peer, "shut out: nothing but rejected shares for minutes");
            core.tell(Event::Banned {
                who: format!("{} from {}", worker.name, self.source().address()),
                reason: "nothing but rejected shares for minutes".into(),
                seconds: duration.as_secs(),
            });
        }
    }
}

fn told(refusal: Refusal) -> (RefusedFor, &'static str) {
    match refusal {
        Refusal::Stale => (RefusedFor::Stale, "stale: the job's tip is gone"),
        Refusal::Time => (RefusedFor::Time, "time out of range"),
        Refusal::Version => (RefusedFor::Version, "version bits outside the negotiated mask"),
        Refusal::LowDifficulty => (RefusedFor::LowDifficulty, "low difficulty share"),
        Refusal::Duplicate => (RefusedFor::Duplicate, "duplicate share"),
    }
}

fn code(reason: RefusedFor) -> Code {
    match reason {
        RefusedFor::Stale | RefusedFor::UnknownJob => Code::Stale,
        RefusedFor::Duplicate => Code::Duplicate,
        RefusedFor::LowDifficulty => Code::LowDifficulty,
        RefusedFor::Unauthorized => Code::Unauthorized,
        RefusedFor::NotSubscribed => Code::NotSubscribed,
        RefusedFor::Time | RefusedFor::Version | RefusedFor::Malformed => Code::Other,
    }
}
