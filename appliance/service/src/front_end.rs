//! `hufu serve --read-only`: a front-end of a member, on any machine that reaches
//! its cluster.
//!
//! It serves what was executed: status, receipts, proofs, contract reads, queries
//! and reports, and where the member runs the authority, OCSP and revocation
//! lists. It needs no validator to be up. It writes nothing to the cluster, opens
//! no vote key and takes no transactions; its read model is its own, in its data
//! directory, and is fed from the cluster.
//!
//! What a regulator sees of others is recorded on the ledger before it is given
//! out, which a front-end cannot do: it refuses that, and the validator does it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::keyring::{self, TokenSigner, label};
use hufu_configuration::locked;
use hufu_door::certificate::NodeCertificate;
use hufu_door::{Door, Metrics, listen, route};
use hufu_machine::Follower;
use hufu_proof::Signer;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::archive::Archive;
use crate::authority::Authority;
use crate::growth::Growth;
use crate::health::{Health, State};
use crate::node::Node;
use crate::serve::{LOOK, chains, spawn_tls_services};
use crate::serving::Serving;
use crate::store::Opened;
use crate::submit::Submitter;
use crate::supervision::Supervision;
use crate::{admin, doors, height, monitor, renewal, store};

/// Serves until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub async fn serve(
    config: Config,
    pin: hufu_keys::Pin,
    machine_socket: PathBuf,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let genesis = config.genesis()?;
    let health = Arc::new(Health::default());
    let (stop, stopping) = watch::channel(false);

    let custody = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || keyring::open(&config, pin)).await?.map_err(locked)?
    };
    // Reports are signed with it.
    let statement: Arc<dyn Signer> =
        Arc::new(TokenSigner::new(keyring::key(&custody, label::STATEMENT)?)?);
    let (follower, cluster) = {
        let (config, genesis) = (config.clone(), genesis.clone());
        let open = move || {
            let Opened { store, cluster } = store::open_reader(&config)?;
            anyhow::Ok((Follower::open(store, genesis).context("the state")?, cluster))
        };
        tokio::task::spawn_blocking(open).await??
    };
    let supervision = Supervision::open(&config, follower.reader())?;
    let following = hufu_node::follow(follower)?;
    let ledger = following.ledger.clone();
    supervision.follow(&ledger)?;

    let archive = Archive::of(&config);
    let node = Arc::new(Node {
        submitter: Submitter::new(ledger.clone(), statement.clone(), genesis.digest()),
        tls_key: keyring::key(&custody, label::TLS)?,
        certificate: Arc::new(NodeCertificate::default()),
        chains: chains(&genesis)?,
        certified: watch::Sender::new(false),
        authority: OnceLock::new(),
        health: health.clone(),
        cluster,
        machine: machine_socket,
        config,
        genesis,
        ledger,
        custody,
        supervision,
        // The validator's to let go of.
        growth: Growth::default(),
        archive,
    });
    node.take_certificate()?;

    let (mut tasks, metrics) = (JoinSet::new(), Metrics::default());
    let services = &node.config.services;
    if let Some(address) = services.metrics {
        let listener = listen::bind("services.metrics", address).await?;
        // Of ordering there is nothing to tell.
        let router = monitor::router(node.clone(), Arc::new(String::new), metrics.clone());
        let door = Door::new(doors::METRICS.name, router, metrics.clone());
        tasks.spawn(door.plain(listener, stopping.clone()));
    }
    if let (true, Some(address)) = (node.config.is_authority(), services.status) {
        let authority = Authority::start(
            &node.config,
            &node.genesis,
            &node.custody,
            node.submitter.clone(),
            Serving::FrontEnd,
        )
        .await
        .context("the status services of the certification authority")?;
        let listener = listen::bind("services.status", address).await?;
        let router = route::door(vec![authority.status()], Some(&node.config.member.name));
        let door =
            Door::new(doors::STATUS.name, height::named(router, &node.ledger), metrics.clone());
        tasks.spawn(door.plain(listener, stopping.clone()));
        if node.authority.set(authority).is_err() {
            anyhow::bail!("the authority was started twice");
        }
    }
    renewal::follow_issuing(&node)?;
    let socket = listen::bind_socket(&node.config.admin_socket())?;
    let router = height::named(admin::router(node.clone()), &node.ledger);
    let door = Door::new(doors::ADMINISTRATION.name, router, metrics.clone());
    tasks.spawn(door.socket(socket, stopping.clone()));
    spawn_tls_services(&mut tasks, &node, statement, &metrics, &stopping).await?;
    let renewal = tokio::spawn(renewal::keep(node.clone()));

    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(member = %node.config.member.name, "the front-end serves");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = tokio::time::sleep(LOOK) => monitor::look(&node),
        }
    }
    renewal.abort();
    health.report(State::Stopping, vec!["told to".into()]);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stop.send_replace(true);
    while tasks.join_next().await.is_some() {}
    if let Some(authority) = node.authority.get() {
        authority.stop().await;
    }
    node.supervision.stop();
    tokio::task::spawn_blocking(move || following.stop()).await?;
    let _ = std::fs::remove_file(node.config.admin_socket());
    node.custody.close();
    tracing::info!("stopped");
    Ok(())
}
