//! The whole panel in virtual time: a script of presses and orders goes in, the LED's edges and the events come out.
//!
//! `cargo nextest run -p warppool-panel --no-default-features --features mock`
#![cfg(target_os = "linux")]

mod bench;

use bench::{Bench, Order};
use warppool_panel::Gesture::{Cancelled, Confirm, FactoryReset, Restart, ShowState};
use warppool_panel::PanelEvent::{Gesture, PowerKey};
use warppool_panel::{Pattern, Sign, State};

/// The edges of a pattern that begins dark at `from`, up to `until`, milliseconds.
fn edges(pattern: Pattern, from: u64, until: u64, mut lit: bool) -> Vec<(u64, bool)> {
    let mut edges = Vec::new();
    let mut at = from;
    let mut turns = 0;
    while at < until && pattern.times.is_none_or(|times| turns < times) {
        for step in pattern.steps() {
            if step.lit != lit && at < until {
                lit = step.lit;
                edges.push((at, lit));
            }
            at += u64::from(step.ms);
        }
        turns += 1;
    }
    if lit && at < until {
        edges.push((at, false));
    }
    edges
}

/// The state's edges from `from` on, whatever was shown before.
#[track_caller]
fn shows_from(bench: &Bench, sign: Sign, from: u64, until: u64) {
    let lit_before = bench.lit_before(from);
    assert_eq!(
        bench.edges_between(from, until),
        edges(sign.pattern(), from, until, lit_before),
        "{sign:?} from {from}"
    );
}

#[test]
fn every_state_shows_its_pattern_edge_by_edge() {
    for state in State::ALL {
        let mut bench = Bench::new();
        bench.order(1000, Order::Set(state));
        bench.run(31_000);
        // Booting is what the panel begins with: ordered again, it goes on.
        let from = if state == State::Booting { 0 } else { 1000 };
        shows_from(&bench, Sign::State(state), from, 31_000);
        assert!(bench.events().is_empty());
    }
}

#[test]
fn a_state_told_again_and_again_does_not_begin_again() {
    let mut bench = Bench::new();
    for second in 1..20 {
        bench.order(second * 1000, Order::Set(State::NeedsSetup));
    }
    bench.run(20_000);
    shows_from(&bench, Sign::State(State::NeedsSetup), 1000, 20_000);
}

#[test]
fn a_found_block_is_celebrated_for_some_seconds_then_the_state_returns_from_its_start() {
    let length = Sign::BlockFound.pattern().length().expect("it ends").as_millis();
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::Mining)).order(5_050, Order::Celebrate);
    bench.run(40_000);
    shows_from(&bench, Sign::BlockFound, 5_050, 5_050 + length);
    shows_from(&bench, Sign::State(State::Mining), 5_050 + length, 40_000);
}

#[test]
fn a_state_that_changes_during_a_celebration_is_shown_after_it() {
    let length = Sign::BlockFound.pattern().length().expect("it ends").as_millis();
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::Mining)).order(1_000, Order::Celebrate).order(3_000, Order::Set(State::Fault));
    bench.run(30_000);
    shows_from(&bench, Sign::BlockFound, 1_000, 1_000 + length);
    shows_from(&bench, Sign::State(State::Fault), 1_000 + length, 30_000);
}

#[track_caller]
fn held(ms: u64, expected: warppool_panel::Gesture) {
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::Mining)).hold(2_000, ms);
    bench.run(40_000);
    assert_eq!(bench.events(), [(2_000 + ms + 30, Gesture(expected))], "held for {ms} ms");
}

#[test]
fn how_long_the_button_is_held_decides() {
    held(50, ShowState);
    held(500, ShowState);
    held(2_990, ShowState);
    held(3_000, Restart);
    held(5_990, Restart);
    held(6_000, Cancelled);
    held(9_990, Cancelled);
    held(10_000, Cancelled);
    held(14_990, Cancelled);
    held(15_000, FactoryReset);
    held(24_990, FactoryReset);
}

#[test]
fn the_led_shows_while_held_what_letting_go_would_mean() {
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::NeedsSetup)).hold(2_600, 18_000);
    bench.run(30_000);
    let at = |held: u64| 2_600 + held;
    // Counted from the first touch, though the press is believed 30 ms later.
    assert_eq!(bench.edges_between(at(0), at(3_000)), [(at(30), true)]);
    shows_from(&bench, Sign::HeldRestart, at(3_000), at(6_000));
    assert_eq!(bench.edges_between(at(6_000) + 1, at(10_000)), []);
    assert!(!bench.lit_before(at(10_000)));
    shows_from(&bench, Sign::Countdown, at(10_000), at(15_000));
    assert_eq!(bench.edges_between(at(15_000), at(18_030)), [(at(15_000), true)]);
    assert_eq!(bench.events(), [(at(18_030), Gesture(FactoryReset))]);
    shows_from(&bench, Sign::State(State::NeedsSetup), at(18_030), 30_000);
}

#[test]
fn the_countdown_broken_off_resets_nothing_and_the_state_returns() {
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::Mining)).hold(1_000, 14_500);
    bench.run(30_000);
    assert_eq!(bench.events(), [(15_530, Gesture(Cancelled))]);
    shows_from(&bench, Sign::State(State::Mining), 15_530, 30_000);
}

#[test]
fn a_short_press_is_answered_and_the_state_shown_from_its_start() {
    let length = Sign::Acknowledged.pattern().length().expect("it ends").as_millis();
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::NodeUnreachable)).hold(5_000, 300);
    bench.run(20_000);
    assert_eq!(bench.events(), [(5_330, Gesture(ShowState))]);
    shows_from(&bench, Sign::Acknowledged, 5_330, 5_330 + length);
    shows_from(&bench, Sign::State(State::NodeUnreachable), 5_330 + length, 20_000);
}

#[test]
fn a_press_during_a_celebration_ends_it_and_shows_the_state() {
    let length = Sign::Acknowledged.pattern().length().expect("it ends").as_millis();
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::Mining)).order(2_000, Order::Celebrate).hold(4_000, 200);
    bench.run(20_000);
    assert_eq!(bench.events(), [(4_230, Gesture(ShowState))]);
    shows_from(&bench, Sign::State(State::Mining), 4_230 + length, 20_000);
}

#[test]
fn a_press_confirms_only_what_the_led_asked_when_it_began() {
    // (when the question comes, when it is celebrated, when it is pressed, what that means)
    let cases = [
        (1_000, None, 3_000, Confirm),
        // The question came while the button was down: nobody can have meant it.
        (3_100, None, 3_000, ShowState),
        // A celebration hid the question.
        (1_000, Some(2_000), 3_000, ShowState),
        (1_000, Some(2_000), 15_000, Confirm),
    ];
    for (asked, celebrated, pressed, expected) in cases {
        let mut bench = Bench::new();
        bench.order(0, Order::Set(State::Mining)).order(asked, Order::Set(State::WaitingForConfirmation));
        if let Some(at) = celebrated {
            bench.order(at, Order::Celebrate);
        }
        bench.hold(pressed, 400).run(20_000);
        assert_eq!(bench.events(), [(pressed + 430, Gesture(expected))], "asked at {asked}, pressed at {pressed}");
    }
}

#[test]
fn a_long_hold_never_confirms() {
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::WaitingForConfirmation)).hold(1_000, 7_000);
    bench.run(20_000);
    assert_eq!(bench.events(), [(8_030, Gesture(Cancelled))]);
}

#[test]
fn a_button_held_since_before_the_start_does_nothing_until_it_was_up() {
    let mut bench = Bench::new();
    bench.hold(0, 40_000).hold(50_000, 200);
    bench.run(60_000);
    assert_eq!(bench.events(), [(50_230, Gesture(ShowState))]);
    // The LED does not count down for it either.
    shows_from(&bench, Sign::State(State::Booting), 0, 40_000);
}

#[test]
fn a_stuck_button_is_given_up_once_and_the_led_shows_the_state_again() {
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::Mining)).hold(1_000, 3_600_000);
    bench.run(120_000);
    assert_eq!(bench.events(), [(26_000, Gesture(Cancelled))]);
    shows_from(&bench, Sign::State(State::Mining), 26_000, 120_000);
}

#[test]
fn a_bouncing_button_is_one_press() {
    let mut bench = Bench::new();
    for bounce in [2_000, 2_020, 2_040] {
        bench.hold(bounce, 10);
    }
    bench.hold(2_060, 3_500);
    for bounce in [5_570, 5_590] {
        bench.hold(bounce, 10);
    }
    bench.run(20_000);
    // Down for good at 2060, up for good at 5600.
    assert_eq!(bench.events(), [(5_630, Gesture(Restart))]);
}

#[test]
fn a_machine_that_stands_still_during_a_press_does_not_make_it_a_long_one() {
    let mut bench = Bench::new();
    bench.hold(2_000, 30_000);
    bench.run(4_000).stand_still(13_000).run(60_000);
    assert_eq!(bench.events(), [(17_000, Gesture(Cancelled))]);
}

#[test]
fn the_power_button_shows_the_state_and_powers_off_when_pressed_twice() {
    let mut bench = Bench::with_power_button();
    bench.hold(1_000, 100).hold(6_000, 100).hold(7_900, 100).hold(15_000, 100).hold(17_010, 100);
    bench.run(30_000);
    let expected = [
        (1_130, Gesture(ShowState)),
        (6_130, Gesture(ShowState)),
        (8_030, PowerKey),
        (15_130, Gesture(ShowState)),
        (17_140, Gesture(ShowState)),
    ];
    assert_eq!(bench.events(), expected);
}

#[test]
fn a_confirmation_by_the_power_button_is_no_first_press() {
    let mut bench = Bench::with_power_button();
    bench.order(0, Order::Set(State::WaitingForConfirmation)).hold(1_000, 100).order(1_200, Order::Set(State::Mining));
    bench.hold(2_000, 100).run(10_000);
    assert_eq!(bench.events(), [(1_130, Gesture(Confirm)), (2_130, Gesture(ShowState))]);
}

#[test]
fn a_power_key_beside_a_button_powers_off_once_a_press() {
    let mut bench = Bench::with_power_key();
    bench.hold_power_key(1_000, 120).hold_power_key(5_000, 8_000).hold(20_000, 100);
    bench.run(30_000);
    assert_eq!(bench.events(), [(1_000, PowerKey), (5_000, PowerKey), (20_130, Gesture(ShowState))]);
}

#[test]
fn an_led_that_fails_stops_nothing_and_shows_what_it_should_when_it_is_back() {
    let mut bench = Bench::new();
    bench.order(0, Order::Set(State::Updating)).break_led(1_000, 6_000).hold(3_000, 100);
    bench.run(20_000);
    assert_eq!(bench.events(), [(3_130, Gesture(ShowState))]);
    assert_eq!(bench.edges_between(1_000, 6_000), []);
    // It is looked for every two seconds; the state began anew after the answer to the press.
    let began = 3_130 + Sign::Acknowledged.pattern().length().expect("it ends").as_millis();
    let mut expected = edges(Sign::State(State::Updating).pattern(), began, 20_000, false);
    expected.retain(|&(at, _)| at >= 8_000);
    assert_eq!(bench.edges_between(8_000, 20_000), expected);
}

#[test]
fn a_button_that_fails_while_held_cancels_and_works_again_later() {
    let mut bench = Bench::new();
    bench.hold(2_000, 16_000).break_button(10_000, 12_000).hold(30_000, 100);
    bench.run(40_000);
    assert_eq!(bench.events(), [(10_000, Gesture(Cancelled)), (30_130, Gesture(ShowState))]);
}

#[test]
fn orders_wake_a_panel_that_has_nothing_to_wait_for_and_stopping_leaves_the_led_dark() {
    let mut bench = Bench::without_button();
    bench
        .order(1_000, Order::Set(State::ShuttingDown))
        .order(9_000, Order::Set(State::Mining))
        .order(9_100, Order::Stop);
    bench.run(20_000);
    shows_from(&bench, Sign::State(State::ShuttingDown), 1_000, 9_000);
    assert_eq!(bench.edges_between(9_000, 20_000), [(9_000, true), (9_100, false)]);
    assert!(bench.ended());
}
