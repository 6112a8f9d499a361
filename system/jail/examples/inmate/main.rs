//! Enters a role's jail and tries one thing there: `inmate ROLE ACTION [ARGUMENT]`. The tests start it, within a cell
//! or without, and judge by its exit: 0 with what it found on standard output, 1 with the number of the error, or a
//! signal.
//!
//! `INMATE_DATA` and `INMATE_RUN` name the pool's folders; with `INMATE_STRICT` a call that no rule names kills it.

#[cfg(target_os = "linux")]
mod actions;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    actions::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
