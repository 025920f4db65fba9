//! A network in memory for tests under the deterministic runtime: it delays,
//! loses and cuts messages as told. commonware's own is not among its stable
//! parts.
//!
//! Messages on one link stay in order, as on TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use commonware_actor::{Feedback, Unreliable};
use commonware_p2p::{
    BlockedSubscription, Blocker, CheckedSender, LimitedSender, Message, PeerSetSubscription,
    PeerSetUpdate, Provider, Receiver, Recipients, TrackedPeers,
};
use commonware_runtime::{IoBuf, IoBufs};
use commonware_utils::channel::{mpsc, ring};
use commonware_utils::ordered::Set;

use crate::engine::Links;
use crate::environment::Environment;
use crate::keys::PublicKey;
use crate::testing::Random;

/// How one direction between two nodes behaves.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Shortest delay.
    pub latency: Duration,
    /// At most this much more.
    pub jitter: Duration,
    /// Messages lost, in thousandths.
    pub loss: u32,
    /// Whether nothing passes.
    pub cut: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(5),
            jitter: Duration::from_millis(5),
            loss: 0,
            cut: false,
        }
    }
}

type Inbox = mpsc::UnboundedSender<Message<PublicKey>>;
/// One direction of one channel between two nodes: sender, receiver, channel.
type Wire = (PublicKey, PublicKey, u8);
type Wired = mpsc::UnboundedSender<(SystemTime, IoBuf)>;
/// Starts the task that carries a wire's messages.
type Lay = Arc<dyn Fn(Arc<Mutex<State>>, Wire) -> Wired + Send + Sync>;

struct State {
    random: Random,
    peers: Set<PublicKey>,
    default: Link,
    links: BTreeMap<(PublicKey, PublicKey), Link>,
    inboxes: BTreeMap<(PublicKey, u8), Vec<Inbox>>,
    /// Keeps subscriptions open: a closed one means shutdown.
    subscribers: Vec<mpsc::UnboundedSender<PeerSetUpdate<PublicKey>>>,
    wires: BTreeMap<Wire, Wired>,
    blocked: BTreeSet<(PublicKey, PublicKey)>,
}

/// The network. Clones are the same network.
#[derive(Clone)]
pub struct Simulation {
    state: Arc<Mutex<State>>,
    lay: Lay,
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Simulation")
    }
}

impl Simulation {
    /// A network of `peers`, all links as `default`, random by `seed`.
    pub fn new<E: Environment>(
        context: E,
        seed: u64,
        peers: impl IntoIterator<Item = PublicKey>,
        default: Link,
    ) -> Self {
        let context = Arc::new(context);
        let clock = context.clone();
        let lay: Lay = Arc::new(move |state, (from, to, channel)| {
            let (sender, mut receiver) = mpsc::unbounded_channel::<(SystemTime, IoBuf)>();
            context.child("wire").spawn(move |context| async move {
                // One after the other, so that they stay in order.
                while let Some((at, message)) = receiver.recv().await {
                    context.sleep_until(at).await;
                    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    // A node that is down hears nothing.
                    for inbox in state.inboxes.get(&(to.clone(), channel)).into_iter().flatten() {
                        let _ = inbox.send((from.clone(), message.clone()));
                    }
                }
            });
            sender
        });
        Self {
            state: Arc::new(Mutex::new(State {
                random: Random::new(seed),
                peers: Set::from_iter_dedup(peers),
                default,
                links: BTreeMap::new(),
                inboxes: BTreeMap::new(),
                subscribers: Vec::new(),
                wires: BTreeMap::new(),
                blocked: BTreeSet::new(),
            })),
            lay,
            now: Arc::new(move || clock.current()),
        }
    }

    /// Changes the link from one node to another.
    pub fn set_link(&self, from: &PublicKey, to: &PublicKey, link: Link) {
        self.lock().links.insert((from.clone(), to.clone()), link);
    }

    /// Makes all links as `default` again and forgets who blocks whom.
    pub fn heal(&self, default: Link) {
        let mut state = self.lock();
        state.default = default;
        state.links.clear();
        state.blocked.clear();
    }

    /// Lets nothing pass between `nodes` and the others, in either direction.
    pub fn isolate(&self, nodes: &[PublicKey]) {
        let mut state = self.lock();
        let cut = Link { cut: true, ..state.default };
        let peers: Vec<PublicKey> = state.peers.iter().cloned().collect();
        for (one, other) in peers.iter().flat_map(|one| peers.iter().map(move |other| (one, other)))
        {
            if nodes.contains(one) != nodes.contains(other) {
                state.links.insert((one.clone(), other.clone()), cut);
            }
        }
    }

    /// A fresh connection for `node`; an older one of the same node goes deaf.
    pub fn links(
        &self,
        node: &PublicKey,
    ) -> Links<SimulatedSender, SimulatedReceiver, Peers, Peers> {
        self.lock().inboxes.retain(|(owner, _), _| owner != node);
        self.twin_links(node)
    }

    /// A second connection beside the first: whatever is sent to the node
    /// reaches both. This is how a member runs its validator twice.
    pub fn twin_links(
        &self,
        node: &PublicKey,
    ) -> Links<SimulatedSender, SimulatedReceiver, Peers, Peers> {
        let peers = Peers { network: self.clone(), node: node.clone() };
        Links {
            votes: self.register(node, 0),
            certificates: self.register(node, 1),
            certificate_fetch: self.register(node, 2),
            block_fetch: self.register(node, 3),
            blocks: self.register(node, 4),
            gossip: self.register(node, 5),
            blocker: peers.clone(),
            peers,
        }
    }

    fn register(&self, node: &PublicKey, channel: u8) -> (SimulatedSender, SimulatedReceiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().inboxes.entry((node.clone(), channel)).or_default().push(sender);
        let sending = SimulatedSender { network: self.clone(), node: node.clone(), channel };
        (sending, SimulatedReceiver(receiver))
    }

    fn send(&self, from: &PublicKey, to: &PublicKey, channel: u8, message: IoBuf) {
        let now = (self.now)();
        let mut state = self.lock();
        let link = *state.links.get(&(from.clone(), to.clone())).unwrap_or(&state.default);
        let lost = state.random.below(1000) < u64::from(link.loss);
        let jitter = state.random.below(link.jitter.as_micros() as u64 + 1);
        let blocked = state.blocked.contains(&(to.clone(), from.clone()))
            || state.blocked.contains(&(from.clone(), to.clone()));
        if link.cut || lost || blocked {
            return;
        }
        let at = now + link.latency + Duration::from_micros(jitter);
        let wire = (from.clone(), to.clone(), channel);
        let wired = match state.wires.get(&wire) {
            Some(wired) => wired.clone(),
            None => {
                let wired = (self.lay)(self.state.clone(), wire.clone());
                state.wires.insert(wire, wired.clone());
                wired
            }
        };
        let _ = wired.send((at, message));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends on one channel of one node.
#[derive(Clone, Debug)]
pub struct SimulatedSender {
    network: Simulation,
    node: PublicKey,
    channel: u8,
}

/// A message about to be sent.
pub struct Checked<'a> {
    sender: &'a SimulatedSender,
    recipients: Vec<PublicKey>,
}

impl LimitedSender for SimulatedSender {
    type PublicKey = PublicKey;
    type Checked<'a> = Checked<'a>;

    fn check(&mut self, recipients: Recipients<PublicKey>) -> Result<Checked<'_>, SystemTime> {
        let mut recipients = match recipients {
            Recipients::All => self.network.lock().peers.iter().cloned().collect(),
            Recipients::Some(recipients) => recipients,
            Recipients::One(recipient) => vec![recipient],
        };
        recipients.retain(|recipient| *recipient != self.node);
        Ok(Checked { sender: self, recipients })
    }
}

impl CheckedSender for Checked<'_> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        self.recipients.clone()
    }

    fn send(self, message: impl Into<IoBufs> + Send, _: bool) -> Unreliable<Feedback> {
        let message = message.into().coalesce();
        for recipient in &self.recipients {
            let SimulatedSender { network, node, channel } = self.sender;
            network.send(node, recipient, *channel, message.clone());
        }
        Unreliable::new(Feedback::Ok)
    }
}

/// Receives on one channel of one node.
#[derive(Debug)]
pub struct SimulatedReceiver(mpsc::UnboundedReceiver<Message<PublicKey>>);

impl Receiver for SimulatedReceiver {
    type Error = Infallible;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, Infallible> {
        match self.0.recv().await {
            Some(message) => Ok(message),
            // Replaced by a younger connection of the same node.
            None => std::future::pending().await,
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        commonware_utils::NZUsize!(4096)
    }
}

/// What one node knows of the others.
#[derive(Clone, Debug)]
pub struct Peers {
    network: Simulation,
    node: PublicKey,
}

impl Blocker for Peers {
    type PublicKey = PublicKey;

    fn block(&mut self, peer: PublicKey) -> Feedback {
        self.network.lock().blocked.insert((self.node.clone(), peer));
        Feedback::Ok
    }

    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        let (_, receiver) = ring::channel(NonZeroUsize::MIN);
        receiver
    }
}

impl Provider for Peers {
    type PublicKey = PublicKey;

    async fn peer_set(&mut self, _: u64) -> Option<TrackedPeers<PublicKey>> {
        Some(TrackedPeers::primary(self.network.lock().peers.clone()))
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<PublicKey> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.network.lock();
        let peers = TrackedPeers::primary(state.peers.clone());
        let _ = sender.send(PeerSetUpdate { index: 0, latest: peers.clone(), all: peers });
        state.subscribers.push(sender);
        receiver
    }
}
