//! Comes back from a damaged ledger file: LMDB maps the file, so a bad sector or a truncation under it ends the process by
//! SIGBUS or SIGSEGV. The process then starts itself anew in place, with the ledger in memory, and mines on.

/// The flag the new start is given.
#[cfg(unix)]
const FLAG: &std::ffi::CStr = c"--memory-ledger";

/// From here on SIGBUS and SIGSEGV restart this process with `--memory-ledger` added, once.
#[cfg(unix)]
#[allow(unsafe_code)]
pub fn restart_on_memory_fault() {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStringExt as _;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use nix::libc;
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

    static PROGRAM: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());
    static ARGUMENTS: AtomicPtr<*const libc::c_char> = AtomicPtr::new(std::ptr::null_mut());

    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }

    /// How often a found block on its way to the disk is waited for, ten milliseconds each: the other threads go on.
    const WAITS: usize = 500;

    /// Runs in the middle of anything: only async-signal-safe calls, on memory made ready before.
    extern "C" fn again(_: libc::c_int) {
        const TOLD: &[u8] = b"warppool: the ledger's file is damaged; starting anew with the ledger in memory\n";
        // SAFETY: poll, write, execve and _exit are async-signal-safe (POSIX); the pointers were leaked on purpose and outlive us.
        unsafe {
            for _ in 0..WAITS {
                if !warppool_engine::is_writing_a_block() {
                    break;
                }
                libc::poll(std::ptr::null_mut(), 0, 10);
            }
            libc::write(2, TOLD.as_ptr().cast(), TOLD.len());
            #[cfg(all(feature = "appliance", target_os = "linux"))]
            warppool_jail::hand_on();
            libc::execve(PROGRAM.load(Ordering::Relaxed), ARGUMENTS.load(Ordering::Relaxed), environ);
            libc::_exit(101);
        }
    }

    // A process started anew from within the handler inherits the signal as blocked.
    let mut faults = SigSet::empty();
    faults.add(Signal::SIGBUS);
    faults.add(Signal::SIGSEGV);
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&faults), None);

    let given: Vec<_> = std::env::args_os().collect();
    if given.iter().any(|argument| argument.as_encoded_bytes() == FLAG.to_bytes()) {
        return; // The ledger's file is not the cause: end as anybody does.
    }
    let Ok(program) = std::env::current_exe() else { return };
    let Ok(program) = CString::new(program.into_os_string().into_vec()) else { return };
    let arguments: Result<Vec<CString>, _> =
        given.into_iter().map(|argument| CString::new(argument.into_vec())).chain([Ok(FLAG.to_owned())]).collect();
    let Ok(arguments) = arguments else { return };
    let mut pointers: Vec<*const libc::c_char> =
        arguments.into_iter().map(|argument| argument.into_raw().cast_const()).collect();
    pointers.push(std::ptr::null());
    PROGRAM.store(program.into_raw(), Ordering::Relaxed);
    ARGUMENTS.store(Box::leak(pointers.into_boxed_slice()).as_mut_ptr(), Ordering::Relaxed);

    let action = SigAction::new(SigHandler::Handler(again), SaFlags::SA_ONSTACK, SigSet::empty());
    for signal in [Signal::SIGBUS, Signal::SIGSEGV] {
        // SAFETY: the handler calls async-signal-safe functions only.
        if let Err(why) = unsafe { sigaction(signal, &action) } {
            tracing::warn!("a damaged ledger file would end the pool: {signal} cannot be caught ({why})");
        }
    }
}

#[cfg(not(unix))]
pub fn restart_on_memory_fault() {}
