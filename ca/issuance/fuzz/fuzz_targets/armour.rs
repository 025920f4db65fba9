//! A request as people and programs write it, and PEM bundles.
#![no_main]

use hufu_issuance::{armour, limits, pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(der) = armour::decode_request(body) {
        assert!(der.len() <= limits::REQUEST_TEXT);
    }
    if let Ok(text) = std::str::from_utf8(body)
        && let Ok(certificates) = pem::decode_bundle(text)
    {
        let written = pem::encode_bundle(&certificates).expect("a bundle is always written");
        assert_eq!(written, text.replace("\r\n", "\n"));
    }
});
