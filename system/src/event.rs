//! What the main loop hears of: everything that happens, as one kind of value, through one bounded channel.

use std::sync::mpsc::SyncSender;

use warppool_network::Lease;
use warppool_network::plan::Helper;
use warppool_panel::PanelEvent;
use warppool_protocol::Interface;

use crate::reaper::Exit;
use crate::server::Question;
use crate::signals::Wish;
use crate::updates;

/// Events that may wait. Who sends more waits, which only the main loop itself must never do.
pub const WAITING: usize = 256;

#[derive(Debug)]
pub enum Event {
    /// A supervised program is gone.
    Ended {
        service: String,
        pid: i32,
        exit: Exit,
    },
    Clock(warppool_network::clock::Event),
    Names(warppool_network::names::Event),
    Question(Question),
    Panel(PanelEvent),
    Wish(Wish),
    Network(NetworkNews),
    Probed(crate::probe::Probed),
    Update(updates::News),
}

#[derive(Debug)]
pub enum NetworkNews {
    /// These programs keep an interface up; they replace those it had before.
    Keep { interface: String, helpers: Vec<Helper> },
    /// The cable was plugged in again.
    Plugged { interface: String },
    /// The interfaces as they are now.
    Interfaces(Vec<Interface>),
    /// What DHCP servers gave, as of now.
    Leases(Vec<Lease>),
}

pub type Events = SyncSender<Event>;
