//! Why the machine stops. A transaction never stops it: what is wrong with a
//! transaction is its [`hufu_proof::Outcome`].

use hufu_proof::codec::DecodeError;
use hufu_proof::{Commitment, Digest, Height};
use hufu_store::StoreError;

/// Why a block was not executed or something was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// What the store holds does not decode or does not fit together.
    #[error(
        "the store's {what} is damaged; restore it from a backup or let it catch up from the \
         other members in an empty directory"
    )]
    Damaged {
        /// What.
        what: String,
        /// Why it does not decode.
        #[source]
        source: Option<DecodeError>,
    },
    /// Nothing was executed in the store yet, and this process only reads it.
    #[error("nothing was executed in this store yet; start the member's validator on it first")]
    Empty,
    /// A block was given to who only reads. The caller's mistake.
    #[error("this process follows another one and executes nothing")]
    Follows,
    /// The store belongs to another consortium.
    #[error(
        "the store was made for a consortium whose genesis block is {found}, and the genesis file \
         makes {expected}; use the genesis file and the store of one consortium"
    )]
    OtherConsortium {
        /// The genesis block in the store.
        found: Digest,
        /// The genesis block of the genesis file.
        expected: Digest,
    },
    /// The block is not the one that comes next. The caller's mistake.
    #[error("block {height} was given, but {expected} comes next")]
    NotNext {
        /// The block's height.
        height: Height,
        /// The height that comes next.
        expected: Height,
    },
    /// The state of a height was asked for that is not executed yet. The caller's
    /// mistake.
    #[error("height {height} is not executed yet; the last one is {executed}")]
    NotExecuted {
        /// The height.
        height: Height,
        /// The last executed one.
        executed: Height,
    },
    /// What was asked for has left this member's store. The member's choice.
    #[error(
        "height {height} is not kept here any more; this member keeps what is from height \
         {kept_from} on: ask its archive, or a member that keeps more"
    )]
    Pruned {
        /// The height.
        height: Height,
        /// The earliest height that is kept.
        kept_from: Height,
    },
    /// A finalized block breaks a rule that validators check before they vote:
    /// more than a third of them are faulty, or this software differs.
    #[error("block {height} breaks a rule that validators check: {rule}")]
    Invalid {
        /// The block's height.
        height: Height,
        /// Which rule.
        rule: &'static str,
    },
    /// A finalized header commits to another result than this machine's.
    #[error(
        "this member's state differs from what a quorum finalized for height {}: state root {} \
         here, {} there; stop, keep the store for inquiry, and let the node catch up in an empty \
         directory", expected.height, expected.state_root, found.state_root
    )]
    Diverged {
        /// What this machine got.
        expected: Box<Commitment>,
        /// What the header says.
        found: Box<Commitment>,
    },
    /// Signature verdicts and transactions differ in number. The caller's
    /// mistake.
    #[error("{verdicts} signature verdicts for {transactions} transactions")]
    Verdicts {
        /// Verdicts given.
        verdicts: usize,
        /// Transactions in the block.
        transactions: usize,
    },
    /// The finality certificate is of another block. The caller's mistake.
    #[error("the finality certificate is of block {found}, and block {height} is {expected}")]
    OtherBlock {
        /// The height it was given for.
        height: Height,
        /// The block it names.
        found: Digest,
        /// The block of that height.
        expected: Digest,
    },
    /// The genesis file is inconsistent.
    #[error("the genesis file is refused")]
    Genesis(#[from] hufu_proof::genesis::GenesisError),
    /// An earlier block failed half-way; what is in memory may be ahead of the
    /// store.
    #[error("an earlier block failed; open the machine again")]
    Poisoned,
}

impl MachineError {
    /// Whether the store is only away, so that the same is to be asked again
    /// later.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Store(error) if error.passes())
    }

    /// Something in the store that does not fit together.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), source: None }
    }

    /// Something in the store that does not decode.
    pub(crate) fn undecodable(what: impl Into<String>, source: DecodeError) -> Self {
        Self::Damaged { what: what.into(), source: Some(source) }
    }
}
