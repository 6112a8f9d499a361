//! What a session was asked for, job by job: a share is judged by the difficulty of its job.
//!
//! A change holds for jobs sent after it. Firmware differs in whether it also applies it to the job at hand, so for jobs sent
//! before a change the easier of both counts.

use warppool_work::{Difficulty, JobId, Target};

/// Changes remembered; older ones melt into the oldest.
const MOST: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Change {
    /// The last job sent before it.
    after: JobId,
    /// In force for the jobs sent after that.
    difficulty: Difficulty,
    /// The easiest sent between that job and the next.
    easiest: Difficulty,
}

/// The difficulties sent to one session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    changes: Vec<Change>,
    /// The last answer of [`Sent::for_job`]: nearly every share asks the same.
    answer: Option<(JobId, Difficulty, Target)>,
}

impl Sent {
    /// The difficulty last sent.
    pub(crate) fn current(&self) -> Option<Difficulty> {
        self.changes.last().map(|change| change.difficulty)
    }

    /// `difficulty` is being sent; `after` is the last job sent before.
    pub(crate) fn change(&mut self, after: JobId, difficulty: Difficulty) {
        self.answer = None;
        match self.changes.last_mut() {
            Some(last) if last.after == after => {
                last.difficulty = difficulty;
                last.easiest = easier(last.easiest, difficulty);
            }
            _ => {
                if self.changes.len() == MOST {
                    let oldest = self.changes.remove(0);
                    let next = &mut self.changes[0];
                    next.easiest = easier(next.easiest, easier(oldest.difficulty, oldest.easiest));
                }
                self.changes.push(Change { after, difficulty, easiest: difficulty });
            }
        }
    }

    /// What a share for `job` must meet, and its target. `None` when no difficulty was ever sent.
    #[inline]
    pub(crate) fn for_job(&mut self, job: JobId) -> Option<(Difficulty, Target)> {
        match self.answer {
            Some((id, difficulty, target)) if id == job => Some((difficulty, target)),
            _ => {
                let difficulty = self.look_up(job)?;
                let target = difficulty.target();
                self.answer = Some((job, difficulty, target));
                Some((difficulty, target))
            }
        }
    }

    fn look_up(&self, job: JobId) -> Option<Difficulty> {
        let later = self.changes.iter().rev().take_while(|change| change.after >= job).map(|change| change.easiest);
        let own = self.changes.iter().rev().find(|change| change.after < job).map(|change| change.difficulty);
        later.chain(own).reduce(easier)
    }
}

fn easier(a: Difficulty, b: Difficulty) -> Difficulty {
    if b < a { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(value: f64) -> Difficulty {
        Difficulty::new(value).unwrap()
    }

    /// Changes as (last job before, difficulty), then (job, expected).
    #[track_caller]
    fn case(changes: &[(u64, f64)], expected: &[(u64, f64)]) {
        let mut sent = Sent::default();
        for (after, difficulty) in changes {
            sent.change(JobId(*after), d(*difficulty));
        }
        for (job, difficulty) in expected {
            let (judged, target) = sent.for_job(JobId(*job)).unwrap();
            assert_eq!(judged, d(*difficulty), "job {job} after {changes:?}");
            assert_eq!(target, judged.target());
        }
    }

    #[test]
    fn a_change_holds_for_jobs_sent_after_it_and_the_easier_counts_before() {
        case(&[(0, 1000.0)], &[(1, 1000.0), (9, 1000.0)]);
        case(&[(0, 1000.0), (5, 4000.0)], &[(5, 1000.0), (6, 4000.0)]);
        case(&[(0, 1000.0), (5, 250.0)], &[(5, 250.0), (6, 250.0)]);
        case(&[(0, 1000.0), (5, 250.0), (7, 500.0)], &[(5, 250.0), (6, 250.0), (7, 250.0), (8, 500.0)]);
    }

    #[test]
    fn several_changes_between_two_jobs_forget_none_of_them() {
        let steps: Vec<_> = (0..10).map(|n| (5, 4f64.powi(n + 1))).collect();
        case(&[&[(0, 1.0)][..], &steps].concat(), &[(5, 1.0), (6, 4f64.powi(10))]);
        case(&[(0, 1000.0), (5, 250.0), (5, 62.0), (5, 500.0)], &[(5, 62.0), (6, 500.0)]);
    }

    #[test]
    fn the_oldest_changes_melt_into_the_easiest() {
        case(
            &[(0, 8.0), (1, 1.0), (2, 16.0), (3, 32.0), (4, 64.0), (5, 128.0)],
            &[(1, 1.0), (2, 1.0), (3, 16.0), (4, 32.0), (5, 64.0), (6, 128.0)],
        );
    }

    #[test]
    fn nothing_sent_judges_nothing() {
        assert_eq!(Sent::default().for_job(JobId(1)), None);
    }
}
