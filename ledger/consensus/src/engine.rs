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

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commonware_broadcast::buffered;
use commonware_consensus::marshal::core::Actor as MarshalActor;
use commonware_consensus::marshal::resolver::p2p as fetching;
use commonware_consensus::marshal::{self, Start};
use commonware_consensus::simplex;
use commonware_consensus::simplex::config::{Floor, ForwardPolicy, SkipBudget, SkipPolicy};
use commonware_consensus::simplex::elector::RoundRobin;
use commonware_consensus::simplex::types::Finalization;
use commonware_consensus::types::{Epoch, ViewDelta};
use commonware_consensus::{Epochable as _, Viewable as _};
use commonware_cryptography::certificate::Verifier as _;
use commonware_cryptography::{Digested, Digestible as _, Sha256, sha256};
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use commonware_storage::archive::{Archive as _, Identifier, prunable};
use commonware_storage::translator::EightCap;
use commonware_utils::channel::mpsc;
use commonware_utils::{NZU16, NZU64, NZUsize, NonZeroDuration};
use hufu_proof::Signer;
use rand_core::CryptoRng;

use crate::application::Application;
use crate::block::Carried;
use crate::config::Config;
use crate::delivery::{Delivery, deliver};
use crate::driver::{Body, Driver, Marshal};
use crate::epochs::{Epochs, Schemes, only};
use crate::error::Error;
use crate::evidence::Witness;
use crate::gossip::{self, GossipReceiver};
use crate::guard::Guard;
use crate::keys::{Identity, PublicKey};
use crate::node::{Node, Running, Simplex, supervise};
use crate::scheme::{self, VoteScheme, Voter};
use crate::status::Board;

/// Messages that wait inside one actor before its overflow policy applies.
const MAILBOX: NonZeroUsize = NZUsize!(1024);
/// Blocks handed to the ledger that it has not yet taken.
const UNACKNOWLEDGED: NonZeroUsize = NZUsize!(16);
/// Missing heights fetched at a time.
const REPAIR: NonZeroUsize = NZUsize!(16);
/// Views behind the latest finalized one that are kept for late votes.
const RETAINED_VIEWS: ViewDelta = ViewDelta::new(64);
/// Heights in one file of an archive.
const ARCHIVE_SECTION: std::num::NonZeroU64 = NZU64!(4096);
const BUFFER: NonZeroUsize = NZUsize!(1024 * 1024);
/// A page of the cache and its checksum fill a page of the disk.
const PAGE: std::num::NonZeroU16 = NZU16!(4084);
const PAGES: NonZeroUsize = NZUsize!(2048);
/// Wait before something that no peer had is asked for again.
const FETCH_AGAIN: Duration = Duration::from_millis(100);

/// What a node runs in: commonware's tokio runtime in the product, its
/// deterministic runtime in tests.
pub trait Environment:
    Spawner + Metrics + Clock + Storage + CryptoRng + Send + Sync + 'static
{
}

impl<E> Environment for E where
    E: Spawner + Metrics + Clock + Storage + CryptoRng + Send + Sync + 'static
{
}

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

type Certificates<E> =
    prunable::Archive<EightCap, E, sha256::Digest, Finalization<VoteScheme, sha256::Digest>>;

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
    let (validators, names) = config.check()?;
    let past = config.past_validators()?;
    let epoch = config.epoch();
    let namespace = config.namespace();
    let me = identity.public_key().clone();
    let guard = Guard::open(&config.directory, &me, &namespace)?;
    // It has this key's own votes, and another key's would not be understood. A
    // founder's first one has the name that it had before keys changed.
    let journal = match (epoch, validators.position(&me)) {
        (0, Some(_)) => "votes-0".to_owned(),
        _ => format!("votes-{epoch}-{}", &crate::hexadecimal(&crate::sha256(me.as_bytes()))[..16]),
    };
    let verifier = VoteScheme::verifier(&namespace, validators.clone());
    let pages = CacheRef::new(PAGE, PAGES);

    let archive = |name: &str| prunable::Config {
        translator: EightCap,
        metadata_partition: format!("{}-{name}-metadata", config.partition),
        key_partition: format!("{}-{name}-keys", config.partition),
        key_page_cache: pages.clone(),
        value_partition: format!("{}-{name}-values", config.partition),
        compression: None,
        codec_config: (),
        items_per_section: ARCHIVE_SECTION,
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        replay_buffer: BUFFER,
    };
    let storage = |part| {
        move |error: commonware_storage::archive::Error| Error::Storage {
            part,
            reason: error.to_string(),
        }
    };
    let certificates: Certificates<E> = prunable::Archive::init(
        context.child("certificates"),
        with_codec(archive("certificates"), VoteScheme::certificate_codec_config_unbounded()),
    )
    .await
    .map_err(storage("certificates"))?;
    let blocks = prunable::Archive::init(
        context.child("blocks"),
        with_codec(archive("blocks"), config.max_block),
    )
    .await
    .map_err(storage("blocks"))?;

    let latest = latest_finalization(&certificates).await.map_err(storage("certificates"))?;
    let configured = config
        .floor
        .as_ref()
        .map(|floor| {
            let voted = usize::try_from(floor.epoch).ok().and_then(|epoch| past.get(epoch));
            let voted = voted.unwrap_or(&validators);
            scheme::import(floor, voted.len()).ok_or_else(|| Error::Config {
                field: "floor",
                problem: "the certificate names validators that do not exist".to_owned(),
            })
        })
        .transpose()?;
    let floor = latest
        .into_iter()
        .chain(configured.clone())
        .filter(|finalization| finalization.epoch().get() == epoch)
        .max_by_key(|finalization| finalization.view());
    if let Some(floor) = &floor {
        guard.raise_floor(floor.epoch().get(), floor.view().get())?;
    }
    let voter = Arc::new(Voter { identity, guard });
    let scheme = verifier.clone().with_voter(voter.clone());

    let genesis = Carried::new(genesis);
    let genesis_digest = genesis.digest();
    let begin = match config.past.last() {
        Some(before) => sha256::Digest(before.block.0),
        None => genesis_digest,
    };
    let past = past.into_iter().map(|validators| VoteScheme::verifier(&namespace, validators));
    let provider = Schemes::new(past, scheme.clone());
    let epochs = Epochs::new(config.past.iter().map(|epoch| epoch.last));
    let fetch_timeout = NonZeroDuration::new(config.timing.fetch)
        .ok_or(Error::Config { field: "timing.fetch", problem: "may not be zero".to_owned() })?;
    let (marshal_actor, mailbox, _): (_, Marshal<A>, _) = MarshalActor::init(
        context.child("marshal"),
        certificates,
        blocks,
        marshal::Config {
            provider,
            epocher: epochs.clone(),
            start: match configured {
                Some(floor) => Start::Floor(floor),
                None => Start::Genesis(Digested::precomputed(genesis, genesis_digest)),
            },
            partition_prefix: format!("{}-marshal", config.partition),
            mailbox_size: MAILBOX,
            view_retention: RETAINED_VIEWS,
            prunable_items_per_section: ARCHIVE_SECTION,
            page_cache: pages.clone(),
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: config.max_block,
            max_repair: REPAIR,
            max_pending_acks: UNACKNOWLEDGED,
            strategy: Sequential,
        },
    )
    .await;

    let board = Arc::new(Board::new(
        epoch,
        application.applied(),
        &names,
        context.current(),
        voter.guard.restored_ms(),
    ));
    let witness = Witness {
        scheme: verifier,
        names,
        path: config.directory.join("evidence.jsonl"),
        application: application.clone(),
        board: board.clone(),
        known: Mutex::new(BTreeSet::new()),
    };
    let driver = Driver::new(
        context.child("driver"),
        application.clone(),
        mailbox.clone(),
        witness,
        config.timing.leader,
        config.max_block,
    );
    let fetcher = fetching::init(
        context.child("fetcher"),
        fetching::Config {
            public_key: me.clone(),
            peer_provider: links.peers.clone(),
            blocker: links.blocker.clone(),
            mailbox_size: MAILBOX,
            fetch_timeout,
            fetch_retry_delay: FETCH_AGAIN,
            priority_requests: false,
            priority_responses: false,
        },
        links.block_fetch,
    );
    let (buffer, buffer_mailbox) = buffered::Engine::<_, _, Body<A>, _, _>::new(
        context.child("buffer"),
        buffered::Config {
            public_key: me,
            mailbox_size: MAILBOX,
            // Blocks of each proposer kept until they are final or forgotten.
            deque_size: 8,
            priority: true,
            codec_config: config.max_block,
            peer_provider: links.peers,
            strategy: Sequential,
        },
    );
    let engine = simplex::Engine::new(
        context.child("simplex"),
        simplex::Config {
            scheme,
            elector: RoundRobin::<Sha256>::default(),
            blocker: links.blocker,
            automaton: driver.clone(),
            relay: driver.clone(),
            reporter: driver,
            // Kept, so that a contradiction that comes late is evidence too.
            track_historical_votes: true,
            strategy: Sequential,
            partition: format!("{}-{journal}", config.partition),
            mailbox_size: MAILBOX,
            epoch: Epoch::new(epoch),
            floor: match floor {
                Some(finalization) => Floor::Finalized(finalization),
                None => Floor::Genesis(begin),
            },
            replay_buffer: BUFFER,
            write_buffer: BUFFER,
            page_cache: pages,
            leader_timeout: config.timing.leader,
            certification_timeout: config.timing.notarization,
            timeout_retry: config.timing.retry,
            view_retention: RETAINED_VIEWS,
            skip: SkipPolicy::Enabled {
                timeout: config.timing.skip,
                budget: SkipBudget::Participants,
            },
            fetch_timeout,
            fetch_retry_delay: FETCH_AGAIN,
            forward: ForwardPolicy::SilentVoters,
        },
    );

    let ground: gossip::Ground<A> = gossip::Ground {
        validators,
        epochs,
        limit: config.max_gossip,
        board: board.clone(),
        marshal: mailbox.clone(),
    };
    let (gossip, gossip_receiver, gossip_handles) = gossip::start(context, ground, links.gossip);
    let (votes, votes_mux) = only(context.child("votes"), epoch, links.votes).await?;
    let (certificates, certificates_mux) =
        only(context.child("vote_certificates"), epoch, links.certificates).await?;
    let (certificate_fetch, fetch_mux) =
        only(context.child("certificate_fetch"), epoch, links.certificate_fetch).await?;
    let (delivery_sender, deliveries) = mpsc::unbounded_channel();
    let delivery = Delivery { sender: delivery_sender, board: board.clone() };
    let mut handles = vec![
        buffer.start(links.blocks),
        marshal_actor.start(delivery, buffer_mailbox, fetcher),
        context.child("delivery").spawn({
            let (mailbox, board) = (mailbox.clone(), board.clone());
            move |_| async move { deliver(application, mailbox, board, voter, deliveries).await }
        }),
        engine.start(votes, certificates, certificate_fetch),
        votes_mux,
        certificates_mux,
        fetch_mux,
    ];
    handles.extend(gossip_handles);
    let ordering = Simplex { marshal: mailbox, board };
    Ok(Running { handles, ordering, gossip, gossip_receiver })
}

fn with_codec<C>(
    config: prunable::Config<EightCap, ()>,
    codec: C,
) -> prunable::Config<EightCap, C> {
    prunable::Config {
        translator: config.translator,
        metadata_partition: config.metadata_partition,
        key_partition: config.key_partition,
        key_page_cache: config.key_page_cache,
        value_partition: config.value_partition,
        compression: config.compression,
        codec_config: codec,
        items_per_section: config.items_per_section,
        key_write_buffer: config.key_write_buffer,
        value_write_buffer: config.value_write_buffer,
        replay_buffer: config.replay_buffer,
    }
}

async fn latest_finalization<E: Environment>(
    certificates: &Certificates<E>,
) -> Result<Option<Finalization<VoteScheme, sha256::Digest>>, commonware_storage::archive::Error> {
    match certificates.last_index() {
        Some(index) => certificates.get(Identifier::Index(index)).await,
        None => Ok(None),
    }
}
