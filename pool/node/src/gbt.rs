//! Templates by getblocktemplate: one plain request and one long poll at a time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;
use warppool_work::{Chain, Hash};

use crate::rpc::{Patience, Reply, Rpc};
use crate::template::{RawTemplate, TemplateParser, hash_display};
use crate::{BoxFuture, Offer, RpcError, SourceError, TemplateError, TemplateSource, times};

const METHOD: &str = "getblocktemplate";

/// One node's getblocktemplate.
#[derive(Debug)]
pub struct GbtSource {
    rpc: Arc<Rpc>,
    chain: Chain,
    patience: Patience,
    parser: Arc<Mutex<TemplateParser>>,
    /// Held by the plain request under way.
    plain: tokio::sync::Mutex<()>,
    /// Core keeps a thread busy with a long poll until the tip or the fees change, whether or not anybody still listens:
    /// it is never given up while its tip stands, but found again.
    long: tokio::sync::Mutex<Option<LongPoll>>,
    /// The previous block's time, by its hash.
    prev_time: Mutex<Option<(Hash, u32)>>,
}

#[derive(Debug)]
struct LongPoll {
    tip: Hash,
    answer: AbortOnDropHandle<Result<Reply, RpcError>>,
}

#[derive(Deserialize)]
struct BlockTime {
    time: u32,
}

impl GbtSource {
    /// `timeout` bounds everything but long polls.
    pub fn new(rpc: Arc<Rpc>, chain: Chain, timeout: Duration) -> Self {
        Self {
            rpc,
            chain,
            patience: Patience::AtMost(timeout),
            parser: Arc::new(Mutex::new(TemplateParser::new(chain))),
            plain: tokio::sync::Mutex::default(),
            long: tokio::sync::Mutex::default(),
            prev_time: Mutex::default(),
        }
    }

    fn params(&self, long_poll_id: Option<&str>) -> serde_json::Value {
        let rules: &[&str] = if self.chain == Chain::Signet { &["segwit", "signet"] } else { &["segwit"] };
        match long_poll_id {
            Some(id) => json!([{ "rules": rules, "longpollid": id }]),
            None => json!([{ "rules": rules }]),
        }
    }

    async fn offer(&self, reply: Reply) -> Result<Offer, SourceError> {
        let seen = reply.head_at();
        let parser = Arc::clone(&self.parser);
        // Megabytes of text: not on the threads that serve miners.
        let parsed = tokio::task::spawn_blocking(move || {
            let raw = reply.value::<RawTemplate<'_>>()?;
            parser.lock().convert(&raw).map_err(SourceError::from)
        })
        .await
        .map_err(|e| TemplateError::Json(e.to_string()))??;
        let mut template = parsed.template;
        if times::depends_on_time(self.chain, &template) {
            let prev_time = self.time_of(template.prev_hash).await?;
            times::narrow(&mut template, prev_time)?;
        }
        Ok(Offer { template: Arc::new(template), mark: parsed.long_poll_id, seen })
    }

    async fn time_of(&self, block: Hash) -> Result<u32, RpcError> {
        if let Some((hash, time)) = *self.prev_time.lock()
            && hash == block
        {
            return Ok(time);
        }
        let header = self.rpc.call("getblockheader", &json!([hash_display(&block), true]), self.patience).await?;
        let time = header.value::<BlockTime>()?.time;
        *self.prev_time.lock() = Some((block, time));
        Ok(time)
    }
}

impl TemplateSource for GbtSource {
    fn fetch(&self) -> BoxFuture<'_, Result<Offer, SourceError>> {
        Box::pin(async {
            let _alone = self.plain.lock().await;
            let reply = self.rpc.call(METHOD, &self.params(None), self.patience).await?;
            self.offer(reply).await
        })
    }

    fn newer(&self, than: Offer) -> BoxFuture<'_, Result<Offer, SourceError>> {
        Box::pin(async move {
            let Some(mark) = &than.mark else { return std::future::pending().await };
            let tip = than.template.prev_hash;
            let mut slot = self.long.lock().await;
            // A long poll on an older tip is answered already or its connection is dead.
            let long = match slot.take() {
                Some(long) if long.tip == tip => slot.insert(long),
                _ => {
                    let (rpc, params) = (Arc::clone(&self.rpc), self.params(Some(mark)));
                    let call = async move { rpc.call(METHOD, &params, Patience::Forever).await };
                    slot.insert(LongPoll { tip, answer: AbortOnDropHandle::new(tokio::spawn(call)) })
                }
            };
            let outcome = (&mut long.answer).await;
            *slot = None;
            drop(slot);
            let reply = outcome.map_err(|e| RpcError::Broken { method: METHOD, reason: e.to_string() })??;
            self.offer(reply).await
        })
    }
}
