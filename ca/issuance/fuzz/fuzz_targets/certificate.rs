//! A client's certificate, as it comes out of a TLS handshake.
#![no_main]

use hufu_issuance::{Certificate, member_and_roles};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(certificate) = Certificate::from_der(der) {
        assert_eq!(certificate.der(), der);
        let _ = certificate.subject();
        let _ = member_and_roles(&certificate);
        let _ = certificate.is_authority();
        let _ = certificate.authority_key_identifier();
    }
});
