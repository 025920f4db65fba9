//! Receipts for verifiers that are not ours: COSE Receipts (RFC 9942) with an
//! inclusion proof of `RFC9162_SHA256`, signed by a member.
//!
//! The leaf is the log entry as it is encoded: the verifier must have it, since the
//! receipt does not. It proves less than a [`Receipt`]: that one member says so, and
//! not that a quorum agreed.
//!
//! What is signed begins with a CBOR array (RFC 9052 §4.4), and whatever else a
//! statement key signs begins with the letters of a label or an origin: neither is
//! ever taken for the other.
//!
//! Everything is CBOR in its deterministic encoding (RFC 8949 §4.2.1); there is
//! nothing here that reads any.

use crate::genesis::Genesis;
use crate::identifier::Name;
use crate::key::{Algorithm, Signer, SignerFault};
use crate::note;
use crate::receipt::Receipt;

/// COSE_Sign1 (RFC 9052 §2).
const SIGN1: u64 = 18;
/// Header parameters (RFC 9052 §3.1): algorithm and key identifier.
const ALG: u64 = 1;
const KID: u64 = 4;
/// CWT claims (RFC 9597), of which issuer and subject (RFC 8392 §3.1).
const CLAIMS: u64 = 15;
const ISSUER: u64 = 1;
const SUBJECT: u64 = 2;
/// Verifiable data structure and its proofs (RFC 9942 §4).
const STRUCTURE: u64 = 395;
const PROOFS: u64 = 396;
/// The structure of RFC 9162 §2.1 with SHA-256 (RFC 9942 §5.1).
const RFC9162_SHA256: u64 = 1;

/// Major types of CBOR (RFC 8949 §3.1).
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
/// Nothing.
const NULL: u8 = 0xf6;

/// The receipt as `member`, whose statement key is `signer`'s, signs it. Its issuer
/// is `ORIGIN/MEMBER` as in checkpoints ([`note::origin`]), its subject the
/// transaction's identifier, its key identifier the identity of the key.
///
/// # Errors
/// [`SignerFault`].
pub fn receipt(
    receipt: &Receipt,
    genesis: &Genesis,
    member: &Name,
    signer: &dyn Signer,
) -> Result<Vec<u8>, SignerFault> {
    let key = signer.public_key();
    let protected = Cbor::default()
        .head(MAP, 4)
        .unsigned(ALG)
        .head(NEGATIVE, algorithm(key.algorithm()))
        .unsigned(KID)
        .bytes(key.identity().0.as_bytes())
        .unsigned(CLAIMS)
        .head(MAP, 2)
        .unsigned(ISSUER)
        .text(&format!("{}/{member}", note::origin(genesis)))
        .unsigned(SUBJECT)
        .text(&receipt.entry.transaction.to_string())
        .unsigned(STRUCTURE)
        .unsigned(RFC9162_SHA256)
        .0;
    let executed = &receipt.header.executed;
    let signed = Cbor::default()
        .head(ARRAY, 4)
        .text("Signature1")
        .bytes(&protected)
        .bytes(&[])
        .bytes(executed.log_root.as_bytes())
        .0;
    let signature = signer.sign(&signed)?;
    let path = &receipt.log_path;
    let inclusion = Cbor::default()
        .head(ARRAY, 3)
        .unsigned(executed.log_size)
        .unsigned(receipt.log_index.get())
        .head(ARRAY, path.len() as u64);
    let inclusion = path.iter().fold(inclusion, |proof, hash| proof.bytes(hash.as_bytes())).0;
    let mut whole = Cbor::default()
        .head(TAG, SIGN1)
        .head(ARRAY, 4)
        .bytes(&protected)
        .head(MAP, 1)
        .unsigned(PROOFS)
        .head(MAP, 1)
        // Label -1: proofs of inclusion.
        .head(NEGATIVE, 0)
        .head(ARRAY, 1)
        .bytes(&inclusion);
    // The root is not in it (RFC 9942 §5.2.1): it follows from leaf and path.
    whole.0.push(NULL);
    Ok(whole.bytes(signature.as_bytes()).0)
}

/// -1 minus the algorithm's code: EdDSA -8, ES256 -7, ES384 -35 (RFC 9053 §2).
fn algorithm(algorithm: Algorithm) -> u64 {
    match algorithm {
        Algorithm::Ed25519 => 7,
        Algorithm::EcdsaP256 => 6,
        Algorithm::EcdsaP384 => 34,
    }
}

/// What was written so far.
#[derive(Default)]
struct Cbor(Vec<u8>);

impl Cbor {
    /// A major type and its argument, in as few bytes as it takes.
    fn head(mut self, major: u8, argument: u64) -> Self {
        let bytes = argument.to_be_bytes();
        let (info, rest) = match argument {
            0..=23 => (bytes[7], &[][..]),
            24..=0xff => (24, &bytes[7..]),
            0x100..=0xffff => (25, &bytes[6..]),
            0x1_0000..=0xffff_ffff => (26, &bytes[4..]),
            _ => (27, &bytes[..]),
        };
        self.0.push(major << 5 | info);
        self.0.extend_from_slice(rest);
        self
    }

    fn unsigned(self, number: u64) -> Self {
        self.head(UNSIGNED, number)
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let mut next = self.head(BYTES, bytes.len() as u64);
        next.0.extend_from_slice(bytes);
        next
    }

    fn text(self, text: &str) -> Self {
        let mut next = self.head(TEXT, text.len() as u64);
        next.0.extend_from_slice(text.as_bytes());
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8949, Appendix A.
    #[test]
    fn heads_are_those_of_the_standard() {
        for (major, argument, hex) in [
            (UNSIGNED, 0, "00"),
            (UNSIGNED, 23, "17"),
            (UNSIGNED, 24, "1818"),
            (UNSIGNED, 100, "1864"),
            (UNSIGNED, 1000, "1903e8"),
            (UNSIGNED, 1_000_000, "1a000f4240"),
            (UNSIGNED, 1_000_000_000_000, "1b000000e8d4a51000"),
            (UNSIGNED, u64::MAX, "1bffffffffffffffff"),
            (NEGATIVE, 0, "20"),
            (NEGATIVE, 99, "3863"),
            (TAG, SIGN1, "d2"),
        ] {
            assert_eq!(hex::encode(Cbor::default().head(major, argument).0), hex);
        }
        assert_eq!(hex::encode(Cbor::default().text("IETF").0), "6449455446");
        assert_eq!(hex::encode(Cbor::default().bytes(&[1, 2, 3, 4]).0), "4401020304");
    }
}
