//! Tries LED and button on real hardware: shows each state for some seconds and prints what it hears.
//!
//! `try [SETTINGS]`, settings as in the system's table `[panel]`: `try 'led = "pin"'`

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::time::{Duration, Instant};
    use warppool_panel::{PanelConfig, Sign, State, spawn};

    let config: PanelConfig = toml::from_str(&std::env::args().nth(1).unwrap_or_default())?;
    tracing_subscriber::fmt().init();
    println!("{config:?}");
    let (events, inbox) = std::sync::mpsc::channel();
    let panel = spawn(&config, move |event| {
        let _ = events.send(event);
    })?;
    for state in State::ALL {
        let row = Sign::State(state).row();
        println!("{}: {}", row.name, row.look);
        panel.set(state);
        let until = Instant::now() + Duration::from_secs(8);
        while let Ok(event) = inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
            println!("heard {event:?}");
        }
    }
    panel.stop();
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {}
