//! The ledger's side of ordering: proposes blocks, judges those of others,
//! executes the final ones.
//!
//! A block is valid when, besides its links:
//! - its version and consortium are ours and its time is not before its
//!   parent's (a time ahead of our clock is waited for);
//! - its transactions are within [`Limits`], for this consortium, and every
//!   signature is good;
//! - its commitment is its parent's, or of a later executed height below its
//!   own, and equal to ours at that height (which is waited for);
//! - as of that height somebody known can be charged for each of its
//!   transactions ([`hufu_machine::Reader::uncharged`]).
//!
//! A block whose commitment has a membership of a later epoch is the last of its
//! own ([`hufu_machine::epoch`]).
//!
//! Everything else about a transaction is decided when it is executed, in the
//! same way everywhere, and recorded as its outcome.

use std::sync::Arc;
use std::time::Duration;

use commonware_runtime::Clock;
use futures::future::{Either, select};
use futures::pin_mut;
use hufu_consensus::{Application, ApplicationFault, Evidence, Finalized, Proposal, Round};
use hufu_machine::{Epoch, MachineError, check_child};
use hufu_proof::block::HEADER_VERSION;
use hufu_proof::{Block, Header, Height, UnixMillis};

use crate::shared::Shared;
use crate::verified::{Verified, ids_and_sizes};

/// How blocks are made.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most transactions in a block.
    pub transactions: usize,
    /// Most bytes of transactions in a block.
    pub bytes: usize,
    /// Shortest time from one block to the next. A block costs three to four
    /// signatures of each validator's token, so throughput comes from size.
    pub interval: Duration,
    /// Longest time from one block to the next when nothing happens.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transactions: 4096,
            bytes: 1024 * 1024,
            interval: Duration::from_millis(50),
            idle: Duration::from_millis(500),
        }
    }
}

/// How long a store that is away is left alone between two attempts, each of which
/// takes as long as its configuration allows.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// [`Application`] over a [`Shared`].
pub struct Builder<E> {
    context: E,
    shared: Arc<Shared>,
    limits: Limits,
    epoch: Arc<Epoch>,
}

impl<E: Clock> Builder<E> {
    /// A builder of blocks of one epoch, with the runtime's clock.
    pub fn new(context: E, shared: Arc<Shared>, limits: Limits, epoch: Arc<Epoch>) -> Self {
        Self { context, shared, limits, epoch }
    }

    fn now_ms(&self) -> UnixMillis {
        self.context.current().into()
    }

    /// Waits for transactions, but not longer than an idle chain may.
    async fn pace(&self, parent: &Block, patience: Duration) {
        let since = self.now_ms().since(parent.header.time_ms);
        // Leave half of the others' patience for the block's way to them.
        let most = patience / 2;
        self.context.sleep(self.limits.interval.saturating_sub(since).min(most)).await;
        let idle = self.limits.idle.saturating_sub(since).min(most);
        let until = self.context.current() + idle;
        loop {
            let arrived = self.shared.arrived.notified();
            pin_mut!(arrived);
            arrived.as_mut().enable();
            // What was executed is to be committed to soon, for receipts.
            let owed = self.shared.committed().log_size > parent.header.executed.log_size;
            if owed || self.shared.waiting().0 > 0 {
                return;
            }
            let left = until.duration_since(self.context.current()).unwrap_or_default();
            // A nap of no time would not let any pass.
            if left.is_zero() {
                return;
            }
            // Short naps, because execution does not ring.
            let nap = self.context.sleep(left.min(Duration::from_millis(50)));
            pin_mut!(nap);
            match select(arrived, nap).await {
                Either::Left(_) => return,
                Either::Right(_) => {}
            }
        }
    }

    /// Does what the store must be there for, again for as long as it is only
    /// away.
    async fn patiently<T>(
        &self,
        work: impl Fn() -> Result<T, MachineError>,
    ) -> Result<T, ApplicationFault> {
        let mut waited = false;
        loop {
            match work() {
                Err(error) if error.passes() => {
                    tracing::warn!(error = %said(&error), "execution waits for the store");
                    waited = true;
                    self.context.sleep(AGAIN).await;
                }
                Err(error) => return Err(ApplicationFault(said(&error))),
                Ok(done) => {
                    if waited {
                        tracing::info!("the store is there again; execution goes on");
                    }
                    return Ok(done);
                }
            }
        }
    }

    /// What is wrong with the block for good, if anything.
    fn wrong(&self, block: &Block, parent: &Block) -> Option<&'static str> {
        let executed = &block.header.executed;
        let before = &parent.header.executed;
        if let Err(rule) = check_child(&parent.header, &parent.digest(), &block.header) {
            Some(rule)
        } else if block.transactions.len() > self.limits.transactions {
            Some("number of transactions")
        } else if block.transactions.iter().any(|one| one.body.chain != self.shared.chain()) {
            Some("a transaction's consortium")
        } else if executed.height == before.height && executed != before {
            Some("commitment")
        } else {
            None
        }
    }
}

impl<E: Clock + Send + Sync + 'static> Application for Builder<E> {
    type Block = Block;

    fn applied(&self) -> Height {
        self.shared.committed().height
    }

    async fn propose(&self, proposal: Proposal<Block>) -> Option<Block> {
        let parent = proposal.parent;
        self.pace(&parent, proposal.patience).await;
        let ancestors = self.shared.unexecuted(&parent);
        let ours = self.shared.committed();
        let executed =
            if ours.height > parent.header.executed.height { ours } else { parent.header.executed };
        let time_ms = self.now_ms().max(parent.header.time_ms);
        let limits = (self.limits.transactions, self.limits.bytes);
        let chosen = match self.shared.choose(limits, &ancestors, &executed, time_ms) {
            Ok(chosen) => chosen,
            Err(error) => {
                tracing::error!(%error, "cannot choose what to propose");
                return None;
            }
        };
        let ids = chosen.iter().map(|pending| pending.id).collect();
        let transactions: Vec<_> =
            chosen.into_iter().map(|pending| (*pending.transaction).clone()).collect();
        let block = Block {
            header: Header {
                version: HEADER_VERSION,
                chain: self.shared.chain(),
                height: parent.header.height.next(),
                parent: parent.digest(),
                time_ms,
                transactions_root: Block::transactions_root(&transactions),
                executed,
            },
            transactions,
        };
        self.shared.judged(Verified { block: Arc::new(block.clone()), ids });
        Some(block)
    }

    async fn is_last(&self, block: &Block) -> bool {
        let executed = block.header.executed.height;
        let mut applied = self.shared.applied.subscribe();
        let known = applied.wait_for(|applied| *applied >= executed).await.is_ok();
        match self.shared.reader.is_last(&block.header, &self.epoch) {
            Ok(last) if known => return last,
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "cannot read the membership"),
        }
        // Neither answer is safe; the node is stopping or broken.
        std::future::pending().await
    }

    async fn verify(&self, round: Round, block: Arc<Block>, parent: Arc<Block>) -> bool {
        let refuse = |what: &str| {
            let height = block.header.height.get();
            tracing::warn!(view = round.view, height, what, "block refused");
            false
        };
        if let Some(what) = self.wrong(&block, &parent) {
            return refuse(what);
        }
        let (ids, sizes) = ids_and_sizes(&block);
        if !self.shared.verdicts(&block, &ids).into_iter().all(|good| good) {
            return refuse("a signature");
        }
        let ahead = block.header.time_ms.since(self.now_ms());
        if !ahead.is_zero() {
            self.context.sleep(ahead).await;
        }
        let executed = block.header.executed;
        let mut applied = self.shared.applied.subscribe();
        if applied.wait_for(|applied| *applied >= executed.height).await.is_err() {
            return false;
        }
        let reader = &self.shared.reader;
        let judged = (|| {
            let ours = reader.commitment(executed.height)?;
            if ours != Some(executed) {
                tracing::error!(?ours, theirs = ?executed, "a proposer's state differs from ours");
                return Ok(Some("state"));
            }
            let uncharged = reader.uncharged(&block, &sizes)?;
            if let Some((index, outcome)) = uncharged {
                let id = ids.get(index);
                tracing::warn!(?id, %outcome, "a proposer's block has what nobody is charged for");
            }
            Ok::<_, MachineError>(uncharged.map(|_| "the signer of a transaction"))
        })();
        match judged {
            Ok(None) => {}
            Ok(Some(what)) => return refuse(what),
            Err(error) => {
                tracing::error!(%error, "cannot judge a block");
                return false;
            }
        }
        self.shared.judged(Verified { block, ids });
        true
    }

    async fn finalized(&self, finalized: Finalized<Block>) -> Result<(), ApplicationFault> {
        let height = finalized.block.header.height;
        if height > self.shared.committed().height {
            self.patiently(|| self.shared.execute(&finalized.block)).await?;
        }
        if let Some(certificate) = finalized.certificate {
            self.patiently(|| self.shared.reader.put_finality(height, &certificate)).await?;
        }
        Ok(())
    }

    fn evidence(&self, evidence: Evidence) {
        tracing::error!(
            member = evidence.member,
            offence = %evidence.offence,
            view = evidence.round.view,
            "a member contradicted itself; the evidence is kept"
        );
    }
}

/// An error with its causes.
fn said(error: &MachineError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
