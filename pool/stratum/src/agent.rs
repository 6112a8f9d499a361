//! User agents, each kept once: thousands of miners name the same few.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// Longest user agent kept, bytes.
const MOST: usize = 64;

#[derive(Debug)]
pub(crate) struct Agents {
    known: Mutex<HashSet<Arc<str>>>,
    none: Arc<str>,
}

impl Default for Agents {
    fn default() -> Self {
        Self { known: Mutex::default(), none: Arc::from("") }
    }
}

impl Agents {
    pub(crate) fn none(&self) -> Arc<str> {
        Arc::clone(&self.none)
    }

    /// The shared form of what a miner calls itself: cut, and without control characters.
    pub(crate) fn intern(&self, agent: &str) -> Arc<str> {
        let mut clean: String = agent.chars().filter(|c| !c.is_control()).collect();
        clean.truncate(clean.floor_char_boundary(MOST));
        let clean = clean.trim();
        if clean.is_empty() {
            return self.none();
        }
        let mut known = self.known.lock();
        if let Some(agent) = known.get(clean) {
            return Arc::clone(agent);
        }
        let agent: Arc<str> = Arc::from(clean);
        known.insert(Arc::clone(&agent));
        agent
    }

    /// Forgets those nobody has any more.
    pub(crate) fn sweep(&self) {
        let mut known = self.known.lock();
        known.retain(|agent| Arc::strong_count(agent) > 1);
        known.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_agents_are_one_and_unused_ones_go() {
        let agents = Agents::default();
        let first = agents.intern("bitaxe/BM1366\u{7}");
        assert!(Arc::ptr_eq(&first, &agents.intern(" bitaxe/BM1366")));
        assert_eq!(&*agents.intern(&"ä".repeat(60)), "ä".repeat(32));
        agents.sweep();
        assert_eq!(agents.known.lock().len(), 1);
        drop(first);
        agents.sweep();
        assert!(agents.known.lock().is_empty());
    }
}
