//! The issuing certificates: that of the genesis file and those that came after
//! it, each for the same key and name, made before the last came to its end.
//!
//! A new one is signed by the root's key, declared on the ledger by the
//! authority, and then used. Every node reads it there and checks it under the
//! root of the genesis file, so that a client may go on leaving it out.

use std::sync::Arc;

use anyhow::Context as _;
use hufu_issuance::Certificate;
use hufu_machine::MachineError;
use hufu_node::Ledger;
use hufu_proof::genesis;
use hufu_proof::transaction::Payload;
use hufu_proof::{Declaration, Serial};
use rustls::pki_types::CertificateDer;

use crate::node::Node;

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

/// Lets this node's doors know them, and its authority go on with the newest.
///
/// # Errors
/// The state cannot be read, or the newest is not the authority's.
pub fn follow(node: &Node) -> anyhow::Result<()> {
    let all = all(&node.ledger, &node.genesis.authority)?;
    for one in &all {
        node.chains.also_under(CertificateDer::from(one.der().to_vec()));
    }
    if let (Some(authority), Some(newest)) = (node.authority.get(), all.last()) {
        authority.go_on_with(newest)?;
    }
    Ok(())
}

/// Makes the next issuing certificate, declares it and goes on with it: its
/// serial number. `None` where the token does not hold the root's key.
///
/// # Errors
/// This node runs no authority, its issuing certificate is revoked, the token
/// does not sign, or the ledger refuses.
pub async fn renew(node: &Arc<Node>) -> anyhow::Result<Option<Serial>> {
    let authority = node.authority()?;
    let Some(next) = authority.next_issuing(&node.config).await? else { return Ok(None) };
    let certificate = next.der().to_vec();
    let payload = Payload::Declare(Declaration::IssuingCertificate { certificate });
    node.submitter.submit_any(payload).await?;
    follow(node)?;
    tracing::info!(serial = %next.serial(), until = %next.not_after(), "issuing certificate renewed");
    Ok(Some(Serial::new(next.serial().as_bytes()).context("its serial number")?))
}
