//! A receipt from anywhere is decoded and verified without a panic, and whatever
//! convinces for the seed's consortium says what the seed says.

#![no_main]

use std::sync::LazyLock;

use hufu_proof::{Genesis, Receipt, codec};
use libfuzzer_sys::fuzz_target;

const GENESIS: &[u8] = include_bytes!("../corpus/genesis/founded.json");
const SEED: &[u8] = include_bytes!("../corpus/receipt/reading");

static FOUNDED: LazyLock<Genesis> =
    LazyLock::new(|| Genesis::from_json(GENESIS).expect("the seed is a genesis file"));

static PROVED: LazyLock<Receipt> =
    LazyLock::new(|| Receipt::decode(SEED).expect("the seed is a receipt"));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(receipt) = Receipt::decode(bytes) {
        assert_eq!(codec::encode(&receipt), bytes);
        if receipt.verify(&FOUNDED).is_ok() {
            assert_eq!(receipt.entry, PROVED.entry);
        }
    }
});
