//! Blocks and their headers.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::identifier::Digest;
use crate::merkle;
use crate::number::{Height, UnixMillis};
use crate::transaction::Transaction;

/// The format version of headers written now.
pub const HEADER_VERSION: u8 = 1;

/// What validators agree on: a header binds everything else.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Header {
    /// [`HEADER_VERSION`].
    pub version: u8,
    /// The consortium ([`crate::Genesis::digest`]).
    pub chain: Digest,
    /// One more than the parent's.
    pub height: Height,
    /// Digest of the parent's header.
    pub parent: Digest,
    /// Block time; never before the parent's.
    pub time_ms: UnixMillis,
    /// Merkle root of the transactions ([`Block::transactions_root`]).
    pub transactions_root: Digest,
    /// What the proposer had executed. Execution does not hold up voting, so
    /// this is of an earlier height.
    pub executed: Commitment,
}

impl Header {
    /// The block's digest, which is what validators sign.
    pub fn digest(&self) -> Digest {
        codec::digest("hufu header v1", self)
    }
}

/// The result of executing every block up to a height.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Commitment {
    /// The last executed height.
    pub height: Height,
    /// Root of the authenticated state after it.
    pub state_root: Digest,
    /// Entries in the log of transactions and outcomes.
    pub log_size: u64,
    /// Root of that log (RFC 9162 §2.1.1).
    pub log_root: Digest,
}

/// A header with its transactions.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// In the order of their execution.
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// Merkle root (RFC 9162 §2.1.1) over the encoded transactions, signatures
    /// included.
    pub fn transactions_root(transactions: &[Transaction]) -> Digest {
        let leaves: Vec<Digest> =
            transactions.iter().map(|one| merkle::leaf_hash(&codec::encode(one))).collect();
        merkle::root(&leaves)
    }

    /// The first block of a consortium, which all founders make alike from the
    /// genesis file. It is never voted on.
    pub fn genesis(chain: Digest, time_ms: UnixMillis, executed: Commitment) -> Self {
        Self {
            header: Header {
                version: HEADER_VERSION,
                chain,
                height: Height::ZERO,
                parent: Digest::default(),
                time_ms,
                transactions_root: merkle::root(&[]),
                executed,
            },
            transactions: Vec::new(),
        }
    }

    /// Its digest, which is the header's.
    pub fn digest(&self) -> Digest {
        self.header.digest()
    }
}
