//! What the ledger does for ordering, and what it hears from it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use commonware_consensus::types::Round as EngineRound;
use hufu_proof::{FinalityCertificate, Height};

use crate::block::OrderedBlock;

/// A place in the protocol: a view of an epoch. In the order of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round {
    // Compared in this order.
    /// The epoch.
    pub epoch: u64,
    /// The view in the epoch.
    pub view: u64,
}

impl fmt::Display for Round {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "epoch {}, view {}", self.epoch, self.view)
    }
}

impl From<EngineRound> for Round {
    fn from(round: EngineRound) -> Self {
        Self { epoch: round.epoch().get(), view: round.view().get() }
    }
}

/// A proposal to be made.
#[derive(Clone, Debug)]
pub struct Proposal<B> {
    /// Where.
    pub round: Round,
    /// What it builds on. It may not be final yet, and may never become so.
    pub parent: Arc<B>,
    /// How long the other validators wait from now for the block before they
    /// give the view up ([`crate::Timing::leader`]). Leave them time to receive
    /// and verify it.
    pub patience: Duration,
}

/// A final block.
#[derive(Clone, Debug)]
pub struct Finalized<B> {
    /// The block.
    pub block: Arc<B>,
    /// The votes that made it final, if it was voted on directly. A block can
    /// also become final with a descendant; then the descendant's certificate
    /// and the headers between are its proof.
    pub certificate: Option<FinalityCertificate>,
}

/// Why the ledger cannot take a final block. It stops the node: a final block
/// is never refused, so this says that the ledger itself is broken.
#[derive(Debug, thiserror::Error)]
#[error("the ledger cannot execute a final block: {0}")]
pub struct ApplicationFault(pub String);

/// The kind of a contradiction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offence {
    /// Two blocks notarized in one view.
    ConflictingNotarize,
    /// Two blocks finalized in one view.
    ConflictingFinalize,
    /// One view both given up and finalized.
    NullifyAndFinalize,
}

impl fmt::Display for Offence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ConflictingNotarize => "conflicting-notarize",
            Self::ConflictingFinalize => "conflicting-finalize",
            Self::NullifyAndFinalize => "nullify-and-finalize",
        })
    }
}

/// Proof that a member signed two votes that contradict each other. Both
/// signatures have been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The member, by the name in the configuration.
    pub member: String,
    /// Its number among the validators.
    pub validator: u32,
    /// What it did.
    pub offence: Offence,
    /// Where.
    pub round: Round,
    /// Both votes in the engine's encoding.
    pub votes: Vec<u8>,
}

/// The ledger, as ordering sees it.
///
/// Every future here may be dropped at any point when its view is over; it must
/// leave nothing half-done. [`Application::finalized`] alone runs to its end
/// unless the process dies.
pub trait Application: Send + Sync + 'static {
    /// Its blocks.
    type Block: OrderedBlock;

    /// The height up to which final blocks are applied durably: 0 for a new
    /// ledger that has only the genesis block.
    ///
    /// Ordering resumes after it, whatever its own journal says.
    fn applied(&self) -> Height;

    /// Builds a block on a parent. `None` passes the turn.
    ///
    /// It may wait for transactions, which is what paces an idle chain.
    fn propose(
        &self,
        proposal: Proposal<Self::Block>,
    ) -> impl Future<Output = Option<Self::Block>> + Send;

    /// Whether a block is the last of the present epoch, on which nothing is
    /// built before the next one begins. All honest validators must say the
    /// same; while in doubt, wait.
    ///
    /// When it has become final, the node is to be started for the next epoch.
    fn is_last(&self, block: &Self::Block) -> impl Future<Output = bool> + Send;

    /// Judges another validator's block. `false` only when no waiting can make
    /// it valid, and all honest validators must then say the same; while in
    /// doubt, wait.
    ///
    /// That the parent's digest and height fit has been checked.
    fn verify(
        &self,
        round: Round,
        block: Arc<Self::Block>,
        parent: Arc<Self::Block>,
    ) -> impl Future<Output = bool> + Send;

    /// Takes a final block: in the order of heights, each at least once, never
    /// one at or below [`Application::applied`] as it was at the start.
    ///
    /// It must be durable when this returns `Ok`; it is not delivered again.
    ///
    /// # Errors
    /// [`ApplicationFault`] stops the node.
    fn finalized(
        &self,
        finalized: Finalized<Self::Block>,
    ) -> impl Future<Output = Result<(), ApplicationFault>> + Send;

    /// Hears of a member that contradicted itself. It has been logged and
    /// recorded already.
    fn evidence(&self, evidence: Evidence);
}
