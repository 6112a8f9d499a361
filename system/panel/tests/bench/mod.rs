//! A panel on the test bench: time goes on millisecond by millisecond, and the panel is polled until it sleeps.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use embassy_time::{Duration, MockDriver};
use warppool_panel::{Button, HardwareError, Led, Orders, Panel, PanelEvent, Retrying, State, orders};

/// The mock driver's clock is one for the whole program.
static CLOCK: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy)]
pub enum Order {
    Set(State),
    Celebrate,
    Stop,
}

/// What the outside does and sees; times in milliseconds.
#[derive(Default)]
struct World {
    now: Cell<u64>,
    /// From, until.
    held: RefCell<Vec<(u64, u64)>>,
    power_key_held: RefCell<Vec<(u64, u64)>>,
    led_broken: RefCell<Vec<(u64, u64)>>,
    button_broken: RefCell<Vec<(u64, u64)>>,
    edges: RefCell<Vec<(u64, bool)>>,
    events: RefCell<Vec<(u64, PanelEvent)>>,
}

impl World {
    fn within(&self, spans: &RefCell<Vec<(u64, u64)>>) -> bool {
        let now = self.now.get();
        spans.borrow().iter().any(|&(from, until)| (from..until).contains(&now))
    }

    fn broken(&self, spans: &RefCell<Vec<(u64, u64)>>) -> Result<(), HardwareError> {
        if self.within(spans) { Err(HardwareError::Missing("device: it is broken".to_owned())) } else { Ok(()) }
    }
}

struct BenchLed(Rc<World>);
struct BenchButton(Rc<World>);
struct BenchPowerKey(Rc<World>);

impl Led for BenchLed {
    fn set(&mut self, lit: bool) -> Result<(), HardwareError> {
        self.0.broken(&self.0.led_broken)?;
        self.0.edges.borrow_mut().push((self.0.now.get(), lit));
        Ok(())
    }
}

impl Button for BenchButton {
    fn pressed(&mut self) -> Result<bool, HardwareError> {
        self.0.broken(&self.0.button_broken)?;
        Ok(self.0.within(&self.0.held))
    }
}

impl Button for BenchPowerKey {
    fn pressed(&mut self) -> Result<bool, HardwareError> {
        Ok(self.0.within(&self.0.power_key_held))
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub struct Bench {
    world: Rc<World>,
    orders: Orders,
    script: Vec<(u64, Order)>,
    panel: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Woken>,
    _clock: MutexGuard<'static, ()>,
}

impl Bench {
    /// With a button on a pin.
    pub fn new() -> Self {
        Self::build(|panel, world| panel.with_button(Box::new(button(world))))
    }

    pub fn with_power_button() -> Self {
        Self::build(|panel, world| panel.with_power_button(Box::new(button(world))))
    }

    pub fn with_power_key() -> Self {
        Self::build(|panel, world| {
            panel.with_button(Box::new(button(world))).with_power_key(Box::new(BenchPowerKey(Rc::clone(world))))
        })
    }

    pub fn without_button() -> Self {
        Self::build(|panel, _| panel)
    }

    fn build<F: FnMut(PanelEvent) + 'static>(
        wire: impl FnOnce(Panel<Box<dyn FnMut(PanelEvent)>>, &Rc<World>) -> Panel<F>,
    ) -> Self {
        let clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
        MockDriver::get().reset();
        let world = Rc::new(World::default());
        let led = Rc::clone(&world);
        let heard = Rc::clone(&world);
        let panel = Panel::new(
            Box::new(Retrying::new("LED", move || Ok(BenchLed(Rc::clone(&led))))),
            Box::new(move |event| heard.events.borrow_mut().push((heard.now.get(), event))) as Box<dyn FnMut(_)>,
        );
        let (orders, inbox) = orders();
        let panel = wire(panel, &world).run(inbox);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self { world, orders, script: Vec::new(), panel: Some(Box::pin(panel)), woken, _clock: clock }
    }

    pub fn order(&mut self, at: u64, order: Order) -> &mut Self {
        self.script.push((at, order));
        self
    }

    /// Presses the button at `at` for `ms`.
    pub fn hold(&mut self, at: u64, ms: u64) -> &mut Self {
        self.world.held.borrow_mut().push((at, at + ms));
        self
    }

    pub fn hold_power_key(&mut self, at: u64, ms: u64) -> &mut Self {
        self.world.power_key_held.borrow_mut().push((at, at + ms));
        self
    }

    pub fn break_led(&mut self, from: u64, until: u64) -> &mut Self {
        self.world.led_broken.borrow_mut().push((from, until));
        self
    }

    pub fn break_button(&mut self, from: u64, until: u64) -> &mut Self {
        self.world.button_broken.borrow_mut().push((from, until));
        self
    }

    /// Lets time go on up to `until`.
    pub fn run(&mut self, until: u64) -> &mut Self {
        while self.world.now.get() < until {
            let now = self.world.now.get();
            for &(_, order) in self.script.iter().filter(|&&(at, _)| at == now) {
                match order {
                    Order::Set(state) => self.orders.set(state),
                    Order::Celebrate => self.orders.celebrate(),
                    Order::Stop => self.orders.stop(),
                }
            }
            self.poll();
            self.advance(1);
        }
        self
    }

    /// Lets time go on without the panel getting to run.
    pub fn stand_still(&mut self, ms: u64) -> &mut Self {
        self.advance(ms);
        self
    }

    fn advance(&self, ms: u64) {
        self.world.now.set(self.world.now.get() + ms);
        MockDriver::get().advance(Duration::from_millis(ms));
    }

    fn poll(&mut self) {
        let waker = Waker::from(Arc::clone(&self.woken));
        while self.woken.0.swap(false, Ordering::Relaxed) {
            let Some(panel) = &mut self.panel else { return };
            if panel.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.panel = None;
            }
        }
    }

    pub fn events(&self) -> Vec<(u64, PanelEvent)> {
        self.world.events.borrow().clone()
    }

    /// The LED's changes with `from` ≤ time < `until`.
    pub fn edges_between(&self, from: u64, until: u64) -> Vec<(u64, bool)> {
        let mut lit = self.lit_before(from);
        let edges = self.world.edges.borrow();
        let within = edges.iter().filter(|(at, _)| (from..until).contains(at));
        // The first setting of all, to dark, is no change.
        within.copied().filter(|&(_, now)| std::mem::replace(&mut lit, now) != now).collect()
    }

    pub fn lit_before(&self, at: u64) -> bool {
        self.world.edges.borrow().iter().rev().find(|(edge, _)| *edge < at).is_some_and(|&(_, lit)| lit)
    }

    pub fn ended(&self) -> bool {
        self.panel.is_none()
    }
}

fn button(world: &Rc<World>) -> Retrying<BenchButton> {
    let world = Rc::clone(world);
    Retrying::new("button", move || Ok(BenchButton(Rc::clone(&world))))
}
