//! The body of an EST request, and PEM bundles.
#![no_main]

use hufu_ca::{est, limits, pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(der) = est::decode_request(body) {
        assert!(der.len() <= limits::EST_BODY);
    }
    if let Ok(text) = std::str::from_utf8(body)
        && let Ok(certificates) = pem::decode_bundle(text)
    {
        let written = pem::encode_bundle(&certificates).expect("a bundle is always written");
        assert_eq!(written, text.replace("\r\n", "\n"));
    }
});
