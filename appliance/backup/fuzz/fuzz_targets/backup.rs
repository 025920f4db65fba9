//! A backup from somewhere. The seed is sealed to the operators below, so that
//! what lies behind the shares is reached as well.
#![no_main]

use std::io;

use hufu_backup::{Entry, Manifest, Share, Sink, identities, open_share, read_head, unseal};
use libfuzzer_sys::fuzz_target;

const OPERATORS: &str = include_str!("../../tests/fixtures/v1.identities");

struct Nowhere;

impl Sink for Nowhere {
    fn accept(&mut self, _: &Manifest) -> io::Result<()> {
        Ok(())
    }
    fn write(&mut self, _: &Entry, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn end(&mut self, _: &Entry) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|file: &[u8]| {
    let mut input = file;
    let Ok((lines, head)) = read_head(&mut input) else { return };
    let shares: Vec<Share> = OPERATORS
        .lines()
        .filter_map(|key| identities(key.as_bytes()).ok())
        .filter_map(|keys| open_share(&head, &keys).ok())
        .collect();
    let _ = unseal(input, &lines, &shares, &mut Nowhere);
});
