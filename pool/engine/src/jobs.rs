//! Jobs: made of what the node offers, sent to every miner, and never long without a new one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};
use warppool_events::{Bus, Event, Level};
use warppool_ledger::{Ledger, NotifySample};
use warppool_node::{Nodes, TipHeader, TipNews, Update};
use warppool_stratum::{Broadcast, Server};
use warppool_work::{Chain, Job, JobFactory, Template};

use crate::desk::now_ms;

/// Blocks between two changes of the difficulty.
const RETARGET: u32 = 2016;

#[derive(Debug)]
pub struct Jobs {
    pub factory: JobFactory,
    pub nodes: Nodes,
    pub server: Arc<Server>,
    pub ledger: Ledger,
    pub bus: Bus,
    pub chain: Chain,
    /// Send a job without transactions as soon as a new tip is known.
    pub empty_first: bool,
    /// Longest time between two jobs, also while no node offers anything new: miners take silence for a dead pool.
    pub keepalive: Duration,
}

/// What is being mined.
#[derive(Debug)]
struct Current {
    /// Of the last job, and when the node made it.
    template: Option<(Arc<Template>, Instant)>,
    /// When the last job went out.
    published: Instant,
}

/// A new tip and its header, once the node has told it.
type Headed = Option<(TipNews, TipHeader)>;

impl Jobs {
    pub async fn run(self, shutdown: CancellationToken) {
        let mut templates = self.nodes.templates();
        let mut tips = self.nodes.tip_news();
        let mut headers: JoinSet<Headed> = JoinSet::new();
        let mut current = Current { template: None, published: Instant::now() };
        // A template may be there already.
        templates.mark_changed();
        loop {
            tokio::select! {
                // In this order: a whole template makes an empty job needless.
                biased;
                () = shutdown.cancelled() => return,
                changed = templates.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let update = templates.borrow_and_update().clone();
                    if let Some(update) = update {
                        self.on_template(&mut current, &update);
                    }
                }
                Ok(()) = tips.changed(), if self.empty_first => {
                    let news = tips.borrow_and_update().clone();
                    headers.abort_all();
                    if let Some(news) = news.filter(|news| current.tip() != Some(news.hash)) {
                        headers.spawn(header(self.nodes.clone(), news));
                    }
                }
                Some(headed) = headers.join_next() => {
                    if let Ok(Some((news, header))) = headed {
                        self.on_tip(&mut current, &news, header);
                    }
                }
                () = tokio::time::sleep_until((current.published + self.keepalive).into()) => self.on_silence(&mut current),
            }
        }
    }

    fn on_template(&self, current: &mut Current, update: &Update) {
        let is_new_tip = current.tip() != Some(update.template.prev_hash);
        let job = match self.factory.build(&update.template, is_new_tip) {
            Ok(job) => Arc::new(job),
            Err(why) => {
                let message = format!("the template of {} cannot be mined: {why}", update.node);
                error!("{message}");
                self.bus.send(Event::Notice { level: Level::Error, message });
                return;
            }
        };
        current.template = Some((Arc::clone(&update.template), Instant::now()));
        let broadcast = self.publish(current, &job);
        if update.new_tip {
            info!("mining on height {} ({} transactions, told by {:?})", job.height, job.transactions, update.source);
        }
        if is_new_tip {
            self.measure(&job, update.tip_seen, &broadcast);
        }
    }

    /// An empty job on a tip whose template is still being made. Only where all of its header is sure: the tip follows the one
    /// mined on, and its successor has the same difficulty.
    fn on_tip(&self, current: &mut Current, news: &TipNews, header: TipHeader) {
        let Some((known, since)) = &current.template else { return };
        let height = header.height + 1;
        let is_next = header.height == known.height && known.prev_hash != news.hash;
        let same_bits = header.bits == known.bits && !height.is_multiple_of(RETARGET) && self.chain != Chain::Testnet4;
        if !is_next || !same_bits {
            return;
        }
        let min_time = header.median_time + 1;
        let template = Template {
            height,
            prev_hash: news.hash,
            min_time,
            cur_time: passed(known, *since).max(min_time),
            coinbase_value: self.chain.subsidy(height),
            transactions: Vec::new(),
            witness_commitment: None,
            ..(**known).clone()
        };
        let template = Arc::new(template);
        match self.factory.build_empty(&template, true) {
            Ok(job) => {
                let job = Arc::new(job);
                current.template = Some((template, Instant::now()));
                let broadcast = self.publish(current, &job);
                self.measure(&job, news.seen, &broadcast);
            }
            Err(why) => debug!("no empty job for the new tip: {why}"),
        }
    }

    /// Nothing new for a while: the same work under a new id, with the time moved on.
    fn on_silence(&self, current: &mut Current) {
        current.published = Instant::now();
        let Some((template, since)) = &current.template else { return };
        let again = Template { cur_time: passed(template, *since).min(template.max_time), ..(**template).clone() };
        match self.factory.build(&Arc::new(again), false) {
            Ok(job) => {
                self.publish(current, &Arc::new(job));
            }
            Err(why) => debug!("the job cannot be refreshed: {why}"),
        }
    }

    fn publish(&self, current: &mut Current, job: &Arc<Job>) -> Broadcast {
        let broadcast = self.server.publish(Arc::clone(job));
        current.published = Instant::now();
        self.bus.send(Event::NewJob {
            job: job.id.to_string(),
            height: job.height,
            clean: job.clean,
            transactions: job.transactions,
            coinbase_value_sat: job.value,
        });
        broadcast
    }

    /// Keeps how long the news of a tip took to the miners.
    fn measure(&self, job: &Job, tip_seen: Instant, broadcast: &Broadcast) {
        let total = tip_seen.elapsed();
        if broadcast.miners == 0 {
            return;
        }
        let last_ms = total.as_secs_f64() * 1e3;
        let first_ms = last_ms - (broadcast.last.saturating_sub(broadcast.first)).as_secs_f64() * 1e3;
        let miners = broadcast.miners;
        self.ledger.notify_sample(NotifySample {
            at_ms: now_ms(),
            height: job.height,
            miners: miners as u32,
            first_ms,
            last_ms,
        });
        self.bus.send(Event::TipToNotify { height: job.height, miners, first_ms, last_ms });
    }
}

impl Current {
    fn tip(&self) -> Option<warppool_work::Hash> {
        self.template.as_ref().map(|(template, _)| template.prev_hash)
    }
}

/// Asks for the header of a new tip; `None` when the node does not hold it for its tip.
async fn header(nodes: Nodes, news: TipNews) -> Headed {
    let mut displayed = news.hash;
    displayed.reverse();
    let header = nodes.tip_header(&news.node, &hex::encode(displayed)).await.ok()??;
    Some((news, header))
}

/// The node's time now: what it said then, and what has passed since. This machine's own clock may be wrong.
fn passed(template: &Template, since: Instant) -> u32 {
    template.cur_time.saturating_add(u32::try_from(since.elapsed().as_secs()).unwrap_or(u32::MAX))
}
