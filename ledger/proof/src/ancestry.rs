//! That a header is final, also where the votes are for a descendant:
//! consensus finalizes a block together with all its ancestors.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::block::Header;
use crate::finality::{FinalityCertificate, FinalityError};
use crate::genesis::Genesis;

/// Most descendants in a [`FinalityProof`].
pub const MAX_DESCENDANTS: usize = 256;

/// Proof that a header is final.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct FinalityProof {
    /// Headers from the proven header's child to the one voted on, each naming
    /// its predecessor as parent; empty when the votes are for the header
    /// itself.
    pub descendants: Vec<Header>,
    /// The votes.
    pub certificate: FinalityCertificate,
}

impl FinalityProof {
    /// Verifies that `header` is final among the genesis file's validators.
    ///
    /// # Errors
    /// [`FinalityError`].
    pub fn verify(&self, genesis: &Genesis, header: &Header) -> Result<(), FinalityError> {
        if self.descendants.len() > MAX_DESCENDANTS {
            return Err(FinalityError::Descendants);
        }
        let mut digest = header.digest();
        let mut height = header.height;
        for next in &self.descendants {
            if next.parent != digest || Some(next.height) != height.checked_add(1) {
                return Err(FinalityError::Descendants);
            }
            digest = next.digest();
            height = next.height;
        }
        self.certificate.verify(genesis, &digest)
    }
}
