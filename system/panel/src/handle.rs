//! The panel on a thread of its own, for a program of threads.

use std::thread::{Builder, JoinHandle};

use crate::hardware::open;
use crate::orders::Orders;
use crate::{ButtonSource, Panel, PanelConfig, PanelEvent, State, orders};

/// Steers the panel from any thread. Dropping it lets the panel run on.
#[derive(Debug)]
pub struct PanelHandle {
    orders: Orders,
    thread: JoinHandle<()>,
}

/// Starts the panel; it shows [`State::Booting`]. `events` is called on the panel's thread and must not block: send into a channel.
///
/// Never fails for want of hardware: what is missing is told once in the log and looked for again.
pub fn spawn(config: &PanelConfig, events: impl FnMut(PanelEvent) + Send + 'static) -> std::io::Result<PanelHandle> {
    let (orders, inbox) = orders();
    let config = config.clone();
    let thread = Builder::new().name("panel".to_owned()).spawn(move || {
        pollster::block_on(assemble(&config, events).run(inbox));
    })?;
    Ok(PanelHandle { orders, thread })
}

fn assemble<E: FnMut(PanelEvent)>(config: &PanelConfig, events: E) -> Panel<E> {
    let panel = Panel::new(open::led(config), events);
    match config.button {
        ButtonSource::Power => panel.with_power_button(open::power_key()),
        ButtonSource::Pin => panel.with_button(open::button(config)).with_power_key(open::power_key()),
        ButtonSource::None => panel.with_power_key(open::power_key()),
    }
}

impl PanelHandle {
    /// Shows a state; one that is shown already goes on.
    pub fn set(&self, state: State) {
        self.orders.set(state);
    }

    /// Celebrates a found block for some seconds, then shows the state again.
    pub fn celebrate(&self) {
        self.orders.celebrate();
    }

    /// Ends the panel with the LED dark, and waits for that.
    pub fn stop(self) {
        self.orders.stop();
        // A panel that panicked has said so, and is as stopped as it can be.
        drop(self.thread.join());
    }
}
