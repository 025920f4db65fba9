//! The check of a whole package, as a node runs it on what a proposal carries:
//! first the bytes as a canonical encoding, then as the text of `contract.toml`
//! and, behind a line of dashes, `policy.cedar`.

#![no_main]

use std::collections::BTreeMap;

use hufu_contract::{Sources, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sources) = Sources::from_bytes(bytes) {
        assert_eq!(sources.to_bytes(), bytes);
        let _ = check(&sources, &BTreeMap::new());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (contract, policy) = text.split_once("\n----\n").unwrap_or((text, ""));
    let files = [("contract.toml", contract), ("policy.cedar", policy), ("README.md", "#\n")];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    if let Ok(sources) = Sources::new(BTreeMap::from(files)) {
        let _ = check(&sources, &BTreeMap::new());
    }
});
