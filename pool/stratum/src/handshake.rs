//! Everything a miner may ask besides submitting: the handshake in any order, difficulty wishes, and the odds and ends.

use std::sync::Arc;

use serde_json::{Value, json};
use warppool_work::{DeviceClass, Difficulty, EN2_SIZE, ROLLABLE, Vardiff, VersionMask};

use crate::asked::{fixed_in_password, has_password, suggested_difficulty, suggested_target};
use crate::line::{Fields, Id};
use crate::metrics::Counters;
use crate::pool::Login;
use crate::reply::{self, Code};
use crate::session::{Flow, Session, Turn, Worker};

const VERSION: &str = concat!("WarpPool/", env!("CARGO_PKG_VERSION"));
/// Most workers on one connection.
const MOST_WORKERS: usize = 16;

impl Session {
    pub(crate) fn call(&mut self, id: Id<'_>, method: &str, params: &Value, turn: &mut Turn<'_>) -> Flow {
        match method {
            "mining.submit" => return self.submit_at_length(id, params, turn),
            "mining.subscribe" => self.subscribe(id, params, turn),
            "mining.authorize" | "mining.auth" => self.authorize(id, params, turn),
            "mining.configure" => self.configure(id, params, turn),
            "mining.suggest_difficulty" => self.suggest(id, suggested_difficulty(params), turn),
            "mining.suggest_target" => self.suggest(id, suggested_target(params), turn),
            "mining.extranonce.subscribe" => reply::yes(turn.out, id),
            "mining.multi_version" => {
                self.mask = VersionMask::requested(ROLLABLE);
                reply::yes(turn.out, id);
            }
            "mining.get_transactions" => reply::result(turn.out, id, &json!([])),
            "mining.ping" => reply::result(turn.out, id, &json!("pong")),
            "client.get_version" => reply::result(turn.out, id, &json!(VERSION)),
            _ => reply::error(turn.out, id, Code::UnknownMethod, "method not found"),
        }
        Flow::Continue(())
    }

    /// A submission that was not in its usual form, but may be right nevertheless.
    fn submit_at_length(&mut self, id: Id<'_>, params: &Value, turn: &mut Turn<'_>) -> Flow {
        match Fields::from_params(params) {
            Some(fields) => self.submit(id, &fields, turn),
            None => self.submit(id, &Fields::NONE, turn),
        }
    }

    fn subscribe(&mut self, id: Id<'_>, params: &Value, turn: &mut Turn<'_>) {
        if let Some(agent) = params.get(0).and_then(Value::as_str) {
            self.agent = turn.view.core.agents.intern(agent);
            self.class = DeviceClass::from_agent(&self.agent);
        }
        let en1 = self.en1.get_or_insert_with(|| turn.view.core.extranonces.allocate()).bytes();
        let session = format!("{:016x}", self.id);
        let result =
            json!([[["mining.set_difficulty", session], ["mining.notify", session]], const_hex::encode(en1), EN2_SIZE]);
        reply::result(turn.out, id, &result);
        self.begin(turn);
    }

    fn authorize(&mut self, id: Id<'_>, params: &Value, turn: &mut Turn<'_>) {
        let text = |n| params.get(n).and_then(Value::as_str).unwrap_or_default();
        let (username, password) = (text(0), text(1));
        if !self.workers.iter().any(|worker| worker.login() == username)
            && let Err(refusal) = self.admit(username, password, turn)
        {
            return reply::no(turn.out, id, &refusal);
        }
        reply::yes(turn.out, id);
        if let Some(fixed) = fixed_in_password(password) {
            self.fix(fixed, turn);
        }
        self.begin(turn);
    }

    fn admit(&mut self, username: &str, password: &str, turn: &mut Turn<'_>) -> Result<(), String> {
        let (view, core, source) = (turn.view, turn.view.core, self.source());
        if !core.limits.authorize(source, view.settings(), view.now.at) {
            Counters::count(&core.counters.authorize_limited);
            return Err("too many attempts to authorize from this address; try again in a few seconds".into());
        }
        let admitted = self.ask_pool(username, password, turn).inspect_err(|refusal| {
            Counters::count(&core.counters.authorize_refused);
            tracing::info!(peer = %self.peer, agent = %self.agent, username, refusal, "authorization refused");
        })?;
        Counters::count(&core.counters.authorized);
        self.add_worker(admitted);
        Ok(())
    }

    fn ask_pool(&mut self, username: &str, password: &str, turn: &mut Turn<'_>) -> Result<Worker, String> {
        let (view, core) = (turn.view, turn.view.core);
        if view.settings().password.as_ref().is_some_and(|wanted| !has_password(password, wanted)) {
            return Err("wrong pool password; give the password its operator told you".into());
        }
        if self.workers.len() >= MOST_WORKERS {
            return Err(format!("this connection has {MOST_WORKERS} workers already; open another one"));
        }
        let login = Login { username, password, agent: &self.agent, peer: self.peer.ip(), tls: self.tls };
        let admitted = core.pool.authorize(&login)?;
        if let Some(left) = core.bans.left(self.source(), &admitted.name, view.now.at) {
            let seconds = left.as_secs().max(1);
            return Err(format!("this worker sent nothing but rejected shares and is shut out for {seconds} s more"));
        }
        match &self.payout {
            None => {
                self.payout = Some(Arc::clone(&admitted.payout));
                self.wishes.resumed = admitted.vardiff;
            }
            // All work of a connection is for one payee: a second one would mine for the first.
            Some(payout) if **payout != *admitted.payout => {
                return Err("this connection mines for another address; open one for each address".into());
            }
            Some(_) => {}
        }
        Ok(Worker::new(admitted.worker, admitted.name, username))
    }

    /// BIP310, and the extensions others have added to it. Each gets an answer; unknown ones `false`.
    fn configure(&mut self, id: Id<'_>, params: &Value, turn: &mut Turn<'_>) {
        let extensions = params.get(0).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let asked = |key: &str| params.get(1).and_then(|parameters| parameters.get(key));
        let mut result = serde_json::Map::new();
        for extension in extensions.iter().filter_map(Value::as_str) {
            let granted = match extension {
                "version-rolling" => {
                    let mask = asked("version-rolling.mask").map_or(Some(ROLLABLE), mask);
                    // min-bit-count tells what the hardware would like; fewer bits serve it better than none.
                    self.mask = mask.map_or(VersionMask::NONE, VersionMask::requested);
                    let granted = self.mask != VersionMask::NONE;
                    if granted {
                        result.insert("version-rolling.mask".into(), format!("{:08x}", self.mask.bits()).into());
                    }
                    granted
                }
                "minimum-difficulty" => match asked("minimum-difficulty.value").and_then(suggested_difficulty) {
                    Some(least) => {
                        self.wishes.least = Some(least);
                        self.take_settings(turn.view);
                        true
                    }
                    None => false,
                },
                "subscribe-extranonce" | "info" => true,
                _ => false,
            };
            result.insert(extension.into(), granted.into());
        }
        reply::result(turn.out, id, &Value::Object(result));
        self.update_difficulty(turn.view, turn.out);
    }

    /// A suggestion is where vardiff goes on from. The same one again, sent as a sign of life, changes nothing.
    fn suggest(&mut self, id: Id<'_>, difficulty: Option<Difficulty>, turn: &mut Turn<'_>) {
        // What is no difficulty (0 means "any" to some firmware) is no reason to trouble the miner.
        reply::yes(turn.out, id);
        if difficulty.is_none() || self.wishes.suggested == difficulty {
            return;
        }
        self.wishes.suggested = difficulty;
        let settings = self.vardiff_settings(turn.view);
        if let (Some(vardiff), Some(difficulty)) = (&mut self.vardiff, difficulty)
            && !vardiff.is_fixed()
        {
            *vardiff = Vardiff::new(settings, difficulty, turn.view.now.seconds());
            self.update_difficulty(turn.view, turn.out);
        }
    }

    fn fix(&mut self, difficulty: Difficulty, turn: &mut Turn<'_>) {
        if self.wishes.fixed == Some(difficulty) {
            return;
        }
        self.wishes.fixed = Some(difficulty);
        if let Some(vardiff) = &mut self.vardiff {
            vardiff.fix(difficulty, turn.view.now.seconds());
            self.update_difficulty(turn.view, turn.out);
        }
    }
}

/// A mask in hex, with or without `0x`, or as a number.
fn mask(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
        }
        other => other.as_u64().and_then(|mask| u32::try_from(mask).ok()),
    }
}
