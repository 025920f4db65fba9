//! Starting and stopping a node.
//!
//! The machine, the mempool and the handle live as long as the node; ordering
//! lives for one epoch. When the last block of an epoch is executed, everything
//! of ordering ends, its runtime too, and begins again for the next epoch as
//! after a restart of the process: there is one way to begin, which every crash
//! tests. Who uses the [`Ledger`] notices a pause.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use commonware_runtime::{Clock, Runner as _, Spawner, Supervisor as _, tokio as runtime};
use hufu_consensus::{
    Config as OrderingConfig, GossipReceiver, NetworkConfig, Node, Ordering as _, PastEpoch, Peer,
    PeerAddress, Validator, start_tcp,
};
use hufu_machine::{Epoch, Machine, MachineError, Reader};
use hufu_proof::membership::Seat;
use hufu_proof::{Block, Endpoint, Height, Membership, Name, Signer, Transaction};
use tokio::sync::watch;

use crate::builder::{AGAIN, Builder, Limits};
use crate::early::Early;
use crate::error::Error;
use crate::ledger::{Ledger, pass_on, received};
use crate::shared::Shared;

/// How long transactions are collected before they are passed on.
const COLLECT: Duration = Duration::from_millis(5);

/// How long a node stays in an epoch that is over, so that the certificate of
/// the last block is on its way to those who have not seen it.
const LINGER: Duration = Duration::from_millis(200);

/// What a node must be told.
pub struct Config {
    /// Directory for the consensus journal and the double-sign guard.
    pub directory: PathBuf,
    /// Where to listen for validators.
    pub listen: SocketAddr,
    /// The members' addresses, by member, where they do not say on the ledger
    /// themselves where they are reached. A member without one has to come by itself.
    pub peers: Vec<(Name, PeerAddress)>,
    /// How blocks are made.
    pub limits: Limits,
}

/// A running node on a thread of its own.
pub struct Running {
    /// The handle.
    pub ledger: Ledger,
    /// Encodes the engine's metrics as Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
    ended: watch::Receiver<bool>,
}

/// What every epoch begins with.
struct Ground {
    config: Config,
    shared: Arc<Shared>,
    ledger: Ledger,
    genesis: Block,
    signer: Arc<dyn Signer>,
    metrics: Arc<Mutex<Meter>>,
}

/// The metrics of the present epoch; between two, the last ones of the former.
#[derive(Default)]
struct Meter {
    context: Option<runtime::Context>,
    last: String,
}

impl Meter {
    fn read(&self) -> String {
        self.context.as_ref().map_or_else(|| self.last.clone(), commonware_runtime::Metrics::encode)
    }

    /// Lets go of the runtime.
    fn rest(&mut self) {
        self.last = self.read();
        self.context = None;
    }
}

/// Why ordering ended.
enum Ended {
    /// It was told to, or failed by itself.
    Stopped,
    /// The epoch is over.
    Over,
}

/// Starts a node over TCP on a thread and a runtime of its own, so that nothing
/// the services do holds up votes.
///
/// # Errors
/// [`Error`] when the configuration, the journal or the guard does not allow it.
pub fn start(
    config: Config,
    machine: Machine,
    vote_signer: Arc<dyn Signer>,
) -> Result<Running, Error> {
    let genesis = machine.genesis_block().clone();
    let shared = Arc::new(Shared::new(machine));
    let ledger = Ledger::new(shared.clone());
    let metrics: Arc<Mutex<Meter>> = Arc::default();
    let ground = Ground {
        config,
        shared,
        ledger: ledger.clone(),
        genesis,
        signer: vote_signer,
        metrics: metrics.clone(),
    };
    let (started_sender, started) = std::sync::mpsc::channel();
    let (stop, stopping) = watch::channel(false);
    let (ended_sender, ended) = watch::channel(false);
    let thread = std::thread::Builder::new()
        .name("ledger".to_owned())
        .spawn(move || {
            let mut announce = Some(started_sender);
            loop {
                let settings = runtime::Config::new()
                    .with_storage_directory(ground.config.directory.join("journal"))
                    .with_worker_threads(4)
                    .with_catch_panics(false);
                let epoch = runtime::Runner::new(settings)
                    .start(|context| epoch(context, &ground, &mut announce, stopping.clone()));
                match (epoch, announce.take()) {
                    (Ok(Ended::Over), _) => {}
                    (Ok(Ended::Stopped), _) => break,
                    (Err(error), Some(announce)) => {
                        let _ = announce.send(Err(error));
                        break;
                    }
                    (Err(error), None) if error.passes() && !*stopping.borrow() => {
                        tracing::warn!(%error, "the next epoch waits for the store");
                        std::thread::sleep(AGAIN);
                    }
                    (Err(error), None) => {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::error!(%error, cause, "the next epoch does not begin");
                        break;
                    }
                }
            }
            ended_sender.send_replace(true);
        })
        .map_err(|error| Error::Runtime(error.to_string()))?;
    match started.recv() {
        Ok(Ok(())) => {
            let metrics = Arc::new(move || lock(&metrics).read());
            Ok(Running { ledger, metrics, stop, thread: Some(thread), ended })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Runtime("it ended while starting; the log says why".to_owned())),
    }
}

/// Runs ordering until the epoch is over or the node is told to stop.
async fn epoch(
    context: runtime::Context,
    ground: &Ground,
    announce: &mut Option<std::sync::mpsc::Sender<Result<(), Error>>>,
    mut stopping: watch::Receiver<bool>,
) -> Result<Ended, Error> {
    let Ground { config, shared, ledger, genesis, signer, metrics } = ground;
    let mut epochs = shared.epoch.subscribe();
    let (ordering, epoch) = ordering(config.directory.join("guard"), &shared.reader)?;
    let suspended = shared.reader.suspended()?;
    let seats: Vec<Seat> = epoch.membership.seats.iter().cloned().chain(suspended).collect();
    let mut moved = shared.moved.subscribe();
    let network = NetworkConfig {
        listen: config.listen,
        peers: peers(ground, &seats)?,
        only_known_addresses: false,
    };
    let number = epoch.number;
    tracing::info!(
        epoch = number,
        first = epoch.first.get(),
        validators = epoch.membership.seats.len(),
        votes = epoch.membership.seats.iter().any(|seat| seat.vote_key == signer.public_key()),
        "an epoch begins"
    );
    let builder = Builder::new(context.child("clock"), shared.clone(), config.limits, epoch);
    let (node, gossip) = start_tcp(
        context.child("ordering"),
        ordering,
        network,
        signer.clone(),
        Arc::new(builder),
        genesis.clone(),
    )
    .await?;
    connect(&context, ledger, &node, gossip);
    keep_end(&shared.reader, &node).await?;
    lock(metrics).context = Some(context.child("metrics"));
    if let Some(announce) = announce.take() {
        let _ = announce.send(Ok(()));
    }
    let readdress = node.addresses();
    let stopped = node.stopped();
    tokio::pin!(stopped);
    let ended = loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break Ended::Stopped,
            () = &mut stopped => {
                tracing::error!("ordering ended by itself");
                break Ended::Stopped;
            }
            _ = epochs.wait_for(|begun| *begun > number) => break Ended::Over,
            Ok(()) = moved.changed() => readdress(&peers(ground, &seats)?)?,
        }
    };
    if matches!(ended, Ended::Over) {
        context.sleep(LINGER).await;
    }
    lock(metrics).rest();
    Ok(ended)
}

/// What ordering is told of the present epoch and those before it.
pub(crate) fn ordering(
    guard: PathBuf,
    reader: &Reader,
) -> Result<(OrderingConfig, Arc<Epoch>), Error> {
    let epochs = reader.epochs();
    let mut past = Vec::with_capacity(epochs.len());
    for pair in epochs.windows(2) {
        let last = pair[1].first.previous().ok_or(Error::Stopped)?;
        let header = reader.header(last)?.ok_or(Error::Stopped)?;
        let validators = validators(&pair[0].membership);
        past.push(PastEpoch { validators, last, block: header.digest() });
    }
    let present = reader.epoch();
    let mut config = OrderingConfig::new(guard, reader.chain(), validators(&present.membership));
    config.past = past;
    Ok((config, present))
}

fn validators(membership: &Membership) -> Vec<Validator> {
    let validator =
        |seat: &Seat| Validator { name: seat.name.to_string(), key: seat.vote_key.clone() };
    membership.seats.iter().map(validator).collect()
}

/// The members of an epoch and those that follow it, with their addresses: where each
/// says on the ledger that it is reached, or else where this node was told.
fn peers(ground: &Ground, seats: &[Seat]) -> Result<Vec<Peer>, Error> {
    let state = ground.shared.reader.state()?;
    let mut unreachable = Vec::new();
    let mut all = Vec::with_capacity(seats.len());
    for Seat { name, vote_key, .. } in seats {
        let told = ground.config.peers.iter().find(|(member, _)| member == name);
        let address = match state.address(name)? {
            Some(said) => Some(to_dial(&said)),
            None => told.map(|(_, address)| address.clone()),
        };
        if address.is_none() {
            tracing::warn!(
                member = %name,
                "neither the ledger nor network.peers has the address of a member; it can only \
                 come by itself"
            );
            unreachable.push(name.to_string());
        }
        all.push(Peer { key: vote_key.clone(), address });
    }
    ground.ledger.unreachable(unreachable);
    Ok(all)
}

fn to_dial(said: &Endpoint) -> PeerAddress {
    let (host, port) = (said.host.to_string(), said.port.get());
    match host.parse() {
        Ok(ip) => PeerAddress::Socket(SocketAddr::new(ip, port)),
        Err(_) => PeerAddress::Name { host, port },
    }
}

/// Keeps the certificate of the last block of the epoch before, which every
/// later proof needs, should the process have died between the block and its
/// certificate.
pub(crate) async fn keep_end<E>(
    reader: &Reader,
    node: &Node<Builder<E>>,
) -> Result<(), MachineError>
where
    E: Clock + Send + Sync + 'static,
{
    let Some(last) = reader.epoch().first.previous() else { return Ok(()) };
    if reader.finality(last)?.is_none()
        && let Some(certificate) = node.ordering.certificate(last).await
    {
        reader.put_finality(last, &certificate)?;
    }
    Ok(())
}

/// Joins a started ordering layer to the rest: gossip in and out, the handle.
pub(crate) fn connect<E>(
    context: &E,
    ledger: &Ledger,
    node: &Node<Builder<E>>,
    mut incoming: GossipReceiver,
) where
    E: Spawner + Clock + Send + Sync + 'static,
{
    let (sending, gossip) = (ledger.outbox.clone(), node.gossip.clone());
    context.child("pass_on").spawn(move |context| async move {
        loop {
            let mut transactions = sending.next().await;
            context.sleep(COLLECT).await;
            transactions.extend(sending.take());
            pass_on(&gossip, &transactions);
        }
    });
    let receiving = ledger.shared.clone();
    context.child("receive").spawn(move |_| async move {
        let mut early = Early::default();
        let mut applied = receiving.applied.subscribe();
        loop {
            // In this order, so that simulated runs repeat.
            let come = tokio::select! {
                biased;
                changed = applied.changed(), if !early.is_empty() => match changed {
                    Ok(()) => early.take(*applied.borrow_and_update()),
                    Err(_) => break,
                },
                message = incoming.next() => match message {
                    Some((_, message)) => {
                        let now = *applied.borrow();
                        received(&message).into_iter().map(|one| (one, now)).collect()
                    }
                    None => break,
                },
            };
            pass_in(&receiving, come, &mut early);
        }
    });
    let (ordering, archives) = (node.ordering.clone(), node.ordering.clone());
    let forget = Arc::new(move |height| archives.prune(height));
    ledger.follow(Arc::new(move || ordering.status()), forget);
}

/// Admits what other validators passed on; `early` keeps, with the heights at
/// which they came, those whose signer is not known yet.
fn pass_in(shared: &Shared, come: Vec<(Transaction, Height)>, early: &mut Early) {
    let mut groups: BTreeMap<Height, Vec<Transaction>> = BTreeMap::new();
    for (transaction, since) in come {
        groups.entry(since).or_default().push(transaction);
    }
    for (since, transactions) in groups {
        shared.admit_or(transactions, |one| early.keep(one, since));
    }
}

fn lock(meter: &Mutex<Meter>) -> MutexGuard<'_, Meter> {
    // Reading fails for nobody, and a panic in it leaves the meter whole.
    meter.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Stops the node. Everything acknowledged is on disk.
    pub fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's thread panicked");
        }
    }

    /// Becomes true when the node has ended, told to or not.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }
}
