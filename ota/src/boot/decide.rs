//! The decision itself: one function from facts to steps, and a table of what it says.

use super::{Decision, Facts, Health, MOST_DEATHS, Mode, NoCommit, Step, may_commit};
use crate::autoboot::Autoboot;
use crate::layout::Slot;

impl Facts<'_> {
    fn health(&self, slot: Slot) -> &Health {
        match slot {
            Slot::A => &self.slot_a,
            Slot::B => &self.slot_b,
        }
    }

    /// What the firmware says, and where it says nothing the only slot with the version that runs.
    fn running_slot(&self) -> Option<Slot> {
        if let Some(slot) = self.partition.and_then(Slot::from_partition) {
            return Some(slot);
        }
        let mut same = Slot::BOTH.into_iter().filter(|&slot| self.health(slot).version() == Some(&self.running));
        same.next().filter(|_| same.next().is_none())
    }

    /// What partition 1 should say when it cannot be read: the journalled copy, unless nothing can be started there. In a trial it is
    /// the slot that does not run, whatever is remembered: only the gate keeps the one that does.
    fn lost_commitment(&self, running: Option<Slot>) -> Option<Slot> {
        let can = |slot: &Slot| matches!(self.health(*slot), Health::Unread(_) | Health::Sound(_));
        let before = running.filter(|_| self.tryboot).map(Slot::other);
        // The version on trial may have revoked the key of the one before, or not have got to see it.
        if let Some(before) = before.filter(|slot| can(slot) || *self.health(*slot) == Health::Distrusted) {
            return Some(before);
        }
        let remembered = self.state.autoboot;
        remembered.filter(can).or(running.filter(can)).or(Slot::BOTH.into_iter().find(can)).or(remembered).or(running)
    }
}

/// Decides what this boot is and what it has to put right. Called at boot with a first look at the slots, and again whenever their
/// files have been read; doing what it says and asking again comes to rest.
pub fn decide(facts: &Facts<'_>) -> Decision {
    let running = facts.running_slot();
    let mut steps = Vec::new();
    let mode = match may_commit(facts.tryboot, facts.partition, facts.p1) {
        Ok(slot) => Mode::Trial(slot),
        Err(NoCommit::NotATrial) => Mode::Normal,
        // It has been committed in the meantime.
        Err(_) if running.is_some() && running == facts.p1.map(|autoboot| autoboot.committed) => Mode::Normal,
        Err(why) => {
            steps.push(Step::Tell(format!("this trial cannot be kept: {why}")));
            Mode::Normal
        }
    };
    let Some(autoboot) = facts.p1 else {
        // Nothing else is done on the word of a partition that cannot be read; with it repaired this is asked again.
        steps.extend(facts.lost_commitment(running).map(Step::RepairP1));
        return Decision { mode, running, steps };
    };
    if facts.state.autoboot != Some(autoboot.committed) {
        steps.push(Step::Remember(autoboot.committed));
    }
    if let Mode::Trial(_) = mode {
        return Decision { mode, running, steps };
    }
    steps.extend(end_of_trial(facts, running, autoboot));
    match running {
        Some(running) if running == autoboot.committed => mend(facts, running, &mut steps),
        Some(running) if facts.tryboot => {
            steps.push(Step::Tell(format!("slot {running} runs on trial and is not kept: restart to return to slot {}", running.other())));
        }
        Some(running) => passed_over(facts, running, &mut steps),
        None => steps.push(Step::Tell(
            "the firmware does not say which slot it started: updates are not possible; update the boot loader with `rpi-eeprom-update`".into(),
        )),
    }
    Decision { mode, running, steps }
}

/// What became of a version that was armed.
fn end_of_trial(facts: &Facts<'_>, running: Option<Slot>, autoboot: Autoboot) -> Option<Step> {
    let trial = facts.state.trial.as_ref()?;
    if autoboot.committed == trial.slot {
        Some(Step::TrialKept(trial.clone()))
    } else if running == Some(trial.slot) {
        // Still there without the right to be kept.
        None
    } else if trial.started {
        Some(Step::TrialFailed(trial.clone()))
    } else {
        Some(Step::TrialLost(trial.clone()))
    }
}

/// The committed slot runs.
fn mend(facts: &Facts<'_>, running: Slot, steps: &mut Vec<Step>) {
    let other = running.other();
    let (own, others) = (facts.health(running), facts.health(other));
    let may_return = others.version().is_some_and(|version| *version >= facts.minimum);

    // A trial that has been committed was healthy, whatever the boots before it were.
    // Boots of a trial that has just failed were no deaths of this version, and what failed its trial is nothing to give way to.
    let failed = others.version().is_some_and(|version| facts.state.has_failed(version));
    let may_give_way = facts.remembers
        && !facts.tryboot
        && facts.state.trial.is_none()
        && !failed
        && !facts.state.gave_way.contains(&facts.running);
    if facts.deaths >= MOST_DEATHS && may_give_way {
        match others {
            Health::Sound(_) if may_return => {
                steps.push(Step::Tell(format!(
                    "version {} did not become healthy in {} boots; slot {other} is tried instead",
                    facts.running, facts.deaths
                )));
                steps.push(Step::GiveWay { to: other, version: facts.running.clone() });
                return;
            }
            Health::Unread(_) if may_return => {
                steps.push(Step::Verify(other));
                return;
            }
            _ => {}
        }
    }
    if own.is_damaged() {
        match others {
            // Repairing it is for when partition 1 says so: a slot that is committed is never touched.
            Health::Sound(_) if may_return => steps.push(Step::MoveTo(other)),
            Health::Unread(_) if may_return => steps.push(Step::Verify(other)),
            _ => steps.push(Step::Tell(format!(
                "slot {running} is damaged and there is no other to move to: do not restart; install an update now, from the feed or a file"
            ))),
        }
    } else if others.is_damaged() {
        if own.is_sound() {
            steps.push(Step::MakeUnbootable(other));
            mend_from(others, other, own, running, steps);
        } else {
            steps.push(Step::Verify(running));
        }
    }
}

/// Repairs `bad` from `good` where the versions are equal.
fn mend_from(bad: &Health, bad_slot: Slot, good: &Health, good_slot: Slot, steps: &mut Vec<Step>) {
    if bad.version().is_some() && bad.version() == good.version() {
        steps.push(Step::Copy { from: good_slot, to: bad_slot });
    } else {
        steps.push(Step::Tell(format!(
            "slot {bad_slot} was damaged and holds nothing now: install an update, so that there are two again"
        )));
    }
}

/// The slot that runs is not the committed one, and not on trial: the firmware could not start that one, or it has just taken over.
fn passed_over(facts: &Facts<'_>, running: Slot, steps: &mut Vec<Step>) {
    let committed = running.other();
    match (facts.health(running), facts.health(committed)) {
        (Health::Sound(_), Health::Empty | Health::Damaged(_)) => {
            steps.push(Step::Tell(format!("slot {committed} could not be started; slot {running} is the one from now on")));
            steps.push(Step::MoveTo(running));
        }
        // A slot that the firmware passed over may look sound and still not start; then the one that does is all there is.
        (own @ Health::Damaged(_), good @ Health::Sound(_)) if facts.moved => {
            steps.push(Step::MakeUnbootable(running));
            mend_from(own, running, good, committed, steps);
        }
        (Health::Unread(_), Health::Empty | Health::Damaged(_)) => steps.push(Step::Verify(running)),
        (_, Health::Unread(_)) => steps.push(Step::Verify(committed)),
        _ => steps.push(Step::Tell(format!(
            "slot {running} runs, and slot {committed} is the one to start: restart to go over to it; if it stays so, flash the image again"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::may_try;
    use crate::gate::Baseline;
    use crate::state::{State, TrialRecord};
    use crate::version::Version;

    const A: Slot = Slot::A;
    const B: Slot = Slot::B;

    fn v(minor: u64) -> Version {
        Version::new(1, minor, 0)
    }

    fn facts(state: &State) -> Facts<'_> {
        Facts {
            partition: Some(2),
            tryboot: false,
            deaths: 0,
            p1: Some(Autoboot::new(A)),
            moved: false,
            remembers: true,
            slot_a: Health::Unread(v(1)),
            slot_b: Health::Unread(v(0)),
            running: v(1),
            minimum: v(0),
            state,
        }
    }

    fn settled() -> State {
        State { autoboot: Some(A), ..State::default() }
    }

    fn trial(started: bool) -> TrialRecord {
        TrialRecord { slot: B, version: v(2), started, baseline: Baseline::default() }
    }

    /// Steps without the texts.
    fn steps(facts: &Facts<'_>) -> Vec<Step> {
        decide(facts).steps.into_iter().filter(|step| !matches!(step, Step::Tell(_))).collect()
    }

    #[test]
    fn a_boot_with_nothing_wrong_does_nothing() {
        let state = settled();
        let decision = decide(&facts(&state));
        assert_eq!(decision, Decision { mode: Mode::Normal, running: Some(A), steps: vec![] });
        let never = State::default();
        assert_eq!(decide(&facts(&never)).steps, [Step::Remember(A)]);
    }

    #[test]
    fn only_the_very_partition_on_trial_may_be_committed() {
        for (tryboot, partition, p1, expected) in [
            (true, Some(3), Some(A), Ok(B)),
            (true, Some(2), Some(B), Ok(A)),
            (false, Some(3), Some(A), Err(NoCommit::NotATrial)),
            (true, Some(2), Some(A), Err(NoCommit::OtherPartition(2))),
            (true, Some(1), Some(A), Err(NoCommit::OtherPartition(1))),
            (true, Some(0), Some(A), Err(NoCommit::UnknownPartition)),
            (true, None, Some(A), Err(NoCommit::UnknownPartition)),
            (true, Some(3), None, Err(NoCommit::NoAutoboot)),
        ] {
            assert_eq!(
                may_commit(tryboot, partition, p1.map(Autoboot::new)),
                expected,
                "{tryboot} {partition:?} {p1:?}"
            );
            let state = State { trial: Some(trial(true)), ..settled() };
            let decision = decide(&Facts { tryboot, partition, p1: p1.map(Autoboot::new), ..facts(&state) });
            let mode = expected.map_or(Mode::Normal, Mode::Trial);
            assert_eq!(decision.mode, mode);
            assert!(
                expected.is_ok()
                    || !decision.steps.iter().any(|step| matches!(step, Step::MoveTo(_) | Step::GiveWay { .. }))
            );
        }
    }

    #[test]
    fn a_failed_trial_counts_against_nobody_else_and_is_nothing_to_give_way_to() {
        let dying = |state: &State| {
            let facts = Facts { deaths: 9, slot_a: Health::Sound(v(1)), slot_b: Health::Sound(v(2)), ..facts(state) };
            steps(&facts)
        };
        let just_ended = State { trial: Some(trial(true)), ..settled() };
        assert_eq!(dying(&just_ended), [Step::TrialFailed(trial(true))]);
        let mut failed = settled();
        failed.failed(&v(2), false);
        assert_eq!(dying(&failed), []);
        assert_eq!(dying(&settled()), [Step::GiveWay { to: B, version: v(1) }]);
    }

    #[test]
    fn a_trial_that_has_been_committed_is_an_ordinary_boot() {
        let state = State { autoboot: Some(B), trial: Some(trial(true)), ..State::default() };
        let facts = Facts {
            partition: Some(3),
            tryboot: true,
            deaths: 3,
            p1: Some(Autoboot::new(B)),
            slot_a: Health::Sound(v(1)),
            slot_b: Health::Sound(v(2)),
            running: v(2),
            ..facts(&state)
        };
        let steps = vec![Step::TrialKept(trial(true))];
        assert_eq!(decide(&facts), Decision { mode: Mode::Normal, running: Some(B), steps });
    }

    #[test]
    fn nothing_is_tried_where_the_firmware_does_not_say_what_it_started() {
        for (partition, expected) in [
            (Some(2), Ok(A)),
            (Some(3), Ok(B)),
            (Some(0), Err(NoCommit::UnknownPartition)),
            (None, Err(NoCommit::UnknownPartition)),
            (Some(1), Err(NoCommit::OtherPartition(1))),
        ] {
            assert_eq!(may_try(partition), expected, "{partition:?}");
        }
    }

    #[test]
    fn in_a_trial_neither_slot_is_touched() {
        let state = State { trial: Some(trial(true)), ..settled() };
        for own in [Health::Sound(v(2)), Health::Damaged(Some(v(2)))] {
            let facts = Facts {
                partition: Some(3),
                tryboot: true,
                deaths: 9,
                slot_a: Health::Damaged(None),
                slot_b: own,
                running: v(2),
                ..facts(&state)
            };
            assert_eq!(decide(&facts), Decision { mode: Mode::Trial(B), running: Some(B), steps: vec![] });
        }
    }

    #[test]
    fn an_armed_version_is_kept_failed_or_lost() {
        for (started, committed, expected) in [
            (true, A, Step::TrialFailed(trial(true))),
            (false, A, Step::TrialLost(trial(false))),
            (true, B, Step::TrialKept(trial(true))),
        ] {
            let state = State { trial: Some(trial(started)), autoboot: Some(committed), ..State::default() };
            let facts =
                Facts { p1: Some(Autoboot::new(committed)), partition: Some(committed.partition()), ..facts(&state) };
            assert_eq!(steps(&facts), [expected]);
        }
    }

    #[test]
    fn an_unreadable_partition_1_is_written_for_a_slot_that_can_start() {
        let sound = || Health::Unread(v(1));
        for (remembered, partition, a, b, expected) in [
            (Some(B), Some(2), sound(), sound(), Some(B)),
            (Some(B), Some(2), sound(), Health::Empty, Some(A)),
            (Some(B), Some(2), sound(), Health::Damaged(None), Some(A)),
            (None, Some(3), sound(), sound(), Some(B)),
            (None, None, Health::Empty, sound(), Some(B)),
            (None, None, Health::Empty, Health::Empty, None),
            (Some(A), None, Health::Empty, Health::Empty, Some(A)),
        ] {
            let state = State { autoboot: remembered, ..State::default() };
            let facts = Facts { p1: None, partition, slot_a: a, slot_b: b, ..facts(&state) };
            assert_eq!(steps(&facts), expected.map(Step::RepairP1).into_iter().collect::<Vec<_>>(), "{facts:?}");
        }
    }

    #[test]
    fn in_a_trial_an_unreadable_partition_1_is_written_for_the_slot_that_does_not_run() {
        let sound = || Health::Unread(v(1));
        for (remembered, a, expected) in [
            (None, sound(), A),
            (Some(A), sound(), A),
            (Some(B), sound(), A),
            (Some(B), Health::Distrusted, A),
            (None, Health::Empty, B),
            (Some(A), Health::Damaged(None), B),
        ] {
            let state = State { autoboot: remembered, ..State::default() };
            let facts = Facts {
                tryboot: true,
                p1: None,
                partition: Some(3),
                slot_a: a,
                slot_b: Health::Unread(v(2)),
                ..facts(&state)
            };
            assert_eq!(steps(&facts), [Step::RepairP1(expected)], "{facts:?}");
        }
    }

    #[test]
    fn a_version_that_keeps_dying_gives_way_once_to_a_slot_that_has_been_read() {
        let give_way = || vec![Step::GiveWay { to: B, version: v(1) }];
        for (deaths, other, gave_way, expected) in [
            (2, Health::Sound(v(0)), vec![], vec![]),
            (3, Health::Sound(v(0)), vec![], give_way()),
            (3, Health::Unread(v(0)), vec![], vec![Step::Verify(B)]),
            (3, Health::Empty, vec![], vec![]),
            (9, Health::Sound(v(0)), vec![v(1)], vec![]),
            (9, Health::Sound(v(0)), vec![v(0)], give_way()),
            (9, Health::Distrusted, vec![], vec![]),
        ] {
            let state = State { gave_way, ..settled() };
            let facts = Facts { deaths, slot_b: other, ..facts(&state) };
            assert_eq!(steps(&facts), expected, "{facts:?}");
        }
        let state = settled();
        let too_old = Facts { deaths: 3, slot_b: Health::Sound(v(0)), minimum: v(1), ..facts(&state) };
        assert_eq!(steps(&too_old), []);
        let forgetful = Facts { deaths: 3, slot_b: Health::Sound(v(0)), remembers: false, ..facts(&state) };
        assert_eq!(steps(&forgetful), [], "it would give way for ever");
    }

    #[test]
    fn damage_is_moved_away_from_before_it_is_repaired() {
        let copy = |from: Slot, to| Step::Copy { from, to };
        for (a, b, expected) in [
            // The committed slot is damaged.
            (Health::Damaged(Some(v(1))), Health::Sound(v(1)), vec![Step::MoveTo(B)]),
            (Health::Damaged(Some(v(1))), Health::Sound(v(0)), vec![Step::MoveTo(B)]),
            (Health::Damaged(None), Health::Sound(v(1)), vec![Step::MoveTo(B)]),
            (Health::Damaged(None), Health::Unread(v(1)), vec![Step::Verify(B)]),
            (Health::Damaged(None), Health::Damaged(None), vec![]),
            (Health::Damaged(None), Health::Empty, vec![]),
            // The other one is.
            (Health::Sound(v(1)), Health::Damaged(Some(v(1))), vec![Step::MakeUnbootable(B), copy(A, B)]),
            (Health::Sound(v(1)), Health::Damaged(Some(v(0))), vec![Step::MakeUnbootable(B)]),
            (Health::Unread(v(1)), Health::Damaged(Some(v(1))), vec![Step::Verify(A)]),
            (Health::Sound(v(1)), Health::Empty, vec![]),
            (Health::Sound(v(1)), Health::Distrusted, vec![]),
            (Health::Damaged(None), Health::Distrusted, vec![]),
        ] {
            let state = settled();
            let facts = Facts { slot_a: a, slot_b: b, ..facts(&state) };
            assert_eq!(steps(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_slot_that_the_firmware_fell_back_to_is_committed_when_it_is_sound() {
        for (b, a, expected) in [
            (Health::Sound(v(0)), Health::Empty, vec![Step::MoveTo(B)]),
            (Health::Sound(v(0)), Health::Damaged(None), vec![Step::MoveTo(B)]),
            (Health::Unread(v(0)), Health::Empty, vec![Step::Verify(B)]),
            (Health::Sound(v(0)), Health::Unread(v(1)), vec![Step::Verify(A)]),
            (Health::Sound(v(0)), Health::Sound(v(1)), vec![]),
            (Health::Damaged(None), Health::Empty, vec![]),
            // The firmware would not start slot A: a damaged slot that runs is better than none.
            (Health::Damaged(Some(v(1))), Health::Sound(v(1)), vec![]),
            (Health::Damaged(None), Health::Sound(v(1)), vec![]),
            (Health::Damaged(None), Health::Unread(v(1)), vec![Step::Verify(A)]),
            (Health::Empty, Health::Sound(v(1)), vec![]),
        ] {
            let state = settled();
            let facts = Facts { partition: Some(3), slot_a: a, slot_b: b, running: v(0), ..facts(&state) };
            assert_eq!(steps(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_damaged_slot_that_was_just_moved_away_from_is_mended() {
        let make = || Step::MakeUnbootable(B);
        for (b, expected) in [
            (Health::Damaged(Some(v(1))), vec![make(), Step::Copy { from: A, to: B }]),
            (Health::Damaged(None), vec![make()]),
            (Health::Sound(v(1)), vec![]),
        ] {
            let state = settled();
            let (partition, slot_a) = (Some(3), Health::Sound(v(1)));
            let facts = Facts { partition, slot_a, slot_b: b, moved: true, ..facts(&state) };
            assert_eq!(steps(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn where_the_firmware_does_not_say_the_versions_tell_if_they_differ() {
        let state = settled();
        for (partition, b, expected) in
            [(Some(0), v(0), Some(A)), (None, v(0), Some(A)), (None, v(1), None), (Some(3), v(1), Some(B))]
        {
            let facts = Facts { partition, slot_b: Health::Unread(b), ..facts(&state) };
            assert_eq!(decide(&facts).running, expected, "{facts:?}");
        }
    }

    #[test]
    fn whatever_the_facts_a_committed_slot_is_not_touched_and_only_what_was_read_is_committed() {
        let healths = || {
            [
                Health::Empty,
                Health::Unread(v(0)),
                Health::Unread(v(1)),
                Health::Sound(v(0)),
                Health::Sound(v(1)),
                Health::Damaged(None),
                Health::Damaged(Some(v(1))),
                Health::Distrusted,
            ]
        };
        let mut seen = 0;
        for (a, b) in healths().into_iter().flat_map(|a| healths().map(|b| (a.clone(), b))) {
            for (partition, tryboot, deaths, p1) in [None, Some(0), Some(2), Some(3)]
                .into_iter()
                .flat_map(|partition| [false, true].map(|tryboot| (partition, tryboot)))
                .flat_map(|(partition, tryboot)| [0, 3].map(|deaths| (partition, tryboot, deaths)))
                .flat_map(|(partition, tryboot, deaths)| {
                    [None, Some(A), Some(B)].map(|p1| (partition, tryboot, deaths, p1))
                })
            {
                for trial in [None, Some(trial(true))] {
                    let state = State { trial, ..settled() };
                    let p1 = p1.map(Autoboot::new);
                    let (slot_a, slot_b) = (a.clone(), b.clone());
                    let facts = Facts { partition, tryboot, deaths, p1, slot_a, slot_b, ..facts(&state) };
                    let Decision { running, steps, .. } = decide(&facts);
                    for step in steps {
                        let committed = p1.map(|autoboot| autoboot.committed);
                        match step {
                            Step::MakeUnbootable(slot) | Step::Copy { to: slot, .. } => {
                                assert!(committed == Some(slot.other()), "{facts:?}");
                                assert!(facts.health(slot.other()).is_sound(), "{facts:?}");
                                assert!(facts.partition != Some(slot.partition()), "the slot that runs: {facts:?}");
                            }
                            Step::MoveTo(slot) => {
                                assert!(facts.health(slot).is_sound(), "{facts:?}");
                                assert!(!tryboot || committed == running, "{facts:?}");
                            }
                            Step::GiveWay { to, .. } => assert!(facts.health(to).is_sound() && !tryboot, "{facts:?}"),
                            Step::RepairP1(_) => assert!(p1.is_none(), "{facts:?}"),
                            _ => {}
                        }
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 1000, "{seen}");
    }
}
