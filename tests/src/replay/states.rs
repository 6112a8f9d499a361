//! In which states can a power cut leave the disk?
//!
//! What was flushed is there. Of what was written since, any part may be: every prefix of the writes, of the last write every
//! number of first sectors and a few arbitrary ones, any subset of the writes of one window between two flushes, all of them with
//! one in pieces, and in place of the sector written at that moment its old bytes, its new ones, a mixture, garbage, or an error.
//! A sector of the partition table, written once in a device's life, is assumed to keep one of the first three.

use std::ops::Range;
use std::sync::Arc;

use warppool_ota::state::State;
use warppool_ota::{Layout, SECTOR};

use super::crash::{Crash, Layer};
use super::log::{Event, Log};
use super::release::Random;
use super::store::Store;

const BYTES: u64 = SECTOR as u64;
/// All subsets of so many writes are tried; of more, some.
const ALL_SUBSETS: usize = 10;
const SOME_SUBSETS: u64 = 200;
/// Arbitrary parts of one write that are tried.
const SCATTERED: u64 = 4;
/// A write of so many sectors has each of them torn apart; of longer ones the first, one in the middle and the last.
const SHORT: usize = 8;

/// Writes of at most so many sectors, directories and FATs among them, are cut after each of them at any depth.
const FINE: usize = 64;

/// How finely long writes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    EverySector,
    /// Every so many sectors.
    Every(usize),
}

/// What is wrong with the state, for the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A prefix of the writes.
    Prefix,
    /// The last write is there in part.
    Torn,
    /// The sector being written is a mixture, garbage or an error.
    Sector,
    /// Writes of one window are there out of order.
    Reordered,
    /// No power cut but a reset, with the tryboot flag set.
    Reset,
    /// Partition 1 cannot be read as well.
    LostP1,
}

impl Kind {
    pub const ALL: [Self; 6] = [Self::Prefix, Self::Torn, Self::Sector, Self::Reordered, Self::Reset, Self::LostP1];

    pub fn name(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Torn => "torn",
            Self::Sector => "sector",
            Self::Reordered => "order",
            Self::Reset => "reset",
            Self::LostP1 => "lost p1",
        }
    }
}

/// What is between two flushes.
#[derive(Debug)]
pub struct Window {
    base: Arc<Store>,
    writes: Vec<(u64, Arc<[u8]>)>,
    epochs: Vec<Epoch>,
}

/// A time in which what is remembered does not change.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// Writes of the window that were done when it began.
    from: usize,
    pub state: State,
    pub armed: bool,
}

/// One state.
#[derive(Clone, Debug)]
pub struct Spec {
    pub window: usize,
    pub epoch: usize,
    pub kind: Kind,
    pick: Pick,
}

#[derive(Clone, Debug)]
enum Pick {
    /// The first writes.
    Prefix(usize),
    /// The first writes, and the first sectors of the next.
    Torn { writes: usize, sectors: usize },
    /// The first writes, and arbitrary sectors of the next.
    Scattered { writes: usize, seed: u64 },
    /// The first writes, the first sectors of the next, and one more in this shape.
    Sector { writes: usize, sector: usize, shape: Shape },
    /// These writes.
    Some(Vec<bool>),
    /// The first writes, but of one of them only arbitrary sectors, or only the first ones.
    Hole { writes: usize, torn: usize, part: Part },
    /// The first writes, and one of partition 1's sectors damaged.
    Damaged { writes: usize, sector: u64, shape: Shape },
}

#[derive(Clone, Copy, Debug)]
enum Part {
    First(usize),
    Scattered(u64),
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Unreadable,
    Garbage,
    /// So many new bytes, then old ones.
    Mixed(usize),
}

/// All windows of a step and all states of each.
#[derive(Debug)]
pub struct States {
    windows: Vec<Window>,
    pub specs: Vec<Spec>,
    /// The first writes of each window, laid down: what most states have in common.
    prefixes: Vec<Vec<Arc<Store>>>,
}

impl States {
    /// `p1`: numbers of the sectors of partition 1 that something is read from.
    pub fn of(log: &Log, depth: Depth, p1: &[u64]) -> Self {
        let windows = windows(log);
        let mut specs = Vec::new();
        let mut prefixes = Vec::new();
        for (number, window) in windows.iter().enumerate() {
            let stores = window.prefixes();
            for (epoch, from_to) in window.spans().into_iter().enumerate() {
                let mut push = |kind, pick| specs.push(Spec { window: number, epoch, kind, pick });
                window.span(number == 0, epoch, from_to, depth, p1, &stores, &mut push);
            }
            prefixes.push(stores);
        }
        Self { windows, specs, prefixes }
    }

    pub fn epoch(&self, spec: &Spec) -> &Epoch {
        &self.windows[spec.window].epochs[spec.epoch]
    }

    /// Makes the disk of a state.
    pub fn crash(&self, spec: &Spec) -> Crash {
        let window = &self.windows[spec.window];
        let prefix = |writes: usize| Crash::new(self.prefixes[spec.window][writes].clone(), vec![]);
        match &spec.pick {
            Pick::Prefix(writes) => prefix(*writes),
            Pick::Torn { writes, sectors } => {
                let mut crash = prefix(*writes);
                crash.lay(window.part(*writes, 0..*sectors));
                crash
            }
            Pick::Scattered { writes, seed } => {
                let mut crash = prefix(*writes);
                window.scattered(*writes, *seed).into_iter().for_each(|layer| crash.lay(layer));
                crash
            }
            Pick::Hole { writes, torn, part } => {
                let mut crash = Crash::new(window.base.clone(), vec![]);
                for write in 0..*writes {
                    match part {
                        Part::First(sectors) if write == *torn => crash.lay(window.part(write, 0..*sectors)),
                        Part::Scattered(seed) if write == *torn => {
                            window.scattered(write, *seed).into_iter().for_each(|layer| crash.lay(layer));
                        }
                        _ => crash.lay(window.part(write, 0..window.sectors(write))),
                    }
                }
                crash
            }
            Pick::Sector { writes, sector, shape } => {
                let mut crash = prefix(*writes);
                crash.lay(window.part(*writes, 0..*sector));
                let (offset, data) = &window.writes[*writes];
                let new = &data[sector * SECTOR..][..SECTOR];
                damage(&mut crash, offset / BYTES + *sector as u64, new, *shape);
                crash
            }
            Pick::Some(chosen) => {
                let layers = window.writes.iter().zip(chosen).filter(|(_, chosen)| **chosen);
                let layers = layers.map(|((offset, data), _)| Layer::whole(*offset, data.clone()));
                Crash::new(window.base.clone(), layers.collect())
            }
            Pick::Damaged { writes, sector, shape } => {
                let mut crash = prefix(*writes);
                damage(&mut crash, *sector, &[], *shape);
                crash
            }
        }
    }

    /// The state without what makes this one special: `(window, first writes of it)`. Nothing for one that is such a state itself.
    pub fn plain(spec: &Spec) -> Option<(usize, usize)> {
        match spec.pick {
            Pick::Prefix(_) | Pick::Damaged { .. } => None,
            Pick::Torn { writes, .. } | Pick::Scattered { writes, .. } | Pick::Sector { writes, .. } => {
                Some((spec.window, writes))
            }
            Pick::Some(_) | Pick::Hole { .. } => Some((spec.window, 0)),
        }
    }

    /// The disk of [`States::plain`].
    pub fn plain_crash(&self, (window, writes): (usize, usize)) -> Crash {
        Crash::new(self.prefixes[window][writes].clone(), vec![])
    }

    /// For a failure's message.
    pub fn describe(&self, spec: &Spec) -> String {
        let window = &self.windows[spec.window];
        let writes: Vec<_> =
            window.writes.iter().map(|(at, data)| format!("{}+{}", at / BYTES, data.len() / SECTOR)).collect();
        format!(
            "{:?} in window {} of {} (writes by sector: {}), epoch {}",
            spec.pick,
            spec.window,
            self.windows.len(),
            writes.join(" "),
            spec.epoch
        )
    }
}

/// Damages one sector, whose new bytes these are.
fn damage(crash: &mut Crash, sector: u64, new: &[u8], shape: Shape) {
    let bytes: Arc<[u8]> = match shape {
        Shape::Unreadable => return crash.lose(sector),
        Shape::Garbage => Arc::new([0xa5; SECTOR]),
        Shape::Mixed(count) => {
            let mut mixed = [0; SECTOR];
            crash.read(sector * BYTES, &mut mixed).unwrap();
            mixed[..count].copy_from_slice(&new[..count]);
            Arc::new(mixed)
        }
    };
    crash.lay(Layer::whole(sector * BYTES, bytes));
}

fn windows(log: &Log) -> Vec<Window> {
    let mut store = log.before.clone();
    let (mut state, mut armed) = (log.state.clone(), false);
    let fresh = |store: &Store, state: &State, armed: bool| Window {
        base: Arc::new(store.clone()),
        writes: vec![],
        epochs: vec![Epoch { from: 0, state: state.clone(), armed }],
    };
    let mut windows = vec![fresh(&store, &state, armed)];
    for event in &log.events {
        let window = windows.last_mut().unwrap();
        match event {
            Event::Write { offset, data } => {
                store.write(*offset, data).unwrap();
                window.writes.push((*offset, data.clone()));
                continue;
            }
            Event::Flush if window.writes.is_empty() => continue,
            Event::Flush => {
                windows.push(fresh(&store, &state, armed));
                continue;
            }
            Event::Saved(saved) => state = *saved.clone(),
            Event::Armed(set) => armed = *set,
        }
        window.epochs.push(Epoch { from: window.writes.len(), state: state.clone(), armed });
    }
    windows
}

impl Window {
    fn prefixes(&self) -> Vec<Arc<Store>> {
        let mut stores = vec![self.base.clone()];
        for (offset, data) in &self.writes {
            let mut next = Store::clone(stores.last().unwrap());
            next.write(*offset, data).unwrap();
            stores.push(Arc::new(next));
        }
        stores
    }

    fn sectors(&self, write: usize) -> usize {
        self.writes[write].1.len() / SECTOR
    }

    /// These sectors of a write.
    fn part(&self, write: usize, sectors: Range<usize>) -> Layer {
        let (offset, data) = &self.writes[write];
        Layer { offset: *offset, data: data.clone(), part: sectors.start * SECTOR..sectors.end * SECTOR }
    }

    /// Arbitrary sectors of a write.
    fn scattered(&self, write: usize, seed: u64) -> Vec<Layer> {
        let mut random = Random::new(seed << 32 | write as u64);
        let sectors = (0..self.sectors(write)).filter(|_| random.coin());
        sectors.map(|sector| self.part(write, sector..sector + 1)).collect()
    }

    /// Writes done at the begin and the end of each epoch.
    fn spans(&self) -> Vec<Range<usize>> {
        let ends = self.epochs.iter().skip(1).map(|epoch| epoch.from).chain([self.writes.len()]);
        self.epochs.iter().zip(ends).map(|(epoch, end)| epoch.from..end).collect()
    }

    /// The states of one epoch.
    #[allow(clippy::too_many_arguments)]
    fn span(
        &self,
        first: bool,
        epoch: usize,
        span: Range<usize>,
        depth: Depth,
        p1: &[u64],
        stores: &[Arc<Store>],
        push: &mut dyn FnMut(Kind, Pick),
    ) {
        // Nothing of this window written and nothing new remembered: that is the end of the window before.
        let start = if first || epoch > 0 { span.start } else { span.start + 1 };
        for writes in start..=span.end {
            push(Kind::Prefix, Pick::Prefix(writes));
            if self.epochs[epoch].armed {
                push(Kind::Reset, Pick::Prefix(writes));
            }
            for sector in p1 {
                for shape in [Shape::Unreadable, Shape::Garbage] {
                    push(Kind::LostP1, Pick::Damaged { writes, sector: *sector, shape });
                }
            }
        }
        for write in span.clone() {
            self.torn(write, depth, &stores[write], push);
        }
        if span.end > 1 {
            for chosen in subsets(span.end) {
                push(Kind::Reordered, Pick::Some(chosen));
            }
            // The last write in pieces is a torn one.
            for torn in 0..span.end - 1 {
                let count = self.sectors(torn);
                let first =
                    [1, count / 2, count.saturating_sub(1)].into_iter().filter(|sectors| (1..count).contains(sectors));
                let parts = first.map(Part::First).chain((0..SCATTERED).filter(|_| count > 2).map(Part::Scattered));
                for part in parts {
                    push(Kind::Reordered, Pick::Hole { writes: span.end, torn, part });
                }
            }
        }
    }

    fn torn(&self, write: usize, depth: Depth, before: &Store, push: &mut dyn FnMut(Kind, Pick)) {
        let count = self.sectors(write);
        let step = match depth {
            Depth::Every(step) if count > FINE => step,
            _ => 1,
        };
        for sectors in (1..count).step_by(step) {
            push(Kind::Torn, Pick::Torn { writes: write, sectors });
        }
        if count > 2 {
            for seed in 0..SCATTERED {
                push(Kind::Torn, Pick::Scattered { writes: write, seed });
            }
        }
        let chosen: Vec<usize> = if count <= SHORT { (0..count).collect() } else { vec![0, count / 2, count - 1] };
        for sector in chosen {
            let (offset, data) = &self.writes[write];
            let at = offset / BYTES + sector as u64;
            for shape in shapes(at, &data[sector * SECTOR..][..SECTOR], before) {
                push(Kind::Sector, Pick::Sector { writes: write, sector, shape });
            }
        }
    }
}

/// What a sector can be that was being written: mixtures of old and new, and what no checksum would pass.
fn shapes(sector: u64, new: &[u8], before: &Store) -> Vec<Shape> {
    let layout = Layout::default();
    let holds = |range: Range<u64>| range.contains(&(sector * BYTES));
    let table = sector == 0 || holds(layout.extended.bytes());
    if !table && !holds(layout.boot.bytes()) {
        return vec![Shape::Mixed(SECTOR / 2), Shape::Unreadable, Shape::Garbage];
    }
    // Where a sector is changed in place, at a few of the bytes in which old and new differ; the last would be the whole new one.
    let mut old = [0; SECTOR];
    before.read(sector * BYTES, &mut old).unwrap();
    let differ: Vec<usize> = (0..SECTOR).filter(|at| old[*at] != new[*at]).map(|at| at + 1).collect();
    let places = differ.iter().take(differ.len().saturating_sub(1)).step_by(differ.len().div_ceil(6).max(1));
    let mixed = places.map(|count| Shape::Mixed(*count));
    let worse = [Shape::Unreadable, Shape::Garbage].into_iter().filter(|_| !table);
    mixed.chain(worse).collect()
}

/// Which of `count` writes are there; prefixes are left out.
fn subsets(count: usize) -> Vec<Vec<bool>> {
    let mut found: Vec<Vec<bool>> = if count <= ALL_SUBSETS {
        (0..1u32 << count).map(|bits| (0..count).map(|bit| bits >> bit & 1 == 1).collect()).collect()
    } else {
        let one = |chosen: usize, is: bool| (0..count).map(|write| (write == chosen) == is).collect();
        let mut random = Random::new(count as u64);
        let singles = (0..count).flat_map(|write| [one(write, true), one(write, false)]);
        singles.chain((0..SOME_SUBSETS).map(|_| (0..count).map(|_| random.coin()).collect())).collect()
    };
    found.retain(|chosen| chosen.iter().skip_while(|there| **there).any(|there| *there));
    found
}
