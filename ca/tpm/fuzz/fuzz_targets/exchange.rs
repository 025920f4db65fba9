//! JSON bodies: never a panic, and what is read survives a round trip.
#![no_main]

use hufu_tpm::exchange::{ChallengeRequest, ChallengeResponse, CompletionRequest};
use libfuzzer_sys::fuzz_target;
use serde_json::{from_slice, to_vec};

fuzz_target!(|bytes: &[u8]| {
    macro_rules! check {
        ($type:ty) => {
            if let Ok(body) = from_slice::<$type>(bytes) {
                let written = to_vec(&body).expect("a body is always written");
                assert_eq!(from_slice::<$type>(&written).ok(), Some(body));
            }
        };
    }
    check!(ChallengeRequest);
    check!(ChallengeResponse);
    check!(CompletionRequest);
});
