//! The health gate: a version on trial is kept only when everything that worked before works with it, for a while.

use serde::{Deserialize, Serialize};

/// How it was before the update; what did not work then need not work now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Baseline {
    /// An address on the network.
    pub network: bool,
    /// The pool had a node.
    pub node: bool,
    /// The pool kept its ledger in memory, so that it may do so still.
    pub memory_ledger: bool,
}

/// How it is, once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signs {
    pub data_mounted: bool,
    /// The data partition takes what is written.
    pub data_writable: bool,
    pub network: bool,
    pub pool_listening: bool,
    pub api: bool,
    pub node: bool,
    /// The pool runs with the last configuration that worked, because it kept dying.
    pub safe_mode: bool,
    pub memory_ledger: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Healthy for so many seconds of those needed; or something is missing.
    Waiting { healthy: u32, needed: u32, missing: Vec<&'static str> },
    /// To be committed.
    Healthy,
    /// To be given up, for this.
    Failed(String),
}

/// Counts seconds of health. The last verdict is final.
#[derive(Clone, Debug)]
pub struct Gate {
    baseline: Baseline,
    needed: u32,
    deadline: u32,
    healthy: u32,
    passed: u32,
    end: Option<Verdict>,
}

impl Gate {
    /// `needed`: seconds of health without a break; `deadline`: seconds from now by which they must be over.
    pub fn new(baseline: Baseline, needed: u32, deadline: u32) -> Self {
        Self { baseline, needed, deadline: deadline.max(needed), healthy: 0, passed: 0, end: None }
    }

    /// What a second has shown.
    pub fn second(&mut self, signs: Signs) -> Verdict {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let missing = missing(self.baseline, signs);
        self.passed += 1;
        self.healthy = if missing.is_empty() { self.healthy + 1 } else { 0 };
        if self.healthy >= self.needed {
            return self.finish(Verdict::Healthy);
        }
        if self.passed >= self.deadline {
            let what =
                if missing.is_empty() { "nothing stayed well for long enough".into() } else { missing.join(", ") };
            return self.finish(Verdict::Failed(format!("after {} s: {what}", self.passed)));
        }
        Verdict::Waiting { healthy: self.healthy, needed: self.needed, missing }
    }

    /// Gives the version up at once: what happened cannot get better by waiting.
    pub fn fail(&mut self, why: &str) -> Verdict {
        match &self.end {
            Some(end) => end.clone(),
            None => self.finish(Verdict::Failed(why.to_owned())),
        }
    }

    fn finish(&mut self, verdict: Verdict) -> Verdict {
        self.end = Some(verdict.clone());
        verdict
    }
}

fn missing(before: Baseline, now: Signs) -> Vec<&'static str> {
    [
        (now.data_mounted, "the data partition is not mounted"),
        (now.data_writable, "the data partition can only be read"),
        (now.network || !before.network, "there is no network, and there was before"),
        (now.pool_listening, "the pool does not listen"),
        (now.api, "the pool's web server does not answer"),
        (now.node || !before.node, "the node is not reachable, and it was before"),
        (!now.safe_mode, "the pool runs in safe mode"),
        (!now.memory_ledger || before.memory_ledger, "the pool keeps its ledger in memory, and it did not before"),
    ]
    .into_iter()
    .filter(|(well, _)| !well)
    .map(|(_, what)| what)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Signs = Signs {
        data_mounted: true,
        data_writable: true,
        network: true,
        pool_listening: true,
        api: true,
        node: true,
        safe_mode: false,
        memory_ledger: false,
    };
    const BEFORE: Baseline = Baseline { network: true, node: true, memory_ledger: false };

    fn missing_of(verdict: &Verdict) -> usize {
        match verdict {
            Verdict::Waiting { missing, .. } => missing.len(),
            _ => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn health_must_last_without_a_break() {
        let mut gate = Gate::new(BEFORE, 3, 100);
        let signs = [WELL, WELL, Signs { api: false, ..WELL }, WELL, WELL, WELL];
        let verdicts: Vec<Verdict> = signs.into_iter().map(|signs| gate.second(signs)).collect();
        assert!(verdicts[..5].iter().all(|verdict| matches!(verdict, Verdict::Waiting { .. })));
        assert_eq!(verdicts[5], Verdict::Healthy);
        assert_eq!(gate.second(Signs::default()), Verdict::Healthy, "the verdict is final");
        assert_eq!(gate.fail("late"), Verdict::Healthy);
    }

    #[test]
    fn each_sign_counts_and_only_what_worked_before_must_work() {
        for (signs, before, expected) in [
            (WELL, BEFORE, 0),
            (Signs { data_mounted: false, ..WELL }, BEFORE, 1),
            (Signs { data_writable: false, ..WELL }, BEFORE, 1),
            (Signs { safe_mode: true, ..WELL }, BEFORE, 1),
            (Signs { memory_ledger: true, ..WELL }, BEFORE, 1),
            (Signs { memory_ledger: true, ..WELL }, Baseline { memory_ledger: true, ..BEFORE }, 0),
            (Signs { network: false, ..WELL }, BEFORE, 1),
            (Signs { network: false, ..WELL }, Baseline { network: false, ..BEFORE }, 0),
            (Signs { pool_listening: false, ..WELL }, BEFORE, 1),
            (Signs { api: false, ..WELL }, BEFORE, 1),
            (Signs { node: false, ..WELL }, BEFORE, 1),
            (Signs { node: false, ..WELL }, Baseline { node: false, ..BEFORE }, 0),
            (Signs::default(), BEFORE, 6),
        ] {
            assert_eq!(missing_of(&Gate::new(before, 9, 100).second(signs)), expected, "{signs:?} after {before:?}");
        }
    }

    #[test]
    fn it_fails_at_its_deadline_with_what_was_missing() {
        let mut gate = Gate::new(BEFORE, 2, 4);
        for _ in 0..3 {
            gate.second(Signs { node: false, ..WELL });
        }
        let Verdict::Failed(why) = gate.second(Signs { node: false, ..WELL }) else { panic!() };
        assert!(why.contains("the node is not reachable"), "{why}");
        let mut gate = Gate::new(BEFORE, 100, 3);
        assert_eq!(missing_of(&gate.second(WELL)), 0, "the deadline is never before the time that is needed");
        assert_eq!(gate.fail("the pool dies"), Verdict::Failed("the pool dies".into()));
        assert_eq!(gate.second(WELL), Verdict::Failed("the pool dies".into()));
    }
}
