//! Between the engine and the application: fetches parents, asks for blocks,
//! stores them before they are voted final, and delivers them in order.
//!
//! What the engine may rely on:
//! - A block is offered to the application only with its parent, whose digest
//!   and height fit.
//! - This node votes to finalize a block only once the block is on its own
//!   disk ([`CertifiableAutomaton::certify`] waits for the sync), so a quorum
//!   of finalize votes is a quorum of copies.
//! - Nothing is built on the last block of an epoch: until it is final, every
//!   leader proposes it again, and verifies as its own child.
//! - A notarized block was verified by the application of at least one honest
//!   validator (f + 1 of the quorum), so certifying it needs the block but not
//!   another verification.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use commonware_actor::Feedback;
use commonware_consensus::marshal::core::{CommitmentFallback, DigestFallback, Mailbox};
use commonware_consensus::marshal::standard::Standard;
use commonware_consensus::simplex::Plan;
use commonware_consensus::simplex::types::{Activity, Context};
use commonware_consensus::types::Round as EngineRound;
use commonware_consensus::{
    Automaton, Block as _, CertifiableAutomaton, Epochable as _, Heightable as _, Relay, Reporter,
    Viewable as _,
};
use commonware_cryptography::{Digested, Digestible as _, sha256};
use commonware_macros::select;
use commonware_p2p::Recipients;
use commonware_runtime::{Clock, Error as RuntimeError, Handle, Metrics, Spawner};
use commonware_utils::channel::oneshot;

use crate::application::{Application, Proposal};
use crate::block::Carried;
use crate::evidence::Witness;
use crate::keys::PublicKey;
use crate::scheme::VoteScheme;

pub(crate) type Body<A> = Carried<<A as Application>::Block>;
pub(crate) type Marshal<A> = Mailbox<VoteScheme, Standard<Body<A>>>;
type Shared<A> = Digested<Body<A>>;
type Key = (EngineRound, sha256::Digest);

/// A block of ours that the engine has not yet asked to send.
struct Staged<A: Application> {
    block: Shared<A>,
    stored: oneshot::Sender<Handle<()>>,
}

struct State<A: Application> {
    /// Resolves when the block is durable; taken by certification. A sender
    /// that is dropped means: fetch it and store it then.
    durable: BTreeMap<Key, oneshot::Receiver<()>>,
    staged: BTreeMap<Key, Staged<A>>,
}

pub(crate) struct Driver<E, A: Application> {
    context: Arc<E>,
    application: Arc<A>,
    marshal: Marshal<A>,
    state: Arc<Mutex<State<A>>>,
    witness: Arc<Witness<A>>,
    patience: Duration,
    max_block: usize,
}

impl<E, A: Application> Clone for Driver<E, A> {
    fn clone(&self) -> Self {
        Self {
            context: self.context.clone(),
            application: self.application.clone(),
            marshal: self.marshal.clone(),
            state: self.state.clone(),
            witness: self.witness.clone(),
            patience: self.patience,
            max_block: self.max_block,
        }
    }
}

impl<E: Clock + Spawner + Metrics, A: Application> Driver<E, A> {
    pub(crate) fn new(
        context: E,
        application: Arc<A>,
        marshal: Marshal<A>,
        witness: Witness<A>,
        patience: Duration,
        max_block: usize,
    ) -> Self {
        Self {
            context: Arc::new(context),
            application,
            marshal,
            state: Arc::new(Mutex::new(State {
                durable: BTreeMap::new(),
                staged: BTreeMap::new(),
            })),
            witness: Arc::new(witness),
            patience,
            max_block,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<A>> {
        // Every change under the lock is a single map operation.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parent_of(
        &self,
        context: &Context<sha256::Digest, PublicKey>,
    ) -> oneshot::Receiver<Shared<A>> {
        let (view, digest) = context.parent;
        let round = EngineRound::new(context.round.epoch(), view);
        self.marshal.subscribe_by_commitment(digest, CommitmentFallback::FetchByRound { round })
    }

    /// Builds a block, or takes the last one of the epoch again; `None` when
    /// there is nothing to propose.
    async fn build(&self, context: &Context<sha256::Digest, PublicKey>) -> Option<Shared<A>> {
        let parent = self.parent_of(context).await.ok()?;
        if self.application.is_last(parent.inner().block()).await {
            // The others vote for it at once; views need not race.
            self.context.sleep(self.patience / 20).await;
            return Some(parent);
        }
        let proposal = Proposal {
            round: context.round.into(),
            parent: parent.inner().block().clone(),
            patience: self.patience,
        };
        let block = self.application.propose(proposal).await?;
        let block = Carried::new(block);
        if block.size() > self.max_block
            || block.parent() != parent.digest()
            || block.height() != parent.height().next()
        {
            tracing::error!(
                height = %block.height(),
                size = block.size(),
                "the ledger built a block that does not fit its parent or the size limit"
            );
            return None;
        }
        let digest = block.digest();
        Some(Digested::precomputed(block, digest))
    }
}

/// Waits until a block is on disk. `false` when the node is stopping.
async fn durable(stored: Handle<()>) -> bool {
    match stored.await {
        Ok(()) => true,
        Err(RuntimeError::Closed | RuntimeError::Aborted) => false,
        // What the disk holds is unknown now; the node must not go on.
        Err(error) => panic!("a block cannot be stored: {error}"),
    }
}

impl<E: Clock + Spawner + Metrics, A: Application> Automaton for Driver<E, A> {
    type Context = Context<sha256::Digest, PublicKey>;
    type Digest = sha256::Digest;

    #[allow(clippy::async_yields_async)]
    async fn propose(&mut self, context: Self::Context) -> oneshot::Receiver<sha256::Digest> {
        let (mut sender, receiver) = oneshot::channel();
        let driver = self.clone();
        self.context.child("propose").spawn(move |_| async move {
            let built = select! {
                _ = sender.closed() => return,
                built = driver.build(&context) => built,
            };
            let Some(block) = built else { return };
            let key = (context.round, block.digest());
            let (durable_sender, durable_receiver) = oneshot::channel();
            let (stored_sender, stored_receiver) = oneshot::channel();
            {
                let mut state = driver.state();
                state.durable.insert(key, durable_receiver);
                state.staged.insert(key, Staged { block, stored: stored_sender });
            }
            let _ = sender.send(key.1);
            if let Ok(stored) = stored_receiver.await
                && durable(stored).await
            {
                let _ = durable_sender.send(());
            }
        });
        receiver
    }

    #[allow(clippy::async_yields_async)]
    async fn verify(
        &mut self,
        context: Self::Context,
        digest: sha256::Digest,
    ) -> oneshot::Receiver<bool> {
        let (mut sender, receiver) = oneshot::channel();
        let (durable_sender, durable_receiver) = oneshot::channel();
        // The wait must stand before certification can look for it.
        let block = self.marshal.subscribe_by_digest(digest, DigestFallback::Wait);
        let driver = self.clone();
        driver.state().durable.insert((context.round, digest), durable_receiver);
        self.context.child("verify").spawn(move |_| async move {
            let parent = driver.parent_of(&context);
            let block = select! {
                _ = sender.closed() => return,
                block = block => match block {
                    Ok(block) => block,
                    Err(_) => return,
                },
            };
            // Stored while it is judged: a copy says nothing of its validity,
            // and the vote need not wait for the disk. Storing goes on when
            // the view is over, because certification may still come.
            let store = async {
                if driver.marshal.verified(context.round, block.clone()).await {
                    let _ = durable_sender.send(());
                }
            };
            let judge = async {
                let verdict = select! {
                    _ = sender.closed() => None,
                    verdict = async {
                        if digest == context.parent.1 {
                            // It was judged in the view that first had it.
                            return Some(driver.application.is_last(block.inner().block()).await);
                        }
                        let parent = parent.await.ok()?;
                        if block.parent() != parent.digest()
                            || block.height() != parent.height().next()
                        {
                            return Some(false);
                        }
                        let (block, parent) = (block.inner(), parent.inner());
                        if driver.application.is_last(parent.block()).await {
                            return Some(false);
                        }
                        Some(driver
                            .application
                            .verify(
                                context.round.into(),
                                block.block().clone(),
                                parent.block().clone(),
                            )
                            .await)
                    } => verdict,
                };
                if let Some(verdict) = verdict {
                    let _ = sender.send(verdict);
                }
            };
            futures::join!(store, judge);
        });
        receiver
    }
}

impl<E: Clock + Spawner + Metrics, A: Application> CertifiableAutomaton for Driver<E, A> {
    #[allow(clippy::async_yields_async)]
    async fn certify(
        &mut self,
        round: EngineRound,
        digest: sha256::Digest,
    ) -> oneshot::Receiver<bool> {
        let (mut sender, receiver) = oneshot::channel();
        let (pending, staged) = {
            let mut state = self.state();
            (state.durable.remove(&(round, digest)), state.staged.remove(&(round, digest)))
        };
        if let Some(Staged { block, stored }) = staged {
            self.marshal.verified_deferred(round, block, stored);
        }
        if pending.is_some() {
            // The proposer may have sent it to others only; they have it now.
            self.marshal.hint_notarized(round, digest);
        }
        let driver = self.clone();
        self.context.child("certify").spawn(move |_| async move {
            if let Some(pending) = pending {
                let stored = select! {
                    _ = sender.closed() => return,
                    stored = pending => stored,
                };
                if stored.is_ok() {
                    let _ = sender.send(true);
                    return;
                }
            }
            // Not seen before, as after a restart: get it, and store it.
            let block =
                driver.marshal.subscribe_by_digest(digest, DigestFallback::FetchByRound { round });
            let block = select! {
                _ = sender.closed() => return,
                block = block => match block {
                    Ok(block) => block,
                    Err(_) => return,
                },
            };
            if driver.marshal.certified(round, block).await {
                let _ = sender.send(true);
            }
        });
        receiver
    }
}

impl<E: Send + Sync + 'static, A: Application> Relay for Driver<E, A> {
    type Digest = sha256::Digest;
    type PublicKey = PublicKey;
    type Plan = Plan<PublicKey>;

    fn broadcast(&mut self, digest: sha256::Digest, plan: Plan<PublicKey>) -> Feedback {
        match plan {
            // Sent when it is voted for, not before.
            Plan::Prepare { .. } => Feedback::Ok,
            Plan::Propose { round } => {
                let staged = self
                    .state
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .staged
                    .remove(&(round, digest));
                match staged {
                    Some(Staged { block, stored }) => {
                        self.marshal.proposed(round, block, Recipients::All, stored)
                    }
                    None => Feedback::Ok,
                }
            }
            Plan::Forward { round, recipients } => self.marshal.forward(round, digest, recipients),
        }
    }
}

impl<E: Send + Sync + 'static, A: Application> Reporter for Driver<E, A> {
    type Activity = Activity<VoteScheme, sha256::Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        if let Activity::Finalization(finalization) = &activity {
            let decided = EngineRound::new(finalization.epoch(), finalization.view());
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.durable.retain(|(round, _), _| *round > decided);
            state.staged.retain(|(round, _), _| *round > decided);
        }
        self.witness.observe(&activity);
        self.marshal.report(activity)
    }
}
