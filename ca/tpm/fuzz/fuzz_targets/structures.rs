//! TPM structures and the key file: never a panic, and what is read is written
//! back byte for byte.
#![no_main]

use hufu_tpm::attest::{
    CertifyStatement, EcdsaSignature, Public, check_attestation_key, check_device_key,
    check_endorsement_key,
};
use hufu_tpm::keyfile::KeyFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(public) = Public::from_tpm2b(bytes) {
        assert_eq!(public.to_tpm2b(), bytes);
        let _ = (public.name(), public.p256_compressed());
        let _ = check_endorsement_key(&public);
        let _ = check_attestation_key(&public);
        let _ = check_device_key(&public);
    }
    if let Ok(public) = Public::from_tpmt(bytes) {
        assert_eq!(public.to_tpmt(), bytes);
    }
    if let Ok(statement) = CertifyStatement::from_bytes(bytes) {
        assert_eq!(statement.to_bytes(), bytes);
    }
    if let Ok(signature) = EcdsaSignature::from_bytes(bytes) {
        let again = EcdsaSignature::from_bytes(&signature.to_bytes());
        assert_eq!(again.as_ref(), Ok(&signature));
    }
    if let Ok(file) = KeyFile::from_bytes(bytes) {
        assert_eq!(file.to_bytes(), bytes);
    }
});
