//! What a snapshot is of, with all that proves it.

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::ancestry::{FinalityProof, MAX_DESCENDANTS};
use hufu_proof::block::HEADER_VERSION;
use hufu_proof::finality::FinalityError;
use hufu_proof::{
    Commitment, Digest, FinalityCertificate, Genesis, Handover, Header, Height, Membership, codec,
};
use hufu_store::Applied;

/// A height that can be taken, and the proof of what it resulted in.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// Of the snapshot's block.
    pub certificate: FinalityCertificate,
    /// From the snapshot's header to one that commits to it.
    pub headers: Vec<Header>,
    /// That the last of them is final.
    pub finality: FinalityProof,
}

/// Why an offer is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoOffer {
    /// Its headers do not belong together.
    #[error("its {0}")]
    Headers(&'static str),
    /// A proof does not hold.
    #[error(transparent)]
    Finality(#[from] FinalityError),
}

/// A height that is taken.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its header.
    pub(super) header: Header,
    pub(super) digest: Digest,
    /// What executing it resulted in.
    pub(super) commitment: Commitment,
    pub(super) certificate: FinalityCertificate,
    /// What its header and those after it commit to.
    pub(super) committed: Vec<Commitment>,
    /// How the epochs before that of the next height ended.
    pub(super) handovers: Vec<Handover>,
    founders: Membership,
}

impl Offer {
    /// Verifies it from the genesis file on.
    ///
    /// # Errors
    /// [`NoOffer`].
    pub fn verify(self, genesis: &Genesis) -> Result<Snapshot, NoOffer> {
        let Self { certificate, headers, finality } = self;
        let chain = genesis.digest();
        let broken = |what| Err(NoOffer::Headers(what));
        let ([header, ..], [.., last]) = (&headers[..], &headers[..]) else {
            return broken("headers are missing");
        };
        if headers.len() > MAX_DESCENDANTS {
            return broken("headers are too many");
        }
        if headers.iter().any(|one| one.chain != chain || one.version != HEADER_VERSION) {
            return broken("headers are not of this consortium");
        }
        let follows = |pair: &[Header]| {
            pair[1].parent == pair[0].digest() && pair[1].height.follows(pair[0].height)
        };
        if !headers.windows(2).all(follows) {
            return broken("headers do not follow from one another");
        }
        let commitment = last.executed;
        if commitment.height != header.height {
            return broken("last header does not commit to the first");
        }
        finality.verify(genesis, last)?;
        let handovers = finality.handovers;
        let snapshot = Snapshot {
            digest: header.digest(),
            committed: headers.iter().map(|header| header.executed).collect(),
            header: header.clone(),
            commitment,
            certificate,
            handovers,
            founders: Membership::founders(genesis),
        };
        if snapshot.handovers.last().is_some_and(|last| last.header.height > header.height) {
            return broken("last header is of another epoch than the height after the snapshot");
        }
        let (epoch, membership) = snapshot.epoch_of(header.height);
        snapshot.certificate.verify(&chain, epoch, membership, &snapshot.digest)?;
        Ok(snapshot)
    }
}

impl Snapshot {
    /// Its height.
    pub fn height(&self) -> Height {
        self.header.height
    }

    /// Who votes for the height after it.
    pub fn membership(&self) -> &Membership {
        self.handovers.last().map_or(&self.founders, |last| &last.membership)
    }

    /// How many members have to say the same of what is under no root: so many that one
    /// of them is honest.
    pub fn vouchers(&self) -> usize {
        self.membership().seats.len().saturating_sub(1) / 3 + 1
    }

    /// What a store has that holds it.
    pub fn applied(&self) -> Applied {
        Applied {
            height: self.height().get(),
            block: self.digest.0,
            commitment: codec::encode(&self.commitment),
        }
    }

    /// The epoch of a height up to its own, and who votes in it.
    pub(super) fn epoch_of(&self, height: Height) -> (u64, &Membership) {
        let over = self.handovers.partition_point(|one| one.header.height < height);
        let members = match over.checked_sub(1).and_then(|before| self.handovers.get(before)) {
            Some(before) => &before.membership,
            None => &self.founders,
        };
        (over as u64, members)
    }
}
