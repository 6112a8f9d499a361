//! Faults on purpose, by `warppool.fault` on the kernel's command line: how tests see what follows a panic, a stall or a bad
//! version. The command line lies in a signed slot; nobody but who signs can ask for this.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::console::say;
use crate::kernel_args::Fault;

/// Starts what runs by itself: the kernel's panic.
pub fn arm(fault: Option<Fault>) {
    let Some(fault) = fault else { return };
    say!("fault: {fault:?} was asked for on the kernel's command line");
    if let Fault::Panic(after) = fault {
        let panic = move || {
            thread::sleep(after);
            say!("fault: the kernel panics now");
            // Give the line time to reach a serial console.
            thread::sleep(Duration::from_millis(200));
            if let Err(why) = fs::write("/proc/sysrq-trigger", "c") {
                say!("fault: the kernel does not panic: {why}");
            }
        };
        drop(thread::Builder::new().name("fault".into()).spawn(panic));
    }
}

/// What befalls the main loop itself, when it is time to: it stalls for ever, or it panics.
pub fn strike(fault: Option<Fault>, running_since: Duration) {
    match fault {
        Some(Fault::Hang(after)) if running_since >= after => {
            say!("fault: the main loop stalls now");
            loop {
                thread::sleep(Duration::MAX);
            }
        }
        Some(Fault::Stumble(after)) if running_since >= after => panic!("asked for on the kernel's command line"),
        _ => {}
    }
}
