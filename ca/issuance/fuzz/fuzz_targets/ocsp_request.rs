//! An OCSP request: never a panic, and what is read survives a round trip.
#![no_main]

use hufu_protocols::ocsp::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(request) = Request::from_der(der) {
        let written = request.to_der().expect("a request is always written");
        assert_eq!(Request::from_der(&written).ok(), Some(request));
    }
});
