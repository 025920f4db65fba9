//! Puts the parts of the engine together and keeps them running.
//!
//! On a start the parts may disagree about how far they had come, because each
//! has its own files and the process can die between two syncs. The rules:
//! - The ledger's applied height is the truth about the ledger
//!   ([`crate::delivery`]).
//! - The **latest stored finalization** is where voting resumes if the voter's
//!   journal is older or gone, and the guard's floor is raised to it. At the
//!   beginning of an epoch there is none; voting begins on the last block of
//!   the epoch before.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use commonware_broadcast::buffered;
use commonware_consensus::marshal::core::Actor as MarshalActor;
use commonware_consensus::marshal::resolver::p2p as fetching;
use commonware_consensus::marshal::{self, Start};
use commonware_consensus::simplex;
use commonware_consensus::simplex::config::{Floor, ForwardPolicy, SkipBudget, SkipPolicy};
use commonware_consensus::simplex::elector::RoundRobin;
use commonware_consensus::simplex::types::Finalization;
use commonware_consensus::types::{Epoch, Height, ViewDelta};
use commonware_consensus::{Epochable as _, Viewable as _};
use commonware_cryptography::{Digested, Digestible as _, Sha256, sha256};
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_utils::channel::mpsc;
use commonware_utils::ordered::{Quorum as _, Set};
use commonware_utils::{NZUsize, NonZeroDuration};
use hufu_proof::Signer;

use crate::application::Application;
use crate::archives::{self, Archives, BUFFER, SECTION};
use crate::block::Carried;
use crate::config::Config;
use crate::delivery::{Delivery, History, deliver};
use crate::driver::{Body, Driver, Marshal};
use crate::environment::Environment;
use crate::epochs::{Epochs, Schemes, only};
use crate::error::Error;
use crate::evidence::Witness;
use crate::gossip::{self, GossipReceiver};
use crate::guard::Guard;
use crate::keys::{Identity, PublicKey};
use crate::listening::Listening;
use crate::node::{Node, Running, Simplex, supervise};
use crate::scheme::{self, VoteScheme, Voter};
use crate::status::{Beginning, Board};

/// Messages that wait inside one actor before its overflow policy applies.
const MAILBOX: NonZeroUsize = NZUsize!(1024);
/// Blocks handed to the ledger that it has not yet taken.
const UNACKNOWLEDGED: NonZeroUsize = NZUsize!(16);
/// Missing heights fetched at a time.
const REPAIR: NonZeroUsize = NZUsize!(16);
/// Views behind the latest finalized one that are kept for late votes.
const RETAINED_VIEWS: ViewDelta = ViewDelta::new(64);
/// Wait before something that no peer had is asked for again.
const FETCH_AGAIN: Duration = Duration::from_millis(100);

/// The node's connections to the other validators.
pub struct Links<S, R, B, P> {
    /// Single votes.
    pub votes: (S, R),
    /// Certificates as they are made.
    pub certificates: (S, R),
    /// Certificates that were missed.
    pub certificate_fetch: (S, R),
    /// Blocks that were missed.
    pub block_fetch: (S, R),
    /// Blocks as they are proposed.
    pub blocks: (S, R),
    /// Everything else.
    pub gossip: (S, R),
    /// Cuts off a peer that breaks the protocol.
    pub blocker: B,
    /// Knows the peers.
    pub peers: P,
}

/// Starts a node over `links`.
///
/// `genesis` is the block at height 0, the same on every node. The signer holds
/// the vote key; when it is not among the validators, the node follows without
/// a vote.
///
/// # Errors
/// [`Error`] when the configuration, the guard or the storage does not allow
/// it.
pub async fn start<E, A, S, R, B, P>(
    context: E,
    config: Config,
    signer: Arc<dyn Signer>,
    application: Arc<A>,
    genesis: A::Block,
    links: Links<S, R, B, P>,
) -> Result<(Node<A>, GossipReceiver), Error>
where
    E: Environment,
    A: Application,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey> + Sync,
    P: Provider<PublicKey = PublicKey> + Sync,
{
    supervise(context, move |context| async move {
        let identity = Identity::new(signer)?;
        run(&context, config, identity, application, genesis, links).await
    })
    .await
}

type Certified = Finalization<VoteScheme, sha256::Digest>;

/// Who votes, and where this node stands among them.
struct Seats {
    epoch: Epoch,
    namespace: Vec<u8>,
    /// The validators, in the order of votes, and their names.
    validators: Set<PublicKey>,
    names: Vec<String>,
    /// The validators of the epochs that are over.
    past: Vec<Set<PublicKey>>,
    me: PublicKey,
}

impl Seats {
    fn of(config: &Config, identity: &Identity) -> Result<Self, Error> {
        let (validators, names) = config.check()?;
        Ok(Self {
            epoch: Epoch::new(config.epoch()),
            namespace: config.namespace(),
            validators,
            names,
            past: config.past_validators()?,
            me: identity.public_key().clone(),
        })
    }

    /// This node's number among the validators of the present epoch.
    fn own(&self) -> Option<usize> {
        self.validators.index(&self.me).map(usize::from)
    }

    /// This node's numbers by epoch, up to the present one.
    fn own_by_epoch(&self) -> Vec<Option<usize>> {
        let past = self.past.iter().map(|validators| validators.index(&self.me).map(usize::from));
        past.chain([self.own()]).collect()
    }

    /// The name of the journal of votes. It has this key's own votes, and
    /// another key's would not be understood. A founder's first one has the name
    /// that it had before keys changed.
    fn journal(&self, config: &Config) -> String {
        let (partition, epoch) = (&config.partition, self.epoch);
        if epoch.is_zero() && self.own().is_some() {
            return format!("{partition}-votes-0");
        }
        let key = crate::hexadecimal(&crate::sha256(self.me.as_bytes()));
        format!("{partition}-votes-{epoch}-{}", &key[..16])
    }

    /// The certificate that the configuration says to start from.
    fn configured(&self, config: &Config) -> Result<Option<Certified>, Error> {
        let Some(floor) = &config.floor else { return Ok(None) };
        let voted = usize::try_from(floor.epoch).ok().and_then(|epoch| self.past.get(epoch));
        let voted = voted.unwrap_or(&self.validators);
        let imported = scheme::import(floor, voted.len()).ok_or_else(|| Error::Config {
            field: "floor",
            problem: "the certificate names validators that do not exist".to_owned(),
        })?;
        Ok(Some(imported))
    }
}

/// What the parts of the engine are made with.
struct Ground<E, A: Application> {
    context: E,
    config: Config,
    seats: Seats,
    pages: CacheRef,
    fetch_timeout: NonZeroDuration,
    voter: Arc<Voter>,
    board: Arc<Board>,
    application: Arc<A>,
}

pub(crate) async fn run<E, A, S, R, B, P>(
    context: &E,
    config: Config,
    identity: Identity,
    application: Arc<A>,
    genesis: A::Block,
    links: Links<S, R, B, P>,
) -> Result<Running<A>, Error>
where
    E: Environment,
    A: Application,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey> + Sync,
    P: Provider<PublicKey = PublicKey> + Sync,
{
    let fetch_timeout = NonZeroDuration::new(config.timing.fetch)
        .ok_or(Error::Config { field: "timing.fetch", problem: "may not be zero".to_owned() })?;
    let seats = Seats::of(&config, &identity)?;
    let guard = Guard::open(&config.directory, &seats.me, &seats.namespace)?;
    let pages = archives::pages();
    let archives = Archives::<E, A>::open(context, &config, &pages).await?;
    let configured = seats.configured(&config)?;
    let floor = archives
        .latest()
        .await?
        .into_iter()
        .chain(configured.clone())
        .filter(|finalization| finalization.epoch() == seats.epoch)
        .max_by_key(|finalization| finalization.view());
    if let Some(floor) = &floor {
        guard.raise_floor(floor.proposal.round.into())?;
    }
    let board = Arc::new(Board::new(Beginning {
        epoch: seats.epoch,
        applied_height: application.applied(),
        names: &seats.names,
        own: seats.own(),
        started: context.current(),
        restored_ms: guard.restored_ms(),
    }));
    if let Some(floor) = &floor {
        // What it tells others, who may ask before anything more is final.
        board.saw_final(floor.proposal.round.into(), hufu_proof::Height(0));
    }
    let listening = Listening::new(seats.validators.len());
    let voter = Arc::new(Voter::new(identity, guard, listening, board.clone()));
    let ground = Ground {
        context: context.child("parts"),
        config,
        seats,
        pages,
        fetch_timeout,
        voter,
        board,
        application,
    };
    ground.start(archives, (configured, floor), genesis, links).await
}

impl<E: Environment, A: Application> Ground<E, A> {
    /// Starts the parts and joins them.
    async fn start<S, R, B, P>(
        self,
        archives: Archives<E, A>,
        (configured, floor): (Option<Certified>, Option<Certified>),
        genesis: A::Block,
        links: Links<S, R, B, P>,
    ) -> Result<Running<A>, Error>
    where
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
        B: Blocker<PublicKey = PublicKey> + Sync,
        P: Provider<PublicKey = PublicKey> + Sync,
    {
        let context = &self.context;
        let genesis = Carried::new(genesis);
        let genesis_digest = genesis.digest();
        // What the first block of the epoch builds on.
        let begin = match self.config.past.last() {
            Some(before) => sha256::Digest(before.block.0),
            None => genesis_digest,
        };
        let start = match configured {
            Some(floor) => Start::Floor(floor),
            None => Start::Genesis(Digested::precomputed(genesis, genesis_digest)),
        };
        let Archives { certificates, blocks } = archives;
        let (marshal, mailbox, _): (_, Marshal<A>, _) = MarshalActor::init(
            context.child("marshal"),
            certificates,
            blocks,
            self.marshal_config(start),
        )
        .await;
        let driver = Driver::new(
            context.child("driver"),
            self.application.clone(),
            mailbox.clone(),
            self.witness(),
            self.config.timing.leader,
            self.config.max_block,
        );
        let fetcher = self.fetching_config(links.peers.clone(), links.blocker.clone());
        let fetcher = fetching::init(context.child("fetcher"), fetcher, links.block_fetch);
        let (buffer, buffer_mailbox) = buffered::Engine::<_, _, Body<A>, _, _>::new(
            context.child("buffer"),
            self.buffer_config(links.peers),
        );
        let floor = floor.map_or(Floor::Genesis(begin), Floor::Finalized);
        let engine = self.simplex_config(driver, links.blocker, floor);
        let engine = simplex::Engine::new(context.child("simplex"), engine);

        let (gossip, gossip_receiver, gossip_handles) =
            gossip::start(context, self.gossip_ground(mailbox.clone()), links.gossip);
        let epoch = self.seats.epoch;
        let (votes, votes_mux) = only(context.child("votes"), epoch, links.votes).await?;
        let (certificates, certificates_mux) =
            only(context.child("vote_certificates"), epoch, links.certificates).await?;
        let (certificate_fetch, fetch_mux) =
            only(context.child("certificate_fetch"), epoch, links.certificate_fetch).await?;
        let (delivery_sender, deliveries) = mpsc::unbounded_channel();
        let delivery = Delivery { sender: delivery_sender, board: self.board.clone() };
        let mut handles = vec![
            buffer.start(links.blocks),
            marshal.start(delivery, buffer_mailbox, fetcher),
            context.child("delivery").spawn({
                let (application, mailbox) = (self.application.clone(), mailbox.clone());
                let history = self.history();
                move |_| async move { deliver(application, mailbox, history, deliveries).await }
            }),
            engine.start(votes, certificates, certificate_fetch),
            votes_mux,
            certificates_mux,
            fetch_mux,
        ];
        handles.extend(gossip_handles);
        let ordering = Simplex { marshal: mailbox, board: self.board };
        Ok(Running { handles, ordering, gossip, gossip_receiver, addresses: None })
    }

    /// A scheme that verifies the votes of the present epoch.
    fn verifier(&self) -> VoteScheme {
        VoteScheme::verifier(&self.seats.namespace, self.seats.validators.clone())
    }

    /// A scheme that also votes, if this node is a validator.
    fn scheme(&self) -> VoteScheme {
        self.verifier().with_voter(self.voter.clone())
    }

    fn epochs(&self) -> Epochs {
        Epochs::new(self.config.past.iter().map(|epoch| Height::new(epoch.last.get())))
    }

    fn history(&self) -> History {
        History {
            board: self.board.clone(),
            voter: self.voter.clone(),
            own_by_epoch: self.seats.own_by_epoch(),
            started: self.application.applied(),
        }
    }

    fn witness(&self) -> Witness<A> {
        Witness::new(
            self.verifier(),
            self.seats.names.clone(),
            self.config.directory.join("evidence.jsonl"),
            self.application.clone(),
            self.board.clone(),
        )
    }

    fn gossip_ground(&self, marshal: Marshal<A>) -> gossip::Ground<A> {
        gossip::Ground {
            validators: self.seats.validators.clone(),
            epochs: self.epochs(),
            limit: self.config.max_gossip,
            board: self.board.clone(),
            voter: self.seats.own().map(|_| self.voter.clone()),
            marshal,
            clock_ahead_ms: self.config.clock_ahead_ms(),
        }
    }

    fn marshal_config(
        &self,
        start: Start<VoteScheme, sha256::Digest, Digested<Body<A>>>,
    ) -> marshal::Config<Schemes, Epochs, Sequential, Body<A>, Digested<Body<A>>> {
        let past = self.seats.past.iter().cloned();
        let past = past.map(|validators| VoteScheme::verifier(&self.seats.namespace, validators));
        marshal::Config {
            provider: Schemes::new(past, self.scheme()),
            epocher: self.epochs(),
            start,
            partition_prefix: format!("{}-marshal", self.config.partition),
            mailbox_size: MAILBOX,
            view_retention: RETAINED_VIEWS,
            prunable_items_per_section: SECTION,
            page_cache: self.pages.clone(),
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: self.config.max_block,
            max_repair: REPAIR,
            max_pending_acks: UNACKNOWLEDGED,
            strategy: Sequential,
        }
    }

    fn fetching_config<B, P>(
        &self,
        peer_provider: P,
        blocker: B,
    ) -> fetching::Config<PublicKey, P, B>
    where
        B: Blocker<PublicKey = PublicKey>,
        P: Provider<PublicKey = PublicKey>,
    {
        fetching::Config {
            public_key: self.seats.me.clone(),
            peer_provider,
            blocker,
            mailbox_size: MAILBOX,
            fetch_timeout: self.fetch_timeout,
            fetch_retry_delay: FETCH_AGAIN,
            priority_requests: false,
            priority_responses: false,
        }
    }

    fn buffer_config<P>(
        &self,
        peer_provider: P,
    ) -> buffered::Config<PublicKey, usize, P, Sequential>
    where
        P: Provider<PublicKey = PublicKey>,
    {
        buffered::Config {
            public_key: self.seats.me.clone(),
            mailbox_size: MAILBOX,
            // Blocks of each proposer kept until they are final or forgotten.
            deque_size: 8,
            priority: true,
            codec_config: self.config.max_block,
            peer_provider,
            strategy: Sequential,
        }
    }

    #[allow(clippy::type_complexity)] // One driver plays three parts.
    fn simplex_config<B>(
        &self,
        driver: Driver<E, A>,
        blocker: B,
        floor: Floor<VoteScheme, sha256::Digest>,
    ) -> simplex::Config<
        VoteScheme,
        RoundRobin<Sha256>,
        B,
        sha256::Digest,
        Driver<E, A>,
        Driver<E, A>,
        Driver<E, A>,
        Sequential,
    >
    where
        B: Blocker<PublicKey = PublicKey>,
    {
        let timing = &self.config.timing;
        simplex::Config {
            scheme: self.scheme(),
            elector: RoundRobin::default(),
            blocker,
            automaton: driver.clone(),
            relay: driver.clone(),
            reporter: driver,
            // Kept, so that a contradiction that comes late is evidence too.
            track_historical_votes: true,
            strategy: Sequential,
            partition: self.seats.journal(&self.config),
            mailbox_size: MAILBOX,
            epoch: self.seats.epoch,
            floor,
            replay_buffer: BUFFER,
            write_buffer: BUFFER,
            page_cache: self.pages.clone(),
            leader_timeout: timing.leader,
            certification_timeout: timing.notarization,
            timeout_retry: timing.retry,
            view_retention: RETAINED_VIEWS,
            skip: SkipPolicy::Enabled { timeout: timing.skip, budget: SkipBudget::Participants },
            fetch_timeout: self.fetch_timeout,
            fetch_retry_delay: FETCH_AGAIN,
            forward: ForwardPolicy::SilentVoters,
        }
    }
}
