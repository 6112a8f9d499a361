//! Giving way to the other slot, in the order in which it cannot go round in circles.

use crate::layout::Slot;
use crate::state::State;
use crate::version::Version;

/// What it stands on: each works at once and durably, or says why not.
pub trait Ground {
    type Error;

    /// Sets the firmware's counter of boots to zero, where there is one.
    fn clear_count(&mut self) -> Result<(), Self::Error>;
    fn save(&mut self, state: &State) -> Result<(), Self::Error>;
    fn commit(&mut self, slot: Slot) -> Result<(), Self::Error>;
}

/// Commits slot `to` because `version` keeps dying. The counters begin anew for the other version, and nothing is committed that could
/// not be remembered: it would be given way to for ever.
pub fn give_way<G: Ground>(ground: &mut G, state: &mut State, to: Slot, version: &Version) -> Result<(), G::Error> {
    ground.clear_count()?;
    let before = state.clone();
    state.give_way(to, version);
    if let Err(why) = ground.save(state) {
        *state = before;
        return Err(why);
    }
    ground.commit(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoboot::Autoboot;
    use crate::boot::{Facts, Health, MOST_DEATHS, Mode, Step, decide};

    /// A device whose versions all die: what outlives a boot.
    #[derive(Default)]
    struct Device {
        /// The firmware's counter, where it has one.
        count: Option<u32>,
        saved: State,
        committed: Option<Slot>,
        /// The step that fails.
        broken: &'static str,
    }

    impl Device {
        fn step(&self, name: &'static str) -> Result<(), &'static str> {
            if self.broken == name { Err(name) } else { Ok(()) }
        }
    }

    impl Ground for Device {
        type Error = &'static str;

        fn clear_count(&mut self) -> Result<(), &'static str> {
            self.step("count")?;
            self.count = self.count.map(|_| 0);
            Ok(())
        }

        fn save(&mut self, state: &State) -> Result<(), &'static str> {
            self.step("save")?;
            self.saved = state.clone();
            Ok(())
        }

        fn commit(&mut self, slot: Slot) -> Result<(), &'static str> {
            self.step("commit")?;
            self.committed = Some(slot);
            Ok(())
        }
    }

    fn version(slot: Slot) -> Version {
        Version::new(1, u64::from(slot == Slot::B), 0)
    }

    /// One boot that dies; whether it gave way before.
    fn dies(device: &mut Device) -> bool {
        let running = device.committed.unwrap_or(Slot::A);
        let mut state = device.saved.clone();
        let deaths = device.count.unwrap_or(state.attempts);
        if let Some(count) = &mut device.count {
            *count += 1;
        } else {
            state.attempts += 1;
            device.saved = state.clone();
        }
        let decision = decide(&Facts {
            partition: Some(running.partition()),
            tryboot: false,
            deaths,
            p1: Some(Autoboot::new(running)),
            moved: false,
            remembers: true,
            slot_a: Health::Sound(version(Slot::A)),
            slot_b: Health::Sound(version(Slot::B)),
            running: version(running),
            minimum: Version::new(0, 0, 0),
            state: &state,
        });
        assert_eq!(decision.mode, Mode::Normal);
        for step in decision.steps {
            if let Step::GiveWay { to, version } = step {
                return give_way(device, &mut state, to, &version).is_ok();
            }
        }
        false
    }

    #[test]
    fn the_other_version_gets_as_many_boots_and_each_gives_way_once() {
        for count in [None, Some(0)] {
            let mut device = Device { count, ..Device::default() };
            let gave_way: Vec<usize> = (0..40).filter(|_| dies(&mut device)).collect();
            let most = MOST_DEATHS as usize;
            assert_eq!(gave_way, [most, 2 * most + 1], "counted by the firmware: {}", count.is_some());
            assert_eq!(device.committed, Some(Slot::A));
        }
    }

    #[test]
    fn what_cannot_be_remembered_is_not_given_way_to() {
        for broken in ["count", "save"] {
            let mut device = Device { broken, ..Device::default() };
            let mut state = State { attempts: 9, ..State::default() };
            assert_eq!(give_way(&mut device, &mut state, Slot::B, &version(Slot::A)), Err(broken));
            assert_eq!((device.committed, state), (None, State { attempts: 9, ..State::default() }), "{broken}");
        }
        let mut device = Device { broken: "commit", ..Device::default() };
        let mut state = State::default();
        assert_eq!(give_way(&mut device, &mut state, Slot::B, &version(Slot::A)), Err("commit"));
        assert_eq!(device.saved.gave_way, [version(Slot::A)], "it is not tried again at every boot");
    }
}
