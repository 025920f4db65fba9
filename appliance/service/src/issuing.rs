//! The issuing certificates: that of the genesis file and those that came after
//! it, each for the same key and name, made before the last came to its end.
//!
//! A new one is signed by the root's key, declared on the ledger by the
//! authority, and then used. Every node reads it there and checks it under the
//! root of the genesis file, so that a client may go on leaving it out.

use hufu_issuance::Certificate;
use hufu_machine::MachineError;
use hufu_node::Ledger;
use hufu_proof::genesis;

/// All of them that are under the root, the newest last. What was declared and
/// is not under it, or is of another key, counts for nothing.
///
/// # Errors
/// The state cannot be read.
pub fn all(ledger: &Ledger, founded: &genesis::Authority) -> anyhow::Result<Vec<Certificate>> {
    let root = Certificate::from_der(&founded.root_certificate)?;
    let first = Certificate::from_der(&founded.issuing_certificate)?;
    let declared = declared(ledger)?;
    let more = declared.iter().filter_map(|der| {
        let next = Certificate::from_der(der).ok()?;
        let same = next.public_key() == first.public_key();
        (same && root.check_signed(&next).is_ok()).then_some(next)
    });
    let more: Vec<Certificate> = more.collect();
    Ok([vec![first], more].concat())
}

fn declared(ledger: &Ledger) -> Result<Vec<Vec<u8>>, MachineError> {
    ledger.reader().state()?.issuing()
}
