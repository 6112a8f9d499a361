//! The panel's thread in real time.
#![cfg(target_os = "linux")]

use warppool_panel::{ButtonSource, LedSource, PanelConfig, State, spawn};

#[test]
fn a_panel_without_any_hardware_runs_takes_orders_and_stops_when_it_is_told() {
    let missing = PanelConfig {
        led: LedSource::Pin,
        button: ButtonSource::Pin,
        chip: "no-such-chip".to_owned(),
        ..PanelConfig::default()
    };
    let nothing = PanelConfig { led: LedSource::None, button: ButtonSource::None, ..PanelConfig::default() };
    for config in [missing, nothing] {
        let panel = spawn(&config, |_| {}).expect("a thread starts");
        panel.set(State::Mining);
        panel.celebrate();
        panel.stop();
    }
}
