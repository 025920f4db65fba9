//! A partition's manifest: what is accepted is written as it was read, and names no
//! file outside its folder.
#![no_main]

use hufu_archive::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    assert_eq!(manifest.to_bytes(), bytes);
    assert!(manifest.first <= manifest.last);
    for name in manifest.files.keys() {
        assert!(!name.contains('/') && !name.starts_with('.'));
    }
});
