//! What every handler has at hand, and all rooms put together.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use axum::http::{Method, Uri};
use axum::middleware;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{Limits, Pool, Problem, blocks, events, guard, hashrate, health, metrics, overview, page, workers};

/// Reads of the pool at a time: they may touch the disk, and watching must not take the machine from the miners.
const READERS: usize = 2;
/// How long a request waits for its turn to read.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) pool: Arc<dyn Pool>,
    readers: Arc<Semaphore>,
    /// Places for event streams.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) heart_beat: Duration,
    pub(crate) shutdown: CancellationToken,
}

impl App {
    /// Reads from the pool on a thread that may wait for a disk.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Pool) -> T + Send + 'static,
    {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.readers).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Problem::busy()) };
        let pool = Arc::clone(&self.pool);
        // The turn goes along: a reader that hung up still holds its place until the read is over.
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read(&*pool)
        });
        reading.await.map_err(|why| {
            tracing::error!("a request could not be answered: {why}");
            Problem::internal()
        })
    }
}

/// All routes, guarded. Event streams end with `shutdown`.
pub fn router(pool: Arc<dyn Pool>, limits: &Limits, shutdown: CancellationToken) -> Router {
    let app = App {
        pool,
        readers: Arc::new(Semaphore::new(READERS)),
        streams: Arc::new(Semaphore::new(limits.streams)),
        heart_beat: limits.heart_beat,
        shutdown,
    };
    Router::new()
        .merge(health::routes())
        .merge(overview::routes())
        .merge(workers::routes())
        .merge(blocks::routes())
        .merge(hashrate::routes())
        .merge(events::routes())
        .merge(metrics::routes())
        .merge(page::routes())
        .fallback(|uri: Uri| async move { Problem::no_such_path(uri.path()) })
        .method_not_allowed_fallback(|method: Method| async move { Problem::method(&method) })
        .layer(middleware::from_fn(guard::guard))
        .with_state(app)
}
