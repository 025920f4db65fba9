//! Receipts: a transaction, what became of it, and the proof.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::ancestry::FinalityProof;
use crate::block::{HEADER_VERSION, Header};
use crate::codec::{self, DecodeError, MAX_PROOF, MAX_TRANSACTION};
use crate::finality::FinalityError;
use crate::genesis::Genesis;
use crate::identifier::Digest;
use crate::key::KeyError;
use crate::membership::Membership;
use crate::merkle;
use crate::number::{Height, LogIndex};
use crate::transaction::{Outcome, Transaction};

/// One entry of the log: what became of a transaction, and where.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct LogEntry {
    /// [`Transaction::id`].
    pub transaction: Digest,
    /// The block it is in.
    pub height: Height,
    /// Its place in the block.
    pub index: u32,
    /// What became of it.
    pub outcome: Outcome,
}

impl LogEntry {
    /// Its leaf hash in the log.
    pub fn leaf(&self) -> Digest {
        merkle::leaf_hash(&codec::encode(self))
    }
}

/// A transaction, what became of it, and the proof that validators agreed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Receipt {
    /// The transaction.
    pub transaction: Transaction,
    /// What became of it.
    pub entry: LogEntry,
    /// The entry's place in the log.
    pub log_index: LogIndex,
    /// From the entry to the log root in the header (RFC 9162 §2.1.3).
    pub log_path: Vec<Digest>,
    /// A header of a later height, whose commitment covers the entry.
    pub header: Header,
    /// Proof that the header is final.
    pub finality: FinalityProof,
}

/// Why a receipt or state proof does not convince.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The bytes are not of this form.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It belongs to another consortium.
    #[error("it is of another consortium: {found} instead of {expected}")]
    WrongChain {
        /// The genesis digest it names.
        found: Digest,
        /// The genesis digest it was checked against.
        expected: Digest,
    },
    /// The header is of a version this verifier does not know.
    #[error("the header has version {0}; this verifier knows {HEADER_VERSION}")]
    Version(u8),
    /// The finality certificate does not prove the header.
    #[error("the finality certificate does not hold: {0}")]
    Finality(#[from] FinalityError),
    /// The transaction's own signature does not verify.
    #[error("the transaction's signature does not hold: {0}")]
    Signature(#[from] KeyError),
    /// The entry speaks of another transaction.
    #[error("the log entry is of another transaction")]
    Entry,
    /// The header does not cover the entry's block.
    #[error("the header commits to height {committed}, before the entry's height {entry}")]
    NotCovered {
        /// The height the header commits to.
        committed: Height,
        /// The entry's height.
        entry: Height,
    },
    /// The inclusion path leads to another root.
    #[error("the inclusion path does not lead to the log root in the header")]
    LogPath,
    /// The state path leads to another root or value.
    #[error("the state path does not lead to the state root in the header: {0}")]
    StatePath(String),
}

impl Receipt {
    /// What a receipt's PEM block is called.
    pub const PEM_LABEL: &'static str = "HUFU RECEIPT";

    /// Decodes a receipt.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode("receipt", bytes, MAX_TRANSACTION + MAX_PROOF)
    }

    /// Verifies every link from the transaction to the genesis file.
    ///
    /// A receipt of a refused transaction verifies too: look at
    /// [`LogEntry::outcome`].
    ///
    /// # Errors
    /// [`ReceiptError`] says which link does not hold.
    pub fn verify(&self, genesis: &Genesis) -> Result<(), ReceiptError> {
        check_header(genesis, &self.header, &self.finality)?;
        if self.entry.transaction != self.transaction.id() {
            return Err(ReceiptError::Entry);
        }
        // The log holds refused transactions as well, also one whose signature
        // was wrong; every other one must carry a good signature.
        if self.entry.outcome != Outcome::Signature {
            let body = &self.transaction.body;
            body.signer.verify(&body.message(), &self.transaction.signature)?;
        }
        let executed = &self.header.executed;
        if executed.height < self.entry.height {
            return Err(ReceiptError::NotCovered {
                committed: executed.height,
                entry: self.entry.height,
            });
        }
        let root = merkle::root_from_path(
            self.log_index.get(),
            executed.log_size,
            self.entry.leaf(),
            &self.log_path,
        );
        if root == Some(executed.log_root) { Ok(()) } else { Err(ReceiptError::LogPath) }
    }
}

/// Checks that `header` is of this consortium and final; the members of the
/// epoch in which it became so.
///
/// # Errors
/// [`ReceiptError`].
pub fn check_header(
    genesis: &Genesis,
    header: &Header,
    finality: &FinalityProof,
) -> Result<Membership, ReceiptError> {
    let chain = genesis.digest();
    if header.chain != chain {
        return Err(ReceiptError::WrongChain { found: header.chain, expected: chain });
    }
    if header.version != HEADER_VERSION {
        return Err(ReceiptError::Version(header.version));
    }
    Ok(finality.verify(genesis, header)?)
}
