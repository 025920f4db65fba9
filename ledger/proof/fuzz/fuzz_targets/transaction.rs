//! Whatever decodes as a transaction or block is canonical: it encodes to the
//! same bytes. A signature over anything may be checked.

#![no_main]

use hufu_proof::codec::{self, MAX_BLOCK, MAX_TRANSACTION};
use hufu_proof::{Block, Transaction};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(transaction) = codec::decode::<Transaction>("transaction", bytes, MAX_TRANSACTION) {
        assert_eq!(codec::encode(&transaction), bytes);
        let body = &transaction.body;
        let _ = body.signer.verify(&body.message(), &transaction.signature);
    }
    if let Ok(block) = codec::decode::<Block>("block", bytes, MAX_BLOCK) {
        assert_eq!(codec::encode(&block), bytes);
    }
});
