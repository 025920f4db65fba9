//! Hands final blocks to the application, in the order of their heights.
//!
//! The **ledger's applied height** is the truth about the ledger. Blocks at or
//! below it are not delivered, whatever the engine's archive thinks; blocks
//! above it that the archive thinks were delivered are read from the archive and
//! delivered again.

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

use crate::application::{Application, Finalized};
use crate::block::{Carried, OrderedBlock};
use crate::driver::{Body, Marshal};
use crate::guard::Guard;
use crate::scheme::{self, VoteScheme, Voter};
use crate::status::Board;

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
                let (epoch, view) = (round.epoch().get(), round.view().get());
                self.board.saw_final(epoch, view, height.get());
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

/// Hands final blocks to the application until it fails or the node stops.
pub(crate) async fn deliver<A: Application>(
    application: Arc<A>,
    marshal: Mailbox<VoteScheme, Standard<Body<A>>>,
    board: Arc<Board>,
    voter: Arc<Voter>,
    mut deliveries: mpsc::UnboundedReceiver<(Digested<Body<A>>, Exact)>,
) {
    let mut applied = application.applied();
    let hand_over =
        async |block| hand_over(&*application, &marshal, &board, &voter.guard, block).await;
    // What the marshal takes for delivered but the ledger has not.
    let processed = marshal.get_processed().await.map_or(0, |processed| processed.height().get());
    while applied < processed {
        let height = Height::new(applied + 1);
        let Some(block) = marshal.get_block(height).await else {
            tracing::error!(
                applied,
                processed,
                "the ledger is behind the archive, and the archive lacks the next block; \
                 start from a snapshot"
            );
            return;
        };
        if !hand_over(block).await {
            return;
        }
        applied += 1;
        board.applied(applied);
    }
    while let Some((block, acknowledgement)) = deliveries.recv().await {
        let height = block.height().get();
        if height > applied {
            if height != applied + 1 {
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
    board: &Board,
    guard: &Guard,
    block: Digested<Body<A>>,
) -> bool {
    let certificate = marshal
        .get_finalization(block.height())
        .await
        .filter(|finalization| finalization.proposal.payload == block.digest())
        .and_then(|finalization| scheme::export(&finalization));
    let block = block.inner().block().clone();
    let height = block.height();
    let restored = board.snapshot().restored_ms.is_some();
    if restored && let Some(certificate) = &certificate {
        match guard.saw_final(certificate.epoch, certificate.view, block.time_ms()) {
            Ok(true) => board.votes_again(),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(height, %error, "the node stops");
                return false;
            }
        }
    }
    match application.finalized(Finalized { block, certificate }).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(height, %error, "the node stops");
            false
        }
    }
}
