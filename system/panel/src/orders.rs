//! From any thread to the panel: the state to show, and what else it shall do. The latest state wins, none waits in a queue.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::State;

/// The sending side; cheap to clone.
#[derive(Clone, Debug)]
pub struct Orders(Arc<Mutex<Shared>>);

/// The panel's side.
#[derive(Debug)]
pub struct Inbox(Arc<Mutex<Shared>>);

/// What came since the panel last looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub state: Option<State>,
    pub celebrate: bool,
    pub stop: bool,
}

#[derive(Debug, Default)]
struct Shared {
    news: News,
    waker: Option<Waker>,
}

/// Makes both sides.
pub fn orders() -> (Orders, Inbox) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    (Orders(Arc::clone(&shared)), Inbox(shared))
}

impl Orders {
    /// Shows a state, from its pattern's start unless it is shown already.
    pub fn set(&self, state: State) {
        self.tell(|news| news.state = Some(state));
    }

    /// Celebrates a found block, then shows the state again.
    pub fn celebrate(&self) {
        self.tell(|news| news.celebrate = true);
    }

    /// Ends the panel, with the LED dark.
    pub fn stop(&self) {
        self.tell(|news| news.stop = true);
    }

    fn tell(&self, what: impl FnOnce(&mut News)) {
        let mut shared = lock(&self.0);
        what(&mut shared.news);
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    }
}

impl Inbox {
    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut lock(&self.0).news)
    }

    /// Waits until there are news.
    pub(crate) async fn filled(&self) {
        poll_fn(|context| {
            let mut shared = lock(&self.0);
            if shared.news == News::default() {
                shared.waker = Some(context.waker().clone());
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}

/// A thread that panicked while it gave an order leaves the orders whole.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
