//! The workers in memory: found by name or number, bounded by the caps, each with the tally of its running bucket.

use std::collections::HashMap;

use crate::record::{Best, VardiffState, WorkerRecord, user_of};
use crate::tallies::ByWorker;
use crate::{Caps, Tally, Worker, WorkerId};

/// Longest name and agent kept, in bytes. An address with a rig's name is below 128.
const MAX_NAME: usize = 256;
const MAX_AGENT: usize = 128;

/// When a worker's record is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    No,
    /// With the next checkpoint: the raw shares on disk restore it until then.
    Checkpoint,
    /// With the next commit: it is new.
    Commit,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: WorkerId,
    pub(crate) name: String,
    pub(crate) agent: String,
    pub(crate) first_seen_ms: u64,
    pub(crate) last_seen_ms: u64,
    /// Without the running bucket.
    pub(crate) totals: Tally,
    pub(crate) best: Option<Best>,
    pub(crate) vardiff: Option<VardiffState>,
    pub(crate) blocks_found: u32,
    pub(crate) due: Due,
    /// The shares of the running bucket that are not yet among the totals.
    pub(crate) running: Tally,
    pub(crate) is_running: bool,
}

impl Entry {
    pub(crate) fn from_record(id: WorkerId, record: WorkerRecord) -> Self {
        Self {
            id,
            name: record.name,
            agent: record.agent,
            first_seen_ms: record.first_seen_ms,
            last_seen_ms: record.last_seen_ms,
            totals: record.totals,
            best: record.best,
            vardiff: record.vardiff,
            blocks_found: 0,
            due: Due::No,
            running: Tally::default(),
            is_running: false,
        }
    }

    /// As it is to be written with commit group `seq`. The running bucket must be among the totals.
    pub(crate) fn record(&self, seq: u64) -> WorkerRecord {
        WorkerRecord {
            name: self.name.clone(),
            agent: self.agent.clone(),
            first_seen_ms: self.first_seen_ms,
            last_seen_ms: self.last_seen_ms,
            totals: self.totals,
            best: self.best,
            vardiff: self.vardiff,
            seq,
        }
    }

    pub(crate) fn worker(&self) -> Worker {
        let mut totals = self.totals;
        totals.merge(&self.running);
        Worker {
            id: self.id,
            name: self.name.clone(),
            agent: self.agent.clone(),
            first_seen_ms: self.first_seen_ms,
            last_seen_ms: self.last_seen_ms,
            totals,
            best: self.best,
            blocks_found: self.blocks_found,
            vardiff: self.vardiff,
        }
    }

    pub(crate) fn set_due(&mut self, due: Due) {
        self.due = self.due.max(due);
    }

    pub(crate) fn improve(&mut self, best: Best) -> bool {
        let better = best.difficulty > self.best.map_or(0.0, |best| best.difficulty);
        if better {
            self.best = Some(best);
        }
        better
    }
}

#[derive(Debug, Default)]
pub(crate) struct Directory {
    entries: Vec<Entry>,
    by_id: ByWorker<usize>,
    by_name: HashMap<String, usize>,
}

impl Directory {
    pub(crate) fn insert(&mut self, entry: Entry) {
        let place = self.entries.len();
        self.by_id.insert(entry.id, place);
        self.by_name.insert(entry.name.clone(), place);
        self.entries.push(entry);
    }

    pub(crate) fn place(&self, id: WorkerId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn at(&mut self, place: usize) -> &mut Entry {
        &mut self.entries[place]
    }

    pub(crate) fn get(&self, id: WorkerId) -> Option<&Entry> {
        self.place(id).map(|place| &self.entries[place])
    }

    pub(crate) fn get_mut(&mut self, id: WorkerId) -> Option<&mut Entry> {
        self.place(id).map(|place| &mut self.entries[place])
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(cut(name, MAX_NAME)).map(|&place| &self.entries[place])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes that a worker is here. `None` when it is not known yet.
    pub(crate) fn see(&mut self, name: &str, agent: &str, now_ms: u64) -> Option<WorkerId> {
        let place = *self.by_name.get(cut(name, MAX_NAME))?;
        let entry = &mut self.entries[place];
        entry.last_seen_ms = entry.last_seen_ms.max(now_ms);
        let agent = cut(agent, MAX_AGENT);
        if entry.agent != agent {
            agent.clone_into(&mut entry.agent);
        }
        entry.set_due(Due::Checkpoint);
        Some(entry.id)
    }

    pub(crate) fn create(&mut self, id: WorkerId, name: &str, agent: &str, now_ms: u64) {
        let record = WorkerRecord {
            name: cut(name, MAX_NAME).to_owned(),
            agent: cut(agent, MAX_AGENT).to_owned(),
            first_seen_ms: now_ms,
            last_seen_ms: now_ms,
            totals: Tally::default(),
            best: None,
            vardiff: None,
            seq: 0,
        };
        let mut entry = Entry::from_record(id, record);
        entry.due = Due::Commit;
        self.insert(entry);
    }

    /// Whom to forget so that one more worker of this user fits.
    pub(crate) fn surplus(&self, name: &str, caps: Caps) -> Option<WorkerId> {
        let user = user_of(name);
        let is_of_user = |entry: &&Entry| user_of(&entry.name) == user;
        if self.entries.iter().filter(is_of_user).count() >= caps.workers_per_user.max(1) {
            return longest_unseen(self.entries.iter().filter(is_of_user));
        }
        if self.entries.len() >= caps.workers.max(1) { longest_unseen(self.entries.iter()) } else { None }
    }

    pub(crate) fn remove(&mut self, id: WorkerId) {
        let Some(place) = self.by_id.remove(&id) else { return };
        let gone = self.entries.swap_remove(place);
        self.by_name.remove(&gone.name);
        if let Some(moved) = self.entries.get(place) {
            self.by_id.insert(moved.id, place);
            self.by_name.insert(moved.name.clone(), place);
        }
    }
}

fn longest_unseen<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<WorkerId> {
    let idle = entries.filter(|entry| entry.blocks_found == 0);
    idle.min_by_key(|entry| (entry.last_seen_ms, entry.id)).map(|entry| entry.id)
}

/// A text's beginning, at most so many bytes, not within a character.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_a_worker_leaves_every_other_findable() {
        let mut directory = Directory::default();
        (0..10).for_each(|n| directory.create(WorkerId(n), &format!("user.{n}"), "agent", 1));
        directory.remove(WorkerId(3));
        directory.remove(WorkerId(9));
        for n in 0..10 {
            let found = directory.get(WorkerId(n)).map(|entry| entry.name.clone());
            let expected = (n != 3 && n != 9).then(|| format!("user.{n}"));
            assert_eq!(found, expected);
            assert_eq!(directory.named(&format!("user.{n}")).is_some(), expected.is_some());
        }
    }

    #[test]
    fn overlong_names_and_agents_are_cut_between_characters() {
        let mut directory = Directory::default();
        let name = "ä".repeat(MAX_NAME);
        directory.create(WorkerId(1), &name, &name, 1);
        let entry = directory.named(&name).unwrap();
        assert_eq!((entry.name.len(), entry.agent.len()), (MAX_NAME, MAX_AGENT));
        assert_eq!(directory.see(&name, "x", 2), Some(WorkerId(1)));
    }

    #[test]
    fn the_longest_unseen_of_the_user_goes_first_and_a_finder_of_a_block_never() {
        let mut directory = Directory::default();
        let caps = Caps { workers_per_user: 2, workers: 4 };
        directory.create(WorkerId(1), "a.1", "", 10);
        directory.create(WorkerId(2), "a.2", "", 20);
        directory.create(WorkerId(3), "b.1", "", 5);
        assert_eq!(directory.surplus("a.3", caps), Some(WorkerId(1)), "user a is full");
        assert_eq!(directory.surplus("b.2", caps), None);
        directory.create(WorkerId(4), "c.1", "", 30);
        assert_eq!(directory.surplus("d.1", caps), Some(WorkerId(3)), "the pool is full");
        directory.get_mut(WorkerId(3)).unwrap().blocks_found = 1;
        assert_eq!(directory.surplus("d.1", caps), Some(WorkerId(1)));
        directory.iter_mut().for_each(|entry| entry.blocks_found = 1);
        assert_eq!(directory.surplus("d.1", caps), None, "rather one too many");
    }
}
