//! The owner's `warppool.toml`: it is refused with reasons that can be shown, or taken, and then the pool's files and the system's
//! settings that follow from it can be read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warppool_handover::apply::{PoolFiles, to_pool, to_system};
use warppool_handover::{MAX_FAULTS, MAX_FILE, SystemSettings, parse};

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes, &|_| true) {
        Ok(handover) => {
            assert!(bytes.len() <= MAX_FILE);
            assert_eq!(parse(bytes, &|_| true).as_ref(), Ok(&handover));
            let before = PoolFiles { config: String::new(), secrets: String::new() };
            let after = to_pool(&before, &handover).expect("empty files can be added to");
            assert_eq!(to_pool(&after, &handover).expect("our own files can be added to"), after);
            let system = to_system(&SystemSettings::default(), &handover);
            assert_eq!(to_system(&system, &handover), system);
        }
        Err(faults) => {
            assert!((1..=MAX_FAULTS + 1).contains(&faults.len()), "refused without a reason, or with too many");
            for fault in &faults {
                assert!(!fault.problem.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
                assert!(fault.line.is_none_or(|line| line >= 1 && line as usize <= bytes.len() + 1), "{fault:?}");
                assert!(!fault.to_string().contains(char::is_control), "{fault:?} cannot be shown");
            }
        }
    }
});
