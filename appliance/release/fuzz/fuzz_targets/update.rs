//! An update from somewhere. The seeds are signed by the key below, so that what
//! lies behind the signature is reached as well.
#![no_main]

use std::io;

use hufu_release::{Manifest, Part, ReleaseKey, Sink, Unpacker};
use libfuzzer_sys::fuzz_target;

/// The public half of the P-256 key whose secret is 32 times `01`.
const KEY: &str = include_str!("../key.pem");

struct Nowhere;

impl Sink for Nowhere {
    fn accept(&mut self, _: &Manifest) -> io::Result<()> {
        Ok(())
    }
    fn write(&mut self, _: &Manifest, _: &Part, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn end(&mut self, _: &Manifest, _: &Part) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|update: &[u8]| {
    let key = ReleaseKey::from_pem(KEY).expect("the key above");
    let mut unpacker = Unpacker::new(key, Nowhere);
    for piece in update.chunks(97) {
        if unpacker.push(piece).is_err() {
            return;
        }
    }
    let _ = unpacker.finish();
});
