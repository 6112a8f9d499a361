//! The pool as the Stratum servers see it: who may work, where shares and blocks go.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use warppool_events::{BlockFate, Bus, Event};
use warppool_ledger::{BlockRow, Ledger};
use warppool_stratum::{Admitted, Found, Login, Pool, Reason, SessionInfo, ShareReport};
use warppool_work::{Chain, Coinbase, VardiffState};

use crate::blocks::Blocks;
use crate::intake::Intake;
use crate::roster::{Roster, Worker};

#[derive(Debug)]
pub struct Desk {
    pub chain: Chain,
    pub roster: Arc<Roster>,
    pub intake: Arc<Intake>,
    pub blocks: Arc<Blocks>,
    pub ledger: Ledger,
    pub bus: Bus,
}

impl Pool for Desk {
    fn authorize(&self, login: &Login<'_>) -> Result<Admitted, String> {
        let (worker, payout) = self.roster.admit(login.username)?;
        let vardiff = self.ledger.worker(&worker.name).and_then(|known| known.vardiff).and_then(|kept| {
            let difficulty = kept.difficulty.try_into().ok()?;
            Some(VardiffState { difficulty, rate: kept.rate })
        });
        Ok(Admitted { worker: worker.id, name: Arc::clone(&worker.name), payout, vardiff })
    }

    fn shares(&self, shares: &[ShareReport]) {
        for best in self.intake.take(shares, &self.roster, &self.ledger) {
            self.bus.send(Event::BestShare { worker: best.worker.to_string(), difficulty: best.difficulty });
        }
    }

    fn block(&self, found: Found) {
        let row = BlockRow {
            hash: found.hash,
            height: found.job.height,
            at_ms: now_ms(),
            worker: found.worker_name.to_string(),
            address: address_of(found.payout.script(), self.chain),
            value_sat: found.job.value,
            fate: BlockFate::Pending,
            confirmations: 0,
            network_difficulty: found.job.network_target.difficulty(),
            difficulty: found.difficulty,
            payouts: payouts(&found.coinbase, self.chain),
        };
        let block = found.job.block(&found.coinbase, &found.header, found.en1, found.en2);
        self.blocks.found(row, block);
    }

    fn connected(&self, session: &SessionInfo) {
        let (Some(id), Some(name)) = (session.worker, &session.name) else { return };
        self.roster.joined(id, name).meet(&self.ledger, &session.agent);
    }

    fn disconnected(&self, session: &SessionInfo, _: Reason, vardiff: Option<VardiffState>) {
        let Some(id) = session.worker else { return };
        self.roster.left(id);
        if let (Some(state), Some(worker)) = (vardiff, self.roster.by_id(id)) {
            keep_vardiff(&self.ledger, &worker, state);
        }
    }
}

/// Remembers where a worker's difficulty stood, for its next connection or the next start.
pub fn keep_vardiff(ledger: &Ledger, worker: &Worker, state: VardiffState) {
    let id = worker.ledger_id(ledger);
    let state =
        warppool_ledger::VardiffState { difficulty: state.difficulty.get(), rate: state.rate, updated_ms: now_ms() };
    ledger.set_vardiff(id, state);
}

fn payouts(coinbase: &Coinbase, chain: Chain) -> Vec<warppool_ledger::Payout> {
    let outputs = coinbase.outputs().iter();
    outputs
        .map(|output| warppool_ledger::Payout { address: address_of(&output.script, chain), value_sat: output.value })
        .collect()
}

/// The address of a script, or its hex where it has none.
fn address_of(script: &[u8], chain: Chain) -> String {
    warppool_work::address_of_script(script, chain).unwrap_or_else(|| hex::encode(script))
}

/// Milliseconds since the Unix epoch by this machine's clock.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
