//! A hostile EK certificate against a known root and EK.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use hufu_tpm::attest::{ManufacturerRoots, Public};
use libfuzzer_sys::fuzz_target;

static KNOWN: LazyLock<(ManufacturerRoots, Vec<Public>)> = LazyLock::new(|| {
    let roots = include_str!("../../tests/fixtures/roots.pem");
    let eks = [
        &include_bytes!("../../tests/fixtures/ek-rsa.pub")[..],
        include_bytes!("../../tests/fixtures/ek-p384.pub"),
    ];
    (
        ManufacturerRoots::from_pem(roots).expect("a recorded bundle"),
        eks.map(|ek| Public::from_tpm2b(ek).expect("a recorded EK")).to_vec(),
    )
});

fuzz_target!(|certificate: &[u8]| {
    let (roots, eks) = &*KNOWN;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    for ek in eks {
        let _ = roots.verify_ek_certificate(&[certificate], ek, now);
    }
    if let Ok(pem) = std::str::from_utf8(certificate) {
        let _ = ManufacturerRoots::from_pem(pem);
    }
});
