//! The device's name on the local network: what the unprivileged child that answers to it is told, and tells.

use std::io::PipeReader;

use warppool_network::names::{Config, Event as Told};
use warppool_protocol::read_frame;

use crate::event::{Event, Events};

pub const NAME: &str = "mdns";

/// What the child is to do; it goes to its standard input.
pub fn input(config: &Config) -> Vec<u8> {
    postcard::to_stdvec(config).unwrap_or_default()
}

/// Passes on what the child reports.
pub fn listen(mut pipe: PipeReader, events: &Events) {
    while let Ok(Some(told)) = read_frame::<Told>(&mut pipe) {
        if events.send(Event::Names(told)).is_err() {
            return;
        }
    }
}
