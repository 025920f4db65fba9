//! Starting and stopping a node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use commonware_runtime::{Clock, Runner as _, Spawner, Supervisor as _, tokio as runtime};
use hufu_consensus::{
    Config as OrderingConfig, GossipReceiver, NetworkConfig, Node, Ordering as _, Peer, Timing,
    Validator, start_tcp,
};
use hufu_machine::Machine;
use hufu_proof::{Genesis, Name, Signer};

use crate::builder::{Builder, Limits};
use crate::core::Core;
use crate::error::Error;
use crate::ledger::{Ledger, Outbox, pass_on, received};

/// How long transactions are collected before they are passed on.
const COLLECT: Duration = Duration::from_millis(5);

/// What a node must be told.
pub struct Config {
    /// Directory for the consensus journal and the double-sign guard.
    pub directory: PathBuf,
    /// Where to listen for validators.
    pub listen: SocketAddr,
    /// Every member's address, by member.
    pub peers: Vec<(Name, SocketAddr)>,
    /// How blocks are made.
    pub limits: Limits,
}

/// A running node on a thread of its own.
pub struct Running {
    /// The handle.
    pub ledger: Ledger,
    /// Encodes the engine's metrics as Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    ended: tokio::sync::watch::Receiver<bool>,
}

/// Starts a node over TCP on a thread and a runtime of its own, so that nothing
/// the services do holds up votes.
///
/// # Errors
/// [`Error`] when the configuration, the journal or the guard does not allow it.
pub fn start(
    config: Config,
    genesis: &Genesis,
    machine: Machine,
    vote_signer: Arc<dyn Signer>,
) -> Result<Running, Error> {
    let chain = genesis.digest();
    let validators = genesis
        .members
        .iter()
        .map(|member| Validator { name: member.name.to_string(), key: member.vote_key.clone() })
        .collect();
    let mut peers = Vec::new();
    for member in &genesis.members {
        let address = config.peers.iter().find(|(name, _)| *name == member.name);
        let (_, address) = address.ok_or_else(|| {
            Error::Runtime(format!("network.peers lacks the address of member `{}`", member.name))
        })?;
        peers.push(Peer { key: member.vote_key.clone(), address: *address });
    }
    let mut ordering = OrderingConfig::new(config.directory.join("guard"), chain, validators);
    ordering.timing = Timing::default();
    let network = NetworkConfig { listen: config.listen, peers, only_known_addresses: false };
    let genesis_block = machine.genesis_block().clone();
    let core = Arc::new(Core::new(machine));
    let limits = config.limits;
    let (started_sender, started) = std::sync::mpsc::channel();
    let (stop, stopping) = tokio::sync::oneshot::channel();
    let (ended_sender, ended) = tokio::sync::watch::channel(false);
    let journal = config.directory.join("journal");
    let thread = std::thread::Builder::new()
        .name("ledger".to_owned())
        .spawn(move || {
            let settings = runtime::Config::new()
                .with_storage_directory(journal)
                .with_worker_threads(4)
                .with_catch_panics(false);
            runtime::Runner::new(settings).start(|context| async move {
                let builder = Arc::new(Builder::new(context.child("clock"), core.clone(), limits));
                let node = start_tcp(
                    context.child("ordering"),
                    ordering,
                    network,
                    vote_signer,
                    builder,
                    genesis_block,
                )
                .await;
                let (node, gossip) = match node {
                    Ok(started) => started,
                    Err(error) => {
                        let _ = started_sender.send(Err(Error::from(error)));
                        return;
                    }
                };
                let ledger = connect(&context, core, &node, gossip);
                let encoder = context.child("metrics");
                let metrics: Arc<dyn Fn() -> String + Send + Sync> =
                    Arc::new(move || commonware_runtime::Metrics::encode(&encoder));
                let _ = started_sender.send(Ok((ledger, metrics)));
                tokio::select! {
                    _ = stopping => {}
                    () = node.stopped() => tracing::error!("ordering ended by itself"),
                }
            });
            ended_sender.send_replace(true);
        })
        .map_err(|error| Error::Runtime(error.to_string()))?;
    match started.recv() {
        Ok(Ok((ledger, metrics))) => {
            Ok(Running { ledger, metrics, stop: Some(stop), thread: Some(thread), ended })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Runtime("it ended while starting; the log says why".to_owned())),
    }
}

/// Joins a started ordering layer to the rest: gossip in and out, the handle.
pub(crate) fn connect<E>(
    context: &E,
    core: Arc<Core>,
    node: &Node<Builder<E>>,
    mut incoming: GossipReceiver,
) -> Ledger
where
    E: Spawner + Clock + Send + Sync + 'static,
{
    let outbox = Arc::new(Outbox::default());
    let (sending, gossip) = (outbox.clone(), node.gossip.clone());
    context.child("pass_on").spawn(move |context| async move {
        loop {
            let mut transactions = sending.next().await;
            context.sleep(COLLECT).await;
            transactions.extend(sending.take());
            pass_on(&gossip, &transactions);
        }
    });
    let receiving = core.clone();
    context.child("receive").spawn(move |_| async move {
        while let Some((_, message)) = incoming.next().await {
            receiving.admit(received(&message));
        }
    });
    let ordering = node.ordering.clone();
    Ledger::new(core, outbox, Arc::new(move || ordering.status()))
}

impl Running {
    /// Stops the node. Everything acknowledged is on disk.
    pub fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's thread panicked");
        }
    }

    /// Becomes true when the node has ended, told to or not.
    pub fn ended(&self) -> tokio::sync::watch::Receiver<bool> {
        self.ended.clone()
    }
}
