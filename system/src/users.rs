//! The users of the image: each role has its own, so that none can touch another's files or processes.

use std::path::PathBuf;

/// A user and its group, which have the same number; `/etc/passwd` of the image says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

const fn user(id: u32) -> User {
    User { uid: id, gid: id }
}

pub const ROOT: User = user(0);
pub const POOL: User = user(100);
pub const NET: User = user(101);
pub const OTA: User = user(102);
pub const HANDOVER: User = user(103);
pub const CLOCK: User = user(104);
pub const MDNS: User = user(105);

/// The home of a user that the image has for a program of its own.
pub fn home(name: &str) -> Option<PathBuf> {
    Some(nix::unistd::User::from_name(name).ok()??.dir)
}

/// A user of the image by name.
pub fn by_name(name: &str) -> Option<User> {
    let known = [
        ("root", ROOT),
        ("pool", POOL),
        ("net", NET),
        ("ota", OTA),
        ("handover", HANDOVER),
        ("clock", CLOCK),
        ("mdns", MDNS),
    ];
    if let Some((_, user)) = known.into_iter().find(|(known, _)| *known == name) {
        return Some(user);
    }
    let found = nix::unistd::User::from_name(name).ok()??;
    Some(User { uid: found.uid.as_raw(), gid: found.gid.as_raw() })
}
