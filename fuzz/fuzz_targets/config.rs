//! `config.toml` and `secrets.toml`, separated by a NUL byte: whatever they hold, they are read, or refused with a reason.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use warppool_config::{Hardware, Overrides, parse, resolve};

fuzz_target!(|bytes: &[u8]| {
    let (config, secrets) = match bytes.iter().position(|&byte| byte == 0) {
        Some(at) => (&bytes[..at], Some((Path::new("secrets.toml"), &bytes[at + 1..]))),
        None => (bytes, None),
    };
    match parse(Path::new("config.toml"), config, secrets, &Overrides::default(), std::iter::empty()) {
        Ok(loaded) => {
            let limits = resolve(&loaded.config, &Hardware::default());
            assert!(limits.max_connections > 0 && limits.max_connections_per_address > 0);
            assert!(!loaded.nodes.is_empty());
        }
        Err(errors) => {
            assert!(!errors.0.is_empty(), "refused without a reason");
            for fault in &errors.0 {
                assert!(!fault.problem.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
            }
        }
    }
});
