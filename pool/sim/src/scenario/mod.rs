//! Whole stories, told against the real program: a `warppool run` of its own, on a simulated node, with simulated miners.
//! The pool is a black box here: all that is known of it is what miners, the web page and the log show. Each story ends
//! with a [`Verdict`] that says what was looked at, with figures.

mod certificates;
mod child;
mod crew;
mod failures;
mod http;
mod log;
mod net;
mod play;
mod proxy;
mod raw;
mod security;
mod setup;
mod stage;
mod stories;
#[cfg(test)]
mod tests;
mod verdict;

use std::path::PathBuf;

use serde::Serialize;
pub use verdict::Verdict;

/// What a run goes by.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `warppool` to be looked at.
    pub program: PathBuf,
}

/// Which kind of story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What a pool is for, from the first miner to a day's work, in accelerated time.
    Scenario,
    /// Something breaks, the pool bears it, it heals, the pool recovers.
    Failure,
    /// Somebody means harm: refused or dropped, while the others mine on.
    Security,
}

/// A story's name and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub name: &'static str,
    pub about: &'static str,
}

/// A name that nothing in a group has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {group} {name:?}; there are {known}")]
pub struct UnknownName {
    group: &'static str,
    name: String,
    known: String,
}

impl Group {
    /// All there are, in the order in which they are told.
    pub fn list(self) -> impl Iterator<Item = Entry> {
        self.acts().iter().map(|act| Entry { name: act.name, about: act.about })
    }

    /// Runs one.
    pub async fn run(self, name: &str, options: &Options) -> Result<Verdict, UnknownName> {
        match self.acts().iter().find(|act| act.name == name) {
            Some(act) => Ok(play::play(act, options).await),
            None => Err(UnknownName {
                group: self.word(),
                name: name.to_owned(),
                known: self.list().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Runs all, several at a time where that disturbs no measurement; `told` hears of each verdict as it comes.
    pub async fn all(self, options: &Options, told: impl FnMut(&Verdict)) -> Vec<Verdict> {
        play::all(self.acts(), options, told).await
    }

    fn acts(self) -> &'static [play::Act] {
        match self {
            Self::Scenario => stories::ACTS,
            Self::Failure => failures::ACTS,
            Self::Security => security::ACTS,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Scenario => "scenario",
            Self::Failure => "failure mode",
            Self::Security => "security test",
        }
    }
}
