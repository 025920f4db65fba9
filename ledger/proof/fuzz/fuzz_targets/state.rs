//! A state proof from anywhere is decoded and verified without a panic, and whatever
//! convinces for the seeds' consortium says what one of the seeds says.

#![no_main]

use std::sync::LazyLock;

use hufu_proof::{Genesis, StateProof, codec};
use libfuzzer_sys::fuzz_target;

const GENESIS: &[u8] = include_bytes!("../../../../tests/vectors/machine/genesis.json");
const SEEDS: [&[u8]; 2] =
    [include_bytes!("../corpus/state/revoked"), include_bytes!("../corpus/state/absent")];

static FOUNDED: LazyLock<Genesis> =
    LazyLock::new(|| Genesis::from_json(GENESIS).expect("the vectors' genesis file"));

static PROVED: LazyLock<[StateProof; 2]> =
    LazyLock::new(|| SEEDS.map(|seed| StateProof::decode(seed).expect("a state proof")));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = StateProof::decode(bytes) {
        assert_eq!(codec::encode(&proof), bytes);
        if proof.verify(&FOUNDED).is_ok() {
            assert!(PROVED.iter().any(|one| one.key == proof.key && one.value == proof.value));
        }
    }
});
