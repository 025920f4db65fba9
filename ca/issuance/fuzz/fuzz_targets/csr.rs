//! A certification request: never a panic, and what is accepted is exactly
//! what was sent.
#![no_main]

use hufu_issuance::CertificationRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(request) = CertificationRequest::from_der(der) {
        assert_eq!(request.der(), der);
        assert!(request.public_key().raw().len() >= 32);
    }
});
