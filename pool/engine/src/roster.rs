//! Who works here: usernames turned into payouts, workers with their pace, known by name across reconnects.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use warppool_ledger::Ledger;
use warppool_stratum::WorkerId;
use warppool_work::{Chain, Cut, Payee, Payout, Username, parse_address};

use crate::rolling::Rolling;

/// Names remembered without anybody connected under them; probes and typing errors come and go.
const MOST_IDLE: usize = 4096;

/// Whom blocks pay, by the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct PayoutRules {
    pub chain: Chain,
    /// Everything goes to the operator's address, whoever finds it.
    pub operator_takes_all: bool,
    /// The operator's address: for plain names, and for all when `operator_takes_all`.
    pub operator: Option<String>,
    pub plain_names: bool,
    pub cuts: Vec<Cut>,
}

/// A worker seen since start.
#[derive(Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub name: Arc<str>,
    state: Mutex<State>,
    connections: AtomicUsize,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The ledger's number of it; given when it comes to stay, so that probes leave nothing behind.
    ledger_id: Option<warppool_ledger::WorkerId>,
    pace: Rolling,
}

impl Worker {
    /// Tells the ledger that the worker is here, under this agent.
    pub fn meet(&self, ledger: &Ledger, agent: &str) {
        self.state.lock().ledger_id = Some(ledger.worker_id(&self.name, agent));
    }

    /// The ledger's number of this worker.
    pub fn ledger_id(&self, ledger: &Ledger) -> warppool_ledger::WorkerId {
        *self.state.lock().ledger_id.get_or_insert_with(|| ledger.worker_id(&self.name, ""))
    }

    /// Adds accepted work, in shares of difficulty 1, at a time in seconds since start.
    pub fn worked(&self, work: f64, now: u64) {
        self.state.lock().pace.add(work, now);
    }

    /// Mean hashes per second over the last `minutes`.
    pub fn hashrate(&self, minutes: u64, now: u64) -> f64 {
        self.state.lock().pace.hashrate(minutes, now)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub struct Roster {
    rules: RwLock<PayoutRules>,
    payouts: Mutex<HashMap<Vec<u8>, Weak<Payout>>>,
    workers: RwLock<Workers>,
    next_id: AtomicU32,
}

#[derive(Debug, Default)]
struct Workers {
    by_id: HashMap<WorkerId, Arc<Worker>>,
    by_name: HashMap<Arc<str>, WorkerId>,
}

impl Workers {
    fn insert(&mut self, id: WorkerId, name: Arc<str>) -> Arc<Worker> {
        let worker = Arc::new(Worker { id, name, state: Mutex::default(), connections: AtomicUsize::new(0) });
        self.by_name.insert(Arc::clone(&worker.name), id);
        self.by_id.insert(id, Arc::clone(&worker));
        worker
    }
}

impl Roster {
    pub fn new(rules: PayoutRules) -> Self {
        Self {
            rules: RwLock::new(rules),
            payouts: Mutex::default(),
            workers: RwLock::default(),
            next_id: AtomicU32::new(1),
        }
    }

    /// Whether plain names may log in from now on; miners connected stay.
    pub fn allow_plain_names(&self, allow: bool) {
        self.rules.write().plain_names = allow;
    }

    /// Who this is and whom its blocks pay. The error is what the miner's owner is told.
    pub fn admit(&self, username: &str) -> Result<(Arc<Worker>, Arc<Payout>), String> {
        let rules = self.rules.read().clone();
        let username = Username::parse(username, rules.chain).map_err(|why| why.to_string())?;
        let operator = || {
            let address = rules.operator.as_deref()?;
            parse_address(address, rules.chain).ok().map(|(_, script)| script)
        };
        let script = match &username.payee {
            _ if rules.operator_takes_all => {
                operator().ok_or("the pool has no payout address yet; ask its operator")?
            }
            Payee::Address { script, .. } => script.clone(),
            Payee::Plain(name) if !rules.plain_names => {
                return Err(format!("'{name}' is not a Bitcoin address; use ADDRESS.WORKER as username"));
            }
            Payee::Plain(name) => operator().ok_or_else(|| {
                format!("'{name}' is not a Bitcoin address and the pool has none of its own; use ADDRESS.WORKER")
            })?,
        };
        let payout = self.payout(script, &rules.cuts)?;
        Ok((self.worker(&username.to_string()), payout))
    }

    /// Equal payouts are one, so that jobs are prepared once for each.
    fn payout(&self, script: Vec<u8>, cuts: &[Cut]) -> Result<Arc<Payout>, String> {
        let mut payouts = self.payouts.lock();
        if let Some(payout) = payouts.get(&script).and_then(Weak::upgrade) {
            return Ok(payout);
        }
        let payout = Arc::new(Payout::new(script.clone(), cuts.to_vec()).map_err(|why| why.to_string())?);
        payouts.retain(|_, known| known.strong_count() > 0);
        payouts.insert(script, Arc::downgrade(&payout));
        Ok(payout)
    }

    fn worker(&self, name: &str) -> Arc<Worker> {
        if let Some(worker) = self.by_name(name) {
            return worker;
        }
        let mut workers = self.workers.write();
        if let Some(id) = workers.by_name.get(name) {
            return Arc::clone(&workers.by_id[id]);
        }
        if workers.by_id.len() >= MOST_IDLE {
            workers.by_id.retain(|_, worker| worker.connections() > 0 || Arc::strong_count(worker) > 1);
            let Workers { by_id, by_name } = &mut *workers;
            by_name.retain(|_, id| by_id.contains_key(id));
        }
        workers.insert(WorkerId(self.next_id.fetch_add(1, Ordering::Relaxed)), name.into())
    }

    /// A worker came to stay under the number it was admitted with. One that was forgotten meanwhile is known again.
    pub fn joined(&self, id: WorkerId, name: &Arc<str>) -> Arc<Worker> {
        let worker = self.by_id(id).unwrap_or_else(|| self.workers.write().insert(id, Arc::clone(name)));
        worker.connections.fetch_add(1, Ordering::Relaxed);
        worker
    }

    pub fn left(&self, id: WorkerId) {
        if let Some(worker) = self.by_id(id) {
            let _ = worker.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        }
    }

    pub fn by_name(&self, name: &str) -> Option<Arc<Worker>> {
        let workers = self.workers.read();
        workers.by_name.get(name).and_then(|id| workers.by_id.get(id)).cloned()
    }

    pub fn by_id(&self, id: WorkerId) -> Option<Arc<Worker>> {
        self.workers.read().by_id.get(&id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Worker>> {
        self.workers.read().by_id.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    const OTHER: &str = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";

    fn rules() -> PayoutRules {
        PayoutRules {
            chain: Chain::Regtest,
            operator_takes_all: false,
            operator: None,
            plain_names: true,
            cuts: Vec::new(),
        }
    }

    fn script(address: &str) -> Vec<u8> {
        parse_address(address, Chain::Regtest).unwrap().1
    }

    #[test]
    fn an_address_is_paid_and_all_its_workers_share_one_payout() {
        let roster = Roster::new(rules());
        let (first, payout) = roster.admit(&format!("{ADDRESS}.a")).unwrap();
        let (second, same) = roster.admit(&format!("{}.b", ADDRESS.to_uppercase())).unwrap();
        assert_eq!(payout.script(), script(ADDRESS));
        assert!(Arc::ptr_eq(&payout, &same));
        assert_eq!((&*first.name, &*second.name), (&*format!("{ADDRESS}.a"), &*format!("{ADDRESS}.b")));
        assert_eq!(roster.admit(&format!("{ADDRESS}.a")).unwrap().0.id, first.id, "known by name");
    }

    #[test]
    fn a_plain_name_is_paid_to_the_operator_or_refused_in_plain_words() {
        let refused = Roster::new(rules()).admit("rig1").unwrap_err();
        assert!(refused.contains("'rig1' is not a Bitcoin address"), "{refused}");
        let roster = Roster::new(PayoutRules { operator: Some(OTHER.into()), ..rules() });
        assert_eq!(roster.admit("rig1").unwrap().1.script(), script(OTHER));
        assert_eq!(roster.admit(ADDRESS).unwrap().1.script(), script(ADDRESS));
        let strict = Roster::new(PayoutRules { operator: Some(OTHER.into()), plain_names: false, ..rules() });
        assert!(strict.admit("rig1").is_err());
    }

    #[test]
    fn in_operator_mode_everything_goes_to_the_operator() {
        let roster = Roster::new(PayoutRules { operator_takes_all: true, operator: Some(OTHER.into()), ..rules() });
        assert_eq!(roster.admit(ADDRESS).unwrap().1.script(), script(OTHER));
        assert_eq!(roster.admit("rig1").unwrap().1.script(), script(OTHER));
        let none = Roster::new(PayoutRules { operator_takes_all: true, ..rules() });
        assert!(none.admit(ADDRESS).is_err());
    }

    #[test]
    fn a_mistyped_address_is_refused_whatever_the_mode() {
        for operator_takes_all in [false, true] {
            let roster = Roster::new(PayoutRules { operator_takes_all, operator: Some(OTHER.into()), ..rules() });
            assert!(roster.admit("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt081").unwrap_err().contains("typing error"));
            assert!(roster.admit("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa").unwrap_err().contains("not for regtest"));
        }
    }

    #[test]
    fn names_that_nobody_uses_are_forgotten_before_they_fill_the_memory() {
        let roster = Roster::new(PayoutRules { operator: Some(OTHER.into()), ..rules() });
        let staying = roster.admit("staying").unwrap().0;
        roster.joined(staying.id, &staying.name);
        for n in 0..MOST_IDLE * 3 {
            roster.admit(&format!("w{n}")).unwrap();
        }
        assert!(roster.all().len() <= MOST_IDLE);
        assert_eq!(roster.admit("staying").unwrap().0.id, staying.id);
    }
}
