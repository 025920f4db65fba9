//! Proofs about the authenticated state: what a key held, or that it held
//! nothing, as of a height.

use borsh::{BorshDeserialize, BorshSerialize};
use jmt::proof::SparseMerkleProof;
use jmt::{KeyHash, RootHash};

use crate::ancestry::FinalityProof;
use crate::block::Header;
use crate::codec::{self, DecodeError, MAX_PROOF};
use crate::genesis::Genesis;
use crate::identifier::Digest;
use crate::number::Height;
use crate::receipt::{ReceiptError, check_header};

/// The hash function of the state tree, as the tree library wants it.
type StateHasher = jmt_sha256::Sha256;

/// The place of `key` in the state tree: SHA-256 of it.
pub fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash(Digest::of(key).0)
}

/// That `key` held `value` (or nothing) after the height a header commits to.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateProof {
    /// The state key, as the state machine writes it.
    pub key: Vec<u8>,
    /// What it held; `None` proves that it held nothing.
    pub value: Option<Vec<u8>>,
    /// The tree's proof: borsh of the library's `SparseMerkleProof`.
    pub path: Vec<u8>,
    /// A header whose commitment has the root.
    pub header: Header,
    /// Proof that the header is final.
    pub finality: FinalityProof,
}

impl StateProof {
    /// What a state proof's PEM block is called.
    pub const PEM_LABEL: &'static str = "HUFU STATE PROOF";

    /// The height as of which it proves.
    pub fn as_of(&self) -> Height {
        self.header.executed.height
    }

    /// Verifies the proof against the genesis file.
    ///
    /// # Errors
    /// [`ReceiptError`] says which link does not hold.
    pub fn verify(&self, genesis: &Genesis) -> Result<(), ReceiptError> {
        check_header(genesis, &self.header, &self.finality)?;
        check_path(&self.header.executed.state_root, &self.key, self.value.as_deref(), &self.path)
    }

    /// Decodes at most [`MAX_PROOF`] bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode("state proof", bytes, MAX_PROOF)
    }
}

/// Checks a tree path for `key` and `value` against `root`.
///
/// # Errors
/// [`ReceiptError`] when the path is malformed or leads elsewhere.
pub fn check_path(
    root: &Digest,
    key: &[u8],
    value: Option<&[u8]>,
    path: &[u8],
) -> Result<(), ReceiptError> {
    let proof: SparseMerkleProof<StateHasher> = codec::decode("state path", path, MAX_PROOF)?;
    let root = RootHash(root.0);
    let verdict = match value {
        Some(value) => proof.verify_existence(root, key_hash(key), value),
        None => proof.verify_nonexistence(root, key_hash(key)),
    };
    verdict.map_err(|error| ReceiptError::StatePath(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_too_large_is_not_decoded() {
        let error = StateProof::decode(&vec![0; MAX_PROOF + 1]).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { what: "state proof", .. }), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_proof(
            bytes in prop::collection::vec(any::<u8>(), 0..300), key: Vec<u8>, value: Vec<u8>,
        ) {
            prop_assert!(StateProof::decode(&bytes).is_err());
            let root = Digest([7; 32]);
            for value in [None, Some(&value[..])] {
                prop_assert!(check_path(&root, &key, value, &bytes).is_err());
            }
        }
    }
}
