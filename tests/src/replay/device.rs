//! A flashed device: disk and memory, and the real steps that change them.

use std::io::Cursor;
use std::ops::{ControlFlow, Range};

use warppool_ota::install::{self, Admission};
use warppool_ota::source::FileSource;
use warppool_ota::state::State;
use warppool_ota::{Layout, SECTOR, Slot, Window, mbr, p1};

use super::log::{Event, Log, Recorder};
use super::release::{Release, trust};
use super::store::{Shared, Store};

/// Bytes of the card, more than the image has.
const CARD: u64 = 1 << 30;

/// Disk, memory and a record of all that is done to them.
#[derive(Debug)]
pub struct Device {
    pub disk: Shared<Recorder>,
    pub state: State,
    before: (Store, State),
}

impl Device {
    /// As it comes from flashing: `committed` starts, and the slots hold these releases.
    pub fn flashed(committed: Slot, a: Option<&Release>, b: Option<&Release>) -> Self {
        let layout = Layout::default();
        let mut store = Store::new(CARD);
        mbr::write(&mut store, &layout).unwrap();
        let text = warppool_ota::autoboot::Autoboot::new(committed).text();
        p1::write(&mut Window::new(&mut store, layout.boot.bytes()).unwrap(), &text).unwrap();
        for (slot, release) in [(Slot::A, a), (Slot::B, b)] {
            if let Some(release) = release {
                store.lay(&release.slot, layout.slot(slot).bytes().start);
            }
        }
        // Something the data partition must keep.
        store.write(layout.data.bytes().start, &[0xda; SECTOR]).unwrap();
        Self::new(store, State { autoboot: Some(committed), ..State::default() })
    }

    pub fn new(store: Store, state: State) -> Self {
        Self { disk: Shared::new(Recorder::new(store.clone())), state: state.clone(), before: (store, state) }
    }

    /// A partition of it.
    pub fn window(&self, range: Range<u64>) -> Window<Shared<Recorder>> {
        Window::new(self.disk.clone(), range).unwrap()
    }

    pub fn slot(&self, slot: Slot) -> Window<Shared<Recorder>> {
        self.window(Layout::default().slot(slot).bytes())
    }

    pub fn p1(&self) -> Window<Shared<Recorder>> {
        self.window(Layout::default().boot.bytes())
    }

    /// Installs a release into the slot that does not run.
    pub fn install(&self, release: &Release, running: Slot) {
        let admission = Admission {
            running: None,
            running_slot: Some(running),
            target: running.other(),
            allow_downgrade: false,
            eeprom: None,
        };
        let mut source = FileSource::new(Cursor::new(&release.bundle)).unwrap();
        let mut watch = |_| ControlFlow::Continue(());
        let (mut from, mut to) = (self.slot(running), self.slot(running.other()));
        let ready = install::install(&mut source, Some(&mut from), &mut to, &trust(), &admission, &mut watch).unwrap();
        assert_eq!(ready.manifest.version, release.version);
    }

    /// Saves what is remembered, as the device does before it goes on.
    pub fn save(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        self.disk.lock().events.push(Event::Saved(Box::new(self.state.clone())));
    }

    /// Sets the tryboot flag, or notes that a boot has used it up.
    pub fn arm(&self, armed: bool) {
        self.disk.lock().events.push(Event::Armed(armed));
    }

    /// Everything since the device was made or last asked, as one step of this name.
    pub fn take_log(&mut self, name: &str, allowed: &[Range<u64>]) -> Log {
        let mut disk = self.disk.lock();
        let now = (disk.store.clone(), self.state.clone());
        let (before, state) = std::mem::replace(&mut self.before, now);
        let events = std::mem::take(&mut disk.events);
        Log {
            name: name.into(),
            before,
            state,
            events,
            allowed: allowed.to_vec(),
            lost_p1: false,
            damaged: None,
            grows: false,
        }
    }

    /// Overwrites something behind everybody's back, as wear or another system does; it is no part of any log.
    pub fn spoil(&mut self, offset: u64, bytes: &[u8]) {
        let mut disk = self.disk.lock();
        disk.store.write(offset, bytes).unwrap();
        self.before = (disk.store.clone(), self.state.clone());
        disk.events.clear();
    }

    pub fn store(&self) -> Store {
        self.disk.lock().store.clone()
    }
}
