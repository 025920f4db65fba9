//! How the last block of a partition became final.

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::receipt::check_header;
use hufu_proof::{FinalityProof, Genesis, Header, codec};

use crate::error::ArchiveError;
use crate::limits::{MAX_AFTER, MAX_PROOF};
use crate::manifest::{Manifest, PROOF};

/// How the last block of a partition became final, and what everything up to it
/// resulted in.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proof {
    /// The headers after the last block, up to the first one that commits to what
    /// everything up to that block resulted in: at least one.
    pub after: Vec<Header>,
    /// That the last of them is final.
    pub finality: FinalityProof,
}

impl Proof {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let proof: Self = codec::decode("proof", bytes, MAX_PROOF)
            .map_err(|error| ArchiveError::file(PROOF, error.to_string()))?;
        if proof.after.is_empty() || proof.after.len() > MAX_AFTER {
            let count = proof.after.len();
            let problem = format!("{count} headers; 1 to {MAX_AFTER} are accepted");
            return Err(ArchiveError::file(PROOF, problem));
        }
        Ok(proof)
    }

    /// The header that commits to the last block; [`Self::decode`] saw to it that
    /// there is one.
    pub(crate) fn anchor(&self) -> Result<&Header, ArchiveError> {
        self.after.last().ok_or_else(|| ArchiveError::file(PROOF, "it has no header"))
    }

    /// That the headers follow the last block, that a quorum made them final, and that
    /// they commit to what the manifest says.
    pub(crate) fn check(&self, manifest: &Manifest, genesis: &Genesis) -> Result<(), ArchiveError> {
        let refused = |problem: &str| ArchiveError::file(PROOF, problem);
        let (mut parent, mut height) = (manifest.block, manifest.last);
        for header in &self.after {
            if header.parent != parent || !header.height.follows(height) {
                return Err(refused("its headers do not follow the last block in manifest.json"));
            }
            (parent, height) = (header.digest(), header.height);
        }
        let anchor = self.anchor()?;
        check_header(genesis, anchor, &self.finality).map_err(ArchiveError::Proof)?;
        let executed = &anchor.executed;
        let same = executed.height == manifest.last
            && executed.state_root == manifest.state_root
            && executed.log_root == manifest.log_root
            && executed.log_size == manifest.log_end;
        if !same {
            return Err(refused(
                "the final header commits to another height, state or log than manifest.json says",
            ));
        }
        Ok(())
    }
}
