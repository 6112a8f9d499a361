//! A session driven by hand: bytes in, answers out, no socket and no runtime.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::{Core, Now};
use crate::pool::{Reason, SessionInfo, ShareReport};
use crate::session::{Flow, Session};

/// Made by [`Server::converse`](crate::Server::converse). It takes part in everything but [`Server::publish`]'s sending: it
/// finds the newest job when it begins.
///
/// [`Server::publish`]: crate::Server::publish
pub struct Conversation {
    core: Arc<Core>,
    session: Session,
    shares: Vec<ShareReport>,
    ended: Option<Reason>,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Conversation {
    pub(crate) fn new(core: Arc<Core>, session: Session) -> Self {
        Self { core, session, shares: Vec::new(), ended: None }
    }

    /// What one read gives. Answers are appended to `out`; an error says why the connection would be closed.
    pub fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
        let now = self.core.now();
        self.receive_at(now, input, out)
    }

    /// As [`Conversation::receive`], `later` than it is.
    pub fn receive_later(&mut self, later: Duration, input: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
        let now = self.core.moment(self.core.now().at + later);
        self.receive_at(now, input, out)
    }

    fn receive_at(&mut self, now: Now, input: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
        let view = self.core.view_at(now);
        let flow = self.session.handle(input, &view, out, &mut self.shares);
        self.follow(flow)
    }

    /// What the clock brings `later` than it is.
    pub fn tick_later(&mut self, later: Duration, out: &mut Vec<u8>) -> Result<(), Reason> {
        let view = self.core.view_at(self.core.moment(self.core.now().at + later));
        let flow = self.session.tick(&view, out);
        self.follow(flow)
    }

    fn follow(&mut self, flow: Flow) -> Result<(), Reason> {
        match flow {
            Flow::Continue(()) => Ok(()),
            Flow::Break(reason) => Err(*self.ended.insert(reason)),
        }
    }

    /// The newest job, as [`Server::publish`](crate::Server::publish) would have sent it.
    pub fn take_newest(&mut self, out: &mut Vec<u8>) {
        let view = self.core.view();
        let Some((job, prepared)) = view.board.newest() else { return };
        if let Some(payout) = self.session.take_job(job.id, &view, out) {
            let line = prepared.line_for(job, payout, job.clean);
            out.extend_from_slice(&line);
        }
    }

    pub fn info(&self) -> SessionInfo {
        self.session.info(Some(0), self.core.now())
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.session.end(self.ended.unwrap_or(Reason::Closed), &self.core);
    }
}
