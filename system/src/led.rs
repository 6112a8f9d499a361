//! Which of its states the panel shows: one answer from all that is going on, the most urgent first.

use warppool_panel::State;
use warppool_protocol::{Node, PoolReport};

/// All that counts for the LED.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub going_down: bool,
    /// A restart waits for a block to settle.
    pub restart_pending: bool,
    pub waiting_for_button: bool,
    pub updating: bool,
    pub trial: bool,
    pub safe_mode: bool,
    pub has_faults: bool,
    /// What the pool said last; `None` before its first words and while it is down.
    pub pool: Option<PoolReport>,
    /// It has been up since the boot: down now is a fault, not a start.
    pub pool_was_up: bool,
}

pub fn state(view: &View) -> State {
    if view.going_down {
        return State::ShuttingDown;
    }
    if view.waiting_for_button {
        return State::WaitingForConfirmation;
    }
    if view.restart_pending {
        return State::RestartPending;
    }
    if view.updating {
        return State::Updating;
    }
    let Some(pool) = &view.pool else {
        return if view.pool_was_up { State::Fault } else { State::Booting };
    };
    if view.has_faults {
        return State::Fault;
    }
    if view.safe_mode || pool.memory_ledger {
        return State::SafeMode;
    }
    if view.trial {
        return State::Trial;
    }
    if !pool.listening {
        return State::Fault;
    }
    match pool.node {
        // Somebody who hands over a node and an address needs no page.
        Node::None => State::NeedsSetup,
        _ if !pool.claimed => State::NeedsSetup,
        Node::Unreachable => State::NodeUnreachable,
        Node::Reachable if pool.miners == 0 => State::NoMiners,
        Node::Reachable => State::Mining,
    }
}

/// For the log.
pub fn words(state: State) -> &'static str {
    match state {
        State::Booting => "booting",
        State::NeedsSetup => "needs set-up",
        State::Mining => "healthy and mining",
        State::NoMiners => "healthy without miners",
        State::NodeUnreachable => "node unreachable",
        State::Updating => "updating",
        State::Trial => "trial",
        State::SafeMode => "safe mode",
        State::Fault => "fault",
        State::WaitingForConfirmation => "waiting for confirmation",
        State::RestartPending => "restart pending",
        State::ShuttingDown => "shutting down",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mining() -> View {
        let pool = PoolReport {
            claimed: true,
            listening: true,
            api: true,
            has_job: true,
            node: Node::Reachable,
            miners: 3,
            ..PoolReport::default()
        };
        View { pool: Some(pool), pool_was_up: true, ..View::default() }
    }

    #[track_caller]
    fn shows(want: State, change: impl FnOnce(&mut View)) {
        let mut view = mining();
        change(&mut view);
        assert_eq!(state(&view), want, "{view:?}");
    }

    fn pool(view: &mut View) -> &mut PoolReport {
        view.pool.as_mut().unwrap()
    }

    #[test]
    fn the_pool_s_own_states() {
        shows(State::Mining, |_| ());
        shows(State::NoMiners, |view| pool(view).miners = 0);
        shows(State::NodeUnreachable, |view| pool(view).node = Node::Unreachable);
        shows(State::NeedsSetup, |view| pool(view).node = Node::None);
        shows(State::NeedsSetup, |view| pool(view).claimed = false);
        shows(State::SafeMode, |view| pool(view).memory_ledger = true);
        shows(State::Fault, |view| pool(view).listening = false);
    }

    #[test]
    fn a_pool_that_is_down_is_a_start_the_first_time_and_a_fault_later() {
        shows(State::Fault, |view| view.pool = None);
        shows(State::Booting, |view| (view.pool, view.pool_was_up) = (None, false));
    }

    #[test]
    fn what_wants_somebody_s_hand_or_the_power_left_on_comes_first() {
        shows(State::Fault, |view| view.has_faults = true);
        shows(State::Trial, |view| view.trial = true);
        shows(State::SafeMode, |view| (view.trial, view.safe_mode) = (true, true));
        shows(State::Updating, |view| (view.updating, view.has_faults) = (true, true));
        shows(State::RestartPending, |view| (view.restart_pending, view.updating) = (true, true));
        shows(State::WaitingForConfirmation, |view| (view.waiting_for_button, view.restart_pending) = (true, true));
        shows(State::ShuttingDown, |view| (view.going_down, view.waiting_for_button) = (true, true));
    }
}
