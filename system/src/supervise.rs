//! The life of one supervised program: started, ended, started again after a while, given up on in favour of safe mode.
//!
//! Pure: it is told what happened and when, and says what to do. Times are on the uptime clock.

use std::collections::VecDeque;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// One that ran so long starts again without a growing pause.
const STEADY: Duration = Duration::from_mins(1);
/// Between being asked to end for silence and being ended, and between one SIGKILL and the next.
const GRACE: Duration = Duration::from_secs(10);

/// What is expected of a program.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub restart: Restart,
    /// It must speak at least this often.
    pub heartbeat: Option<Duration>,
    /// So many deaths within so long, without having been healthy, lead to safe mode. One for silence counts however long ago it
    /// was: who hangs at every start takes minutes for each.
    pub safe_mode: Option<(usize, Duration)>,
    /// How long it may take to end by itself when it is asked to.
    pub grace: Duration,
}

/// With how little a program is started. Each step asks for less than the one before, which kept dying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    #[default]
    Usual,
    /// With what is known to have worked.
    Safe,
    /// With what asks for nothing.
    Plain,
}

impl Manner {
    fn next(self) -> Self {
        match self {
            Self::Usual => Self::Safe,
            Self::Safe | Self::Plain => Self::Plain,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    #[default]
    Always,
    OnFailure,
    Never,
}

/// The first words of a program may take longer than those after: it may have files to look through.
const FIRST_WORDS: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: Duration },
    Running { pid: Pid, since: Duration, heard: Option<Duration> },
    Stopping { pid: Pid, kill_at: Duration, again: bool, silent: bool },
    Ended,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Start,
    Signal(Pid, Signal),
    /// It was silent for too long and is asked to end.
    Silent(Pid),
}

#[derive(Debug)]
pub struct Life {
    policy: Policy,
    state: State,
    pause: Duration,
    deaths: VecDeque<Death>,
    manner: Manner,
    restarts: u32,
}

#[derive(Clone, Copy, Debug)]
struct Death {
    at: Duration,
    silent: bool,
}

impl Life {
    /// A program that is to start as soon as anybody asks.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::Waiting { until: Duration::ZERO },
            pause: FIRST_PAUSE,
            deaths: VecDeque::new(),
            manner: Manner::Usual,
            restarts: 0,
        }
    }

    /// One that runs already.
    pub fn adopted(policy: Policy, pid: Pid, now: Duration, safe: bool) -> Self {
        let manner = if safe { Manner::Safe } else { Manner::Usual };
        Self { state: State::Running { pid, since: now, heard: Some(now) }, manner, ..Self::new(policy) }
    }

    /// What to do at this moment; to be asked about once a second, until it answers `None`.
    pub fn due(&mut self, now: Duration) -> Option<Order> {
        match self.state {
            State::Waiting { until } if now >= until => Some(Order::Start),
            State::Running { pid, since, heard } => {
                let allowed = self.policy.heartbeat?;
                let deadline = heard.map_or(since + allowed * FIRST_WORDS, |heard| heard + allowed);
                if now < deadline {
                    return None;
                }
                self.state = State::Stopping { pid, kill_at: now + GRACE, again: true, silent: true };
                Some(Order::Silent(pid))
            }
            State::Stopping { pid, kill_at, again, silent } if now >= kill_at => {
                // Nothing withstands SIGKILL but the kernel; ask again now and then.
                self.state = State::Stopping { pid, kill_at: now + GRACE, again, silent };
                Some(Order::Signal(pid, Signal::SIGKILL))
            }
            _ => None,
        }
    }

    pub fn started(&mut self, pid: Pid, now: Duration) {
        self.state = State::Running { pid, since: now, heard: None };
    }

    /// It ended, or could not be started.
    pub fn ended(&mut self, success: bool, now: Duration) {
        let silent = matches!(self.state, State::Stopping { silent: true, .. });
        let (ran, again) = match self.state {
            State::Running { since, .. } => (now.saturating_sub(since), self.wanted_again(success)),
            State::Stopping { again, .. } => (Duration::ZERO, again),
            State::Waiting { .. } => (Duration::ZERO, true),
            State::Ended => return,
        };
        if !again {
            self.state = State::Ended;
            return;
        }
        self.restarts += 1;
        if ran >= STEADY {
            self.pause = FIRST_PAUSE;
        }
        self.state = State::Waiting { until: now + self.pause };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.count_death(Death { at: now, silent });
    }

    fn wanted_again(&self, success: bool) -> bool {
        match self.policy.restart {
            Restart::Always => true,
            Restart::OnFailure => !success,
            Restart::Never => false,
        }
    }

    fn count_death(&mut self, death: Death) {
        let Some((count, within)) = self.policy.safe_mode else { return };
        self.deaths.push_back(death);
        self.deaths.retain(|it| it.silent || death.at.saturating_sub(it.at) <= within);
        if self.deaths.len() >= count && self.manner != Manner::Plain {
            self.manner = self.manner.next();
            self.deaths.clear();
            self.pause = FIRST_PAUSE;
            self.state = State::Waiting { until: death.at + FIRST_PAUSE };
        }
    }

    /// It gave a sign of life.
    pub fn heard(&mut self, now: Duration) {
        if let State::Running { heard, .. } = &mut self.state {
            *heard = Some(now);
        }
    }

    /// It works as it should: what happened before is forgotten, but not safe mode.
    pub fn healthy(&mut self) {
        self.deaths.clear();
        self.pause = FIRST_PAUSE;
    }

    /// Has it end and stay so; `grace` is its time to do so by itself. The answer is whom to send SIGTERM.
    pub fn stop(&mut self, now: Duration, grace: Duration) -> Option<Pid> {
        self.end(now, grace, false)
    }

    /// Has it end and start again.
    pub fn restart(&mut self, now: Duration) -> Option<Pid> {
        self.end(now, self.policy.grace, true)
    }

    /// How long it may take to end by itself.
    pub fn grace(&self) -> Duration {
        self.policy.grace
    }

    fn end(&mut self, now: Duration, grace: Duration, again: bool) -> Option<Pid> {
        match self.state {
            State::Running { pid, .. } => {
                self.state = State::Stopping { pid, kill_at: now + grace, again, silent: false };
                Some(pid)
            }
            State::Stopping { pid, kill_at, silent, .. } => {
                self.state = State::Stopping { pid, kill_at, again, silent };
                None
            }
            State::Waiting { .. } | State::Ended => {
                self.state = if again { State::Waiting { until: now } } else { State::Ended };
                None
            }
        }
    }

    /// Takes it out of safe mode; it starts as usual from the next time on.
    pub fn leave_safe_mode(&mut self) {
        self.manner = Manner::Usual;
        self.healthy();
    }

    pub fn manner(&self) -> Manner {
        self.manner
    }

    pub fn is_safe(&self) -> bool {
        self.manner != Manner::Usual
    }

    pub fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Running { pid, .. } | State::Stopping { pid, .. } => Some(pid),
            State::Waiting { .. } | State::Ended => None,
        }
    }

    /// The process, when it has been running for at least so long.
    pub fn running_for(&self, now: Duration, long: Duration) -> Option<Pid> {
        match self.state {
            State::Running { pid, since, .. } if now.saturating_sub(since) >= long => Some(pid),
            _ => None,
        }
    }

    /// Its end was asked for, and not because it had fallen silent.
    pub fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping { silent: false, .. })
    }

    pub fn restarts(&self) -> u32 {
        self.restarts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: Policy = Policy {
        restart: Restart::Always,
        heartbeat: Some(Duration::from_secs(30)),
        safe_mode: Some((5, Duration::from_mins(5))),
        grace: Duration::from_secs(20),
    };
    const PLAIN: Policy =
        Policy { restart: Restart::Always, heartbeat: None, safe_mode: None, grace: Duration::from_secs(10) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pid(n: i32) -> Pid {
        Pid::from_raw(n)
    }

    /// Starts it whenever it may and lets it die at once; the seconds at which it started.
    fn dying(life: &mut Life, seconds: u64) -> Vec<u64> {
        let mut starts = Vec::new();
        for second in 0..seconds {
            if life.due(at(second)) == Some(Order::Start) {
                starts.push(second);
                life.started(pid(7), at(second));
                life.ended(false, at(second));
            }
        }
        starts
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        assert_eq!(dying(&mut Life::new(PLAIN), 250), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }

    #[test]
    fn one_that_ran_for_a_minute_is_back_after_a_second() {
        let mut life = Life::new(PLAIN);
        dying(&mut life, 30);
        life.started(pid(1), at(40));
        life.ended(false, at(100));
        assert_eq!(life.due(at(100)), None);
        assert_eq!(life.due(at(101)), Some(Order::Start));
    }

    #[test]
    fn five_deaths_in_a_row_lead_to_safe_mode_and_a_quick_start_in_it() {
        let mut life = Life::new(POOL);
        assert_eq!(dying(&mut life, 16), [0, 1, 3, 7, 15]);
        assert!(life.is_safe());
        assert_eq!(life.due(at(16)), Some(Order::Start), "safe mode does not wait out the pause");
        life.leave_safe_mode();
        assert!(!life.is_safe());
    }

    #[test]
    fn what_keeps_dying_in_safe_mode_too_is_started_with_what_asks_for_nothing() {
        let mut life = Life::new(POOL);
        dying(&mut life, 16);
        assert_eq!(life.manner(), Manner::Safe);
        for second in 16..32 {
            if life.due(at(second)) == Some(Order::Start) {
                life.started(pid(7), at(second));
                life.ended(false, at(second));
            }
        }
        assert_eq!(life.manner(), Manner::Plain);
        assert!(life.is_safe());
        life.leave_safe_mode();
        assert_eq!(life.manner(), Manner::Usual);
    }

    #[test]
    fn one_that_hangs_at_every_start_comes_to_safe_mode_too() {
        let mut life = Life::new(POOL);
        let mut second = 0;
        while !life.is_safe() {
            assert!(second < 12 * 60, "five starts of two minutes and their pauses");
            match life.due(at(second)) {
                Some(Order::Start) => life.started(pid(7), at(second)),
                Some(Order::Signal(..)) => life.ended(false, at(second)),
                Some(Order::Silent(_)) | None => {}
            }
            second += 1;
        }
    }

    #[test]
    fn deaths_far_apart_or_with_health_between_do_not() {
        let mut life = Life::new(POOL);
        for n in 0..20 {
            life.started(pid(1), at(n * 100));
            life.ended(false, at(n * 100 + 99));
        }
        assert!(!life.is_safe(), "at most four within five minutes");
        let mut life = Life::new(POOL);
        for n in 0..20 {
            life.started(pid(1), at(n));
            life.heard(at(n));
            life.healthy();
            life.ended(false, at(n));
        }
        assert!(!life.is_safe());
    }

    #[test]
    fn silence_is_answered_with_a_wish_then_with_force() {
        let mut life = Life::new(POOL);
        life.started(pid(9), at(0));
        assert_eq!(life.due(at(119)), None, "the first words may take longer");
        life.heard(at(119));
        assert_eq!(life.due(at(148)), None);
        assert_eq!(life.due(at(149)), Some(Order::Silent(pid(9))));
        assert_eq!(life.due(at(150)), None);
        assert_eq!(life.due(at(159)), Some(Order::Signal(pid(9), Signal::SIGKILL)));
        life.ended(false, at(160));
        assert_eq!(life.due(at(161)), Some(Order::Start));
    }

    #[test]
    fn a_pool_that_never_speaks_is_not_waited_for_for_ever() {
        let mut life = Life::new(POOL);
        life.started(pid(9), at(0));
        assert_eq!(life.due(at(120)), Some(Order::Silent(pid(9))));
    }

    #[test]
    fn what_is_stopped_stays_stopped_and_what_is_restarted_comes_back() {
        let mut life = Life::new(POOL);
        life.started(pid(9), at(0));
        assert_eq!(life.stop(at(5), at(20)), Some(pid(9)));
        assert_eq!(life.due(at(24)), None);
        assert_eq!(life.due(at(25)), Some(Order::Signal(pid(9), Signal::SIGKILL)));
        life.ended(false, at(26));
        assert_eq!((life.due(at(100)), life.pid()), (None, None));

        let mut life = Life::new(PLAIN);
        life.started(pid(9), at(0));
        assert_eq!(life.restart(at(5)), Some(pid(9)));
        life.ended(true, at(6));
        assert_eq!(life.due(at(7)), Some(Order::Start));
    }

    #[test]
    fn some_programs_are_to_run_once() {
        for (restart, success, again) in [
            (Restart::Always, true, true),
            (Restart::OnFailure, true, false),
            (Restart::OnFailure, false, true),
            (Restart::Never, false, false),
        ] {
            let mut life = Life::new(Policy { restart, ..PLAIN });
            life.started(pid(1), at(0));
            life.ended(success, at(1));
            assert_eq!(life.due(at(100)) == Some(Order::Start), again, "{restart:?} {success}");
        }
    }
}
