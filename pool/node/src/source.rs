//! Where templates come from, whichever way: the seam behind which getblocktemplate, IPC and Stratum V2 look alike.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use warppool_events::TipSource;
use warppool_work::{Hash, Template};

use crate::SourceError;

/// A boxed future, so that sources can be kept behind one type.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a source offers to mine.
#[derive(Clone, Debug)]
pub struct Offer {
    pub template: Arc<Template>,
    /// The source's own mark of this template, to ask for a newer one; `None` when it cannot be waited on.
    pub mark: Option<String>,
    /// When the source began to tell of it.
    pub seen: Instant,
}

/// One node's templates.
pub trait TemplateSource: Send + Sync + 'static {
    /// The template as it is now.
    fn fetch(&self) -> BoxFuture<'_, Result<Offer, SourceError>>;

    /// Waits, for ever if need be, until there is something newer than `than`: a new tip or better fees. May be dropped
    /// and called again without asking the node twice.
    fn newer(&self, than: Offer) -> BoxFuture<'_, Result<Offer, SourceError>>;
}

/// The template to mine on from now on.
#[derive(Clone, Debug)]
pub struct Update {
    pub template: Arc<Template>,
    /// The node it came from.
    pub node: String,
    /// What brought this template; for a new tip, what told of it first.
    pub source: TipSource,
    /// When the first news of this tip reached the pool.
    pub tip_seen: Instant,
    /// The tip is another than the update's before; `false` when only fees or times changed.
    pub new_tip: bool,
}

/// A new tip is known, its template is not yet: an empty block could be mined on it already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TipNews {
    pub hash: Hash,
    pub node: String,
    pub source: TipSource,
    pub seen: Instant,
}
