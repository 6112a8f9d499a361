//! Bitcoin Core as the pool sees it: where templates come from and where blocks go.
//!
//! [`Nodes`] keeps several nodes under watch, mines on the first usable one, and says of each what is wrong and what to
//! do about it. Everything a node sends is foreign: it is bounded, checked, and never trusted to be well-formed.

mod advice;
mod auth;
mod error;
mod failover;
mod feed;
mod gbt;
mod health;
mod http;
mod latency;
mod node;
mod nodes;
mod rpc;
mod settings;
mod source;
mod standing;
mod status;
mod submit;
mod template;
mod times;
mod zmq;

pub use advice::Advice;
pub use auth::Auth;
pub use error::{NodeError, RpcError, SettingsError, SourceError, TemplateError};
pub use gbt::GbtSource;
pub use latency::{LATENCY_BUCKETS, Latency, LatencySnapshot};
pub use nodes::Nodes;
pub use rpc::{Patience, Reply, Rpc};
pub use settings::{NodeSettings, Settings};
pub use source::{BoxFuture, Offer, TemplateSource, TipNews, Update};
pub use status::{Network, NodeStatus, ZmqState, ZmqStatus};
pub use submit::{BlockStatus, SubmitAnswer, TipHeader};
pub use template::{Parsed, TemplateParser};
pub use zmq::{HashBlock, ZmqError, parse_hashblock};
