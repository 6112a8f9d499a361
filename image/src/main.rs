//! `warppool-image`: makes what the appliance is flashed with and updated by, for developers and for Buildroot's post-image.

#[cfg(target_os = "linux")]
mod command;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    command::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("warppool-image: images are made on Linux; a container or a virtual machine with it will do");
    std::process::ExitCode::FAILURE
}
