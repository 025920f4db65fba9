//! That a header is final: votes for it or for a descendant (consensus
//! finalizes a block together with all its ancestors), by validators whose
//! line leads back to the founders.
//!
//! # Handovers
//!
//! In epoch 0 the validators are those of the genesis file, and the votes alone
//! are the proof. Of a later epoch the proof has one [`Handover`] for each epoch
//! before: the epoch's last header, final by the epoch's own validators, and
//! that its state has the members who vote next. So a verifier needs no more
//! than the genesis file, however often the members and their keys have changed.
//!
//! Their number is not encoded: it is the certificate's epoch. A proof of
//! epoch 0 is therefore the same bytes as before there were others.

use std::io::{Error, ErrorKind, Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::block::{HEADER_VERSION, Header};
use crate::codec;
use crate::finality::{FinalityCertificate, FinalityError};
use crate::genesis::Genesis;
use crate::identifier::Digest;
use crate::membership::{Membership, STATE_KEY};
use crate::state::check_path;

/// Most descendants in a [`FinalityProof`].
pub const MAX_DESCENDANTS: usize = 256;

/// Most handovers in a [`FinalityProof`]: the last epoch that can be proved.
pub const MAX_HANDOVERS: usize = 1024;

/// Proof that a header is final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalityProof {
    /// Headers from the proven header's child to the one voted on, each naming
    /// its predecessor as parent; empty when the votes are for the header
    /// itself.
    pub descendants: Vec<Header>,
    /// The votes.
    pub certificate: FinalityCertificate,
    /// How each epoch before the certificate's gave way to the next, from
    /// epoch 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handovers: Vec<Handover>,
}

/// How an epoch ended.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Handover {
    /// The epoch's last header.
    pub header: Header,
    /// The votes for it, by the epoch's validators.
    pub certificate: FinalityCertificate,
    /// The members who vote in the next epoch.
    pub membership: Membership,
    /// From the membership to the state root in the header: borsh of the tree
    /// library's `SparseMerkleProof`.
    #[serde(with = "crate::codec::base64_text")]
    pub path: Vec<u8>,
}

impl BorshSerialize for FinalityProof {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        BorshSerialize::serialize(&self.descendants, writer)?;
        BorshSerialize::serialize(&self.certificate, writer)?;
        let mut handovers = self.handovers.iter();
        handovers.try_for_each(|handover| BorshSerialize::serialize(handover, writer))
    }
}

impl BorshDeserialize for FinalityProof {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let descendants = Vec::deserialize_reader(reader)?;
        let certificate = FinalityCertificate::deserialize_reader(reader)?;
        let epoch = certificate.epoch;
        if epoch > MAX_HANDOVERS as u64 {
            return Err(Error::new(
                ErrorKind::InvalidData,
                format!("epoch: {epoch}, at most {MAX_HANDOVERS} are accepted"),
            ));
        }
        let handovers = (0..epoch)
            .map(|_| Handover::deserialize_reader(reader))
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { descendants, certificate, handovers })
    }
}

impl FinalityProof {
    /// Verifies that `header` is final, by validators whose line leads back to
    /// the founders; the members of the epoch in which it became so.
    ///
    /// # Errors
    /// [`FinalityError`].
    pub fn verify(&self, genesis: &Genesis, header: &Header) -> Result<Membership, FinalityError> {
        let chain = genesis.digest();
        let epoch = self.certificate.epoch;
        let found = self.handovers.len();
        if found > MAX_HANDOVERS || found as u64 != epoch {
            return Err(FinalityError::Handovers { epoch, found });
        }
        let founders = Membership::founders(genesis);
        let membership = follow(&chain, 0, founders, &self.handovers)?;
        if self.descendants.len() > MAX_DESCENDANTS {
            return Err(FinalityError::Descendants);
        }
        let mut digest = header.digest();
        let mut height = header.height;
        for next in &self.descendants {
            if next.parent != digest || !next.height.follows(height) {
                return Err(FinalityError::Descendants);
            }
            digest = next.digest();
            height = next.height;
        }
        if self.handovers.last().is_some_and(|last| height <= last.header.height) {
            return Err(FinalityError::Handover { epoch, link: "height" });
        }
        self.certificate.verify(&chain, epoch, &membership, &digest)?;
        Ok(membership)
    }

    /// The members of the epoch in which the header became final, as far as the
    /// proof holds.
    pub fn membership(&self, genesis: &Genesis) -> Membership {
        let last = self.handovers.last();
        last.map_or_else(|| Membership::founders(genesis), |last| last.membership.clone())
    }
}

/// Verifies how the epochs from `epoch` on, in which `membership` votes, gave way
/// each to the next; the members after the last of `handovers`.
///
/// # Errors
/// [`FinalityError`] names the epoch whose end does not hold.
pub fn follow(
    chain: &Digest,
    epoch: u64,
    membership: Membership,
    handovers: &[Handover],
) -> Result<Membership, FinalityError> {
    let mut membership = membership;
    let mut ended = None;
    for (epoch, handover) in (epoch..).zip(handovers) {
        if ended.is_some_and(|ended| handover.header.height <= ended) {
            return Err(FinalityError::Handover { epoch, link: "height" });
        }
        ended = Some(handover.header.height);
        membership = handover.verify(chain, epoch, &membership)?;
    }
    Ok(membership)
}

impl Handover {
    /// Verifies that this is how `epoch`, in which `membership` voted, ended;
    /// the members who vote in the next one.
    fn verify(
        &self,
        chain: &Digest,
        epoch: u64,
        membership: &Membership,
    ) -> Result<Membership, FinalityError> {
        let broken = |link| FinalityError::Handover { epoch, link };
        let header = &self.header;
        if header.chain != *chain || header.version != HEADER_VERSION {
            return Err(broken("header"));
        }
        self.certificate
            .verify(chain, epoch, membership, &header.digest())
            .map_err(|error| FinalityError::Ended { epoch, error: Box::new(error) })?;
        if self.membership.version <= membership.version {
            return Err(broken("version"));
        }
        let value = codec::encode(&self.membership);
        check_path(&header.executed.state_root, STATE_KEY, Some(&value), &self.path)
            .map_err(|_| broken("path"))?;
        Ok(self.membership.clone())
    }
}
