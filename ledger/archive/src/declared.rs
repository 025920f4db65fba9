//! The receipt by which a partition shows that its member declared it.

use hufu_proof::declaration::Declaration;
use hufu_proof::{Digest, Genesis, Payload, Receipt, codec};
use pem_rfc7468::LineEnding;

use crate::error::ArchiveError;
use crate::manifest::Manifest;
use crate::verify::Declared;

/// The file with the receipt.
pub const DECLARATION: &str = "declaration.pem";

/// What the receipt in `bytes` says of the manifest with this digest.
pub(crate) fn check(
    bytes: &[u8],
    manifest: &Manifest,
    digest: &Digest,
    genesis: &Genesis,
) -> Result<Declared, ArchiveError> {
    let refused =
        |problem: &str| ArchiveError::Declaration { problem: problem.to_owned(), source: None };
    let (label, encoded) =
        pem_rfc7468::decode_vec(bytes).map_err(|_| refused("the PEM is cut off or altered"))?;
    if label != Receipt::PEM_LABEL {
        return Err(refused("it is no receipt"));
    }
    let receipt = Receipt::decode(&encoded)
        .map_err(|error| refused(&format!("it does not decode: {error}")))?;
    let written =
        pem_rfc7468::encode_string(Receipt::PEM_LABEL, LineEnding::LF, &codec::encode(&receipt));
    if !written.is_ok_and(|written| written.as_bytes() == bytes) {
        return Err(refused("it is not exactly as the node wrote it"));
    }
    receipt.verify(genesis).map_err(|source| ArchiveError::Declaration {
        problem: "the receipt does not verify".to_owned(),
        source: Some(source),
    })?;
    let expected =
        Declaration::Archive { first: manifest.first, last: manifest.last, manifest: *digest };
    if receipt.transaction.body.payload != Payload::Declare(expected) {
        return Err(refused("it declares another partition than this one"));
    }
    if !receipt.entry.outcome.is_accepted() {
        return Err(refused("the ledger refused the declaration"));
    }
    let members = receipt.finality.membership(genesis);
    let seat = members.seat(&manifest.member);
    if seat.is_none_or(|seat| seat.statement_key != receipt.transaction.body.signer) {
        return Err(refused("another one than the manifest's member signed it"));
    }
    Ok(Declared { height: receipt.entry.height, transaction: receipt.entry.transaction })
}
