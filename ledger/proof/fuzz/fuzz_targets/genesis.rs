//! A genesis file that is accepted has one form only.

#![no_main]

use hufu_proof::Genesis;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(genesis) = Genesis::from_json(bytes) {
        assert_eq!(genesis.to_json(), bytes);
    }
});
