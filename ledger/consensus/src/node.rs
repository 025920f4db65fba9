//! A started node: its tasks as one, and what may be asked of it.

use std::future::Future;
use std::sync::Arc;

use commonware_consensus::types::Height;
use commonware_runtime::Handle;
use commonware_utils::channel::oneshot;
use hufu_proof::{FinalityCertificate, Height as LedgerHeight};

use crate::application::Application;
use crate::driver::Marshal;
use crate::environment::Environment;
use crate::error::Error;
use crate::gossip::{Gossip, GossipReceiver};
use crate::network::Peer;
use crate::scheme;
use crate::status::{Board, Status};

/// What the rest of the system may ask of the ordering layer at any time.
pub trait Ordering: Clone + Send + Sync + 'static {
    /// The blocks ordered.
    type Block;

    /// How far it is, and who takes part.
    fn status(&self) -> Status;

    /// The final block at `height`, if this node has it.
    fn block(&self, height: LedgerHeight) -> impl Future<Output = Option<Arc<Self::Block>>> + Send;

    /// The certificate of the block at `height`, if this node has it. A block
    /// that became final with a descendant may have none of its own.
    fn certificate(
        &self,
        height: LedgerHeight,
    ) -> impl Future<Output = Option<FinalityCertificate>> + Send;

    /// Lets blocks and certificates before `height` leave this node's archives, as
    /// far as they are applied: a file at a time, so that some stay for now. Who
    /// lags further behind gets them from others, or not at all.
    fn prune(&self, height: LedgerHeight);
}

/// [`Ordering`] by simplex.
pub struct Simplex<A: Application> {
    pub(crate) marshal: Marshal<A>,
    pub(crate) board: Arc<Board>,
}

impl<A: Application> Clone for Simplex<A> {
    fn clone(&self) -> Self {
        Self { marshal: self.marshal.clone(), board: self.board.clone() }
    }
}

impl<A: Application> Ordering for Simplex<A> {
    type Block = A::Block;

    fn status(&self) -> Status {
        self.board.snapshot()
    }

    async fn block(&self, height: LedgerHeight) -> Option<Arc<A::Block>> {
        let block = self.marshal.get_block(Height::new(height.get())).await?;
        Some(block.inner().block().clone())
    }

    async fn certificate(&self, height: LedgerHeight) -> Option<FinalityCertificate> {
        scheme::export(&self.marshal.get_finalization(Height::new(height.get())).await?)
    }

    fn prune(&self, height: LedgerHeight) {
        self.marshal.prune(Height::new(height.get()));
    }
}

/// A running node. Dropping it does not stop the node; [`Node::stop`] does.
pub struct Node<A: Application> {
    /// Answers questions.
    pub ordering: Simplex<A>,
    /// Sends messages to the other nodes.
    pub gossip: Gossip,
    addresses: Option<AddressBook>,
    task: Handle<()>,
}

/// Changes where peers are reached.
pub(crate) type AddressBook = Arc<dyn Fn(&[Peer]) -> Result<(), Error> + Send + Sync>;

impl<A: Application> Node<A> {
    /// Stops the node at once, as a power failure would: everything that was
    /// acknowledged is on disk, so there is nothing to wait for.
    pub fn stop(self) {
        self.task.abort();
    }

    /// Changes where peers are reached, while the node runs; there is nothing to change
    /// where the network is simulated. A connection to a peer that has moved is made
    /// anew.
    pub fn addresses(&self) -> impl Fn(&[Peer]) -> Result<(), Error> + Send + Sync + use<A> {
        let book = self.addresses.clone();
        move |peers| book.as_ref().map_or(Ok(()), |book| book(peers))
    }

    /// Waits until the node has stopped by itself, which it does only when a
    /// part of it fails or the runtime stops. The log says why.
    pub async fn stopped(self) {
        let _ = self.task.await;
    }
}

/// What runs, and how it is reached.
pub(crate) struct Running<A: Application> {
    pub(crate) handles: Vec<Handle<()>>,
    pub(crate) ordering: Simplex<A>,
    pub(crate) gossip: Gossip,
    pub(crate) gossip_receiver: GossipReceiver,
    pub(crate) addresses: Option<AddressBook>,
}

/// Runs what `build` starts under one task, so that it lives and dies as one.
pub(crate) async fn supervise<E, A, F, Fut>(
    context: E,
    build: F,
) -> Result<(Node<A>, GossipReceiver), Error>
where
    E: Environment,
    A: Application,
    F: FnOnce(E) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Running<A>, Error>> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let task = context.spawn(move |context| async move {
        let running = match build(context).await {
            Ok(running) => running,
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        };
        let Running { handles, ordering, gossip, gossip_receiver, addresses } = running;
        let _ = sender.send(Ok((ordering, gossip, gossip_receiver, addresses)));
        let (result, part, _) = futures::future::select_all(handles).await;
        match result {
            Ok(()) => tracing::warn!(part, "a part of the ordering layer ended; the node stops"),
            Err(error) => {
                tracing::error!(part, %error, "a part of the ordering layer failed; the node stops");
            }
        }
    });
    let (ordering, gossip, receiver, addresses) = receiver.await.map_err(|_| Error::Stopped)??;
    Ok((Node { ordering, gossip, addresses, task }, receiver))
}
