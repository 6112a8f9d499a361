//! One line of a miner's: the fast scanner never sees more than JSON holds, and an id is echoed as JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use warppool_stratum::line::{Call, Fields, LineError, parse};

fuzz_target!(|line: &[u8]| {
    match parse(line) {
        Ok(request) => {
            serde_json::from_slice::<&RawValue>(request.id.json()).expect("an id is JSON");
            match request.call {
                Call::Submit(fields) => {
                    let json: Value = serde_json::from_slice(line).expect("what the scanner takes is JSON");
                    assert_eq!(json["method"], "mining.submit");
                    let long = Fields::from_params(&json["params"]).expect("and its parameters are strings");
                    assert_eq!(fields, long);
                }
                Call::Other { params, .. } => drop(Fields::from_params(&params)),
            }
        }
        Err(LineError::NoMethod(id)) => {
            serde_json::from_slice::<&RawValue>(id.json()).expect("an id is JSON");
        }
        Err(_) => {}
    }
});
