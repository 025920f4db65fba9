//! Hands final blocks to the application, in the order of their heights.
//!
//! The **ledger's applied height** is the truth about the ledger. Blocks at or
//! below it are not delivered, whatever the engine's archive thinks; blocks
//! above it that the archive thinks were delivered are read from the archive and
//! delivered again.
//!
//! What is delivered also shows whether this node's data directory is an older
//! copy: the archive is ahead of the ledger, or a certificate has a vote of this
//! validator that its guard does not know ([`History`]).

use std::sync::Arc;

use commonware_actor::Feedback;
use commonware_consensus::marshal::Update;
use commonware_consensus::marshal::core::Mailbox;
use commonware_consensus::marshal::standard::Standard;
use commonware_consensus::types::Height;
use commonware_consensus::{Heightable as _, Reporter};
use commonware_cryptography::{Digested, Digestible as _};
use commonware_utils::acknowledgement::{Acknowledgement as _, Exact};
use commonware_utils::channel::mpsc;
use hufu_proof::{FinalityCertificate, Height as LedgerHeight};

use crate::application::{Application, Finalized, Round};
use crate::block::{Carried, OrderedBlock};
use crate::driver::{Body, Marshal};
use crate::guard::GuardError;
use crate::scheme::{self, VoteScheme, Voter};
use crate::status::{Board, WentBack};

/// Queues what the marshal delivers; its own limit bounds the queue.
pub(crate) struct Delivery<B: OrderedBlock> {
    pub(crate) sender: mpsc::UnboundedSender<(Digested<Carried<B>>, Exact)>,
    pub(crate) board: Arc<Board>,
}

impl<B: OrderedBlock> Clone for Delivery<B> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), board: self.board.clone() }
    }
}

impl<B: OrderedBlock> Reporter for Delivery<B> {
    type Activity = Update<Carried<B>>;

    fn report(&mut self, update: Self::Activity) -> Feedback {
        match update {
            Update::Tip(round, height, _) => {
                self.board.saw_final(round.into(), LedgerHeight(height.get()));
                Feedback::Ok
            }
            Update::Block(block, acknowledgement) => {
                match self.sender.send((block, acknowledgement)) {
                    Ok(()) => Feedback::Ok,
                    Err(_) => Feedback::Closed,
                }
            }
        }
    }
}

/// What this validator has done, as far as it knows.
pub(crate) struct History {
    pub(crate) board: Arc<Board>,
    pub(crate) voter: Arc<Voter>,
    /// This node's numbers among the validators, by epoch.
    pub(crate) own_by_epoch: Vec<Option<usize>>,
    /// The height that was applied when this node started.
    pub(crate) started: LedgerHeight,
}

impl History {
    /// Notes that `known` was here before.
    fn went_back(&self, known: LedgerHeight) {
        self.board.went_back(WentBack { started: self.started, known });
    }

    /// Looks for a vote of this validator that was made before this node
    /// started and that its guard does not know. Votes in and below that view
    /// are then refused for ever.
    fn look(
        &self,
        certificate: &FinalityCertificate,
        height: LedgerHeight,
    ) -> Result<(), GuardError> {
        let round = round_of(certificate);
        let epoch = usize::try_from(certificate.epoch).ok();
        let own = epoch.and_then(|epoch| self.own_by_epoch.get(epoch).copied().flatten());
        let voted = own.is_some_and(|own| {
            certificate.votes.iter().any(|vote| usize::from(vote.validator) == own)
        });
        let before = self.voter.first.get().is_none_or(|first| round < *first);
        if voted && round > self.voter.known && before {
            self.voter.guard.raise_floor(round)?;
            self.went_back(height);
        }
        Ok(())
    }
}

/// Where its block was voted on.
fn round_of(certificate: &FinalityCertificate) -> Round {
    Round { epoch: certificate.epoch, view: certificate.view }
}

/// Hands final blocks to the application until it fails or the node stops.
pub(crate) async fn deliver<A: Application>(
    application: Arc<A>,
    marshal: Mailbox<VoteScheme, Standard<Body<A>>>,
    history: History,
    mut deliveries: mpsc::UnboundedReceiver<(Digested<Body<A>>, Exact)>,
) {
    let mut applied = application.applied();
    let board = &history.board;
    // A machine that was restored says so by itself.
    let restored = board.waits();
    let hand_over =
        async |block| hand_over(&*application, &marshal, &history, restored, block).await;
    // What the marshal takes for delivered but the ledger has not.
    let processed = marshal.get_processed().await;
    let processed = processed.map_or(0, |processed| processed.height().get());
    let processed = LedgerHeight(processed);
    if applied < processed {
        history.went_back(processed);
    }
    while applied < processed {
        let next = applied.next();
        let Some(block) = marshal.get_block(Height::new(next.get())).await else {
            tracing::error!(
                applied = applied.get(),
                processed = processed.get(),
                "the ledger is behind the archive, and the archive lacks the next block; \
                 start from a snapshot"
            );
            return;
        };
        if !hand_over(block).await {
            return;
        }
        applied = next;
        board.applied(applied);
    }
    while let Some((block, acknowledgement)) = deliveries.recv().await {
        let height = LedgerHeight(block.height().get());
        if height > applied {
            if !height.follows(applied) {
                let (applied, height) = (applied.get(), height.get());
                tracing::error!(applied, height, "the archive skips heights that the ledger needs");
                return;
            }
            if !hand_over(block).await {
                return;
            }
            applied = height;
            board.applied(applied);
        }
        acknowledgement.acknowledge();
    }
}

async fn hand_over<A: Application>(
    application: &A,
    marshal: &Marshal<A>,
    history: &History,
    restored: bool,
    block: Digested<Body<A>>,
) -> bool {
    let certificate = marshal
        .get_finalization(block.height())
        .await
        .filter(|finalization| finalization.proposal.payload == block.digest())
        .and_then(|finalization| scheme::export(&finalization));
    let block = block.inner().block().clone();
    let height = block.height();
    let History { board, voter, .. } = history;
    if let Some(certificate) = certificate.as_ref().filter(|_| !restored)
        && let Err(error) = history.look(certificate, height)
    {
        tracing::error!(height = height.get(), %error, "the node stops");
        return false;
    }
    if board.waits()
        && let Some(certificate) = &certificate
    {
        match voter.guard.saw_final(round_of(certificate), block.time_ms()) {
            Ok(true) => board.votes_again(),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(height = height.get(), %error, "the node stops");
                return false;
            }
        }
    }
    match application.finalized(Finalized { block, certificate }).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(height = height.get(), %error, "the node stops");
            false
        }
    }
}
