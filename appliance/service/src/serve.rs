//! `hufu serve`: a running node.
//!
//! It starts from the inside out (token, store, read model, consensus,
//! authority, listeners) and stops from the outside in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::join::{self, JoinRequest};
use hufu_configuration::keyring::{self, TokenSigner, label};
use hufu_configuration::locked;
use hufu_configuration::pin;
use hufu_configuration::{config, files};
use hufu_door::certificate::NodeCertificate;
use hufu_door::{Authenticator, Chains, Door, Metrics, Stop, listen, route};
use hufu_keys::Custody;
use hufu_machine::Machine;
use hufu_node::{Limits, PeerAddress};
use hufu_proof::{Genesis, Name, Signer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::archive::Archive;
use crate::authority::Authority;
use crate::growth::{ArchivedFirst, Growth};
use crate::health::{Health, State};
use crate::node::Node;
use crate::records::LedgerRecords;
use crate::serving::Serving;
use crate::store::Opened;
use crate::submit::Submitter;
use crate::supervision::Supervision;
use crate::{
    admin, dates, doors, front_end, gateway, height, monitor, recertification, renewal, store,
};

/// How often the node looks at itself.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// Runs the node until it is told to stop.
///
/// # Errors
/// What keeps it from starting or going on.
pub fn run(
    config: &Path,
    part: Serving,
    with_parent: bool,
    pin_fd: Option<u32>,
    machine: PathBuf,
) -> anyhow::Result<()> {
    if with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .context("the end of the process that started this one")?;
    }
    files::close_to_others();
    let served = Config::load(config).and_then(|config| {
        files::close_directory(&config.paths.data)?;
        let pin = pin::user(pin_fd).map_err(locked)?;
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()?
            .block_on(async {
                match part {
                    Serving::Validator => serve(config, pin, machine).await,
                    Serving::FrontEnd => front_end::serve(config, pin, machine).await,
                }
            })
    });
    if let Err(error) = &served {
        // What the service manager then shows of the unit.
        let said = format!("{error:#}").replace('\n', " ");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&said)]);
    }
    served
}

async fn serve(config: Config, pin: hufu_keys::Pin, machine_socket: PathBuf) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let genesis = config.genesis()?;
    let health = Arc::new(Health::default());
    let (stop, stopping) = watch::channel(false);

    let opened = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || keyring::open(&config, pin)).await?.map_err(locked)?
    };
    let custody = opened;
    check_keys(&config, &genesis, &custody)?;
    let vote: Arc<dyn Signer> = Arc::new(TokenSigner::new(keyring::key(&custody, label::VOTE)?)?);
    let statement: Arc<dyn Signer> =
        Arc::new(TokenSigner::new(keyring::key(&custody, label::STATEMENT)?)?);

    let (machine, cluster) = {
        let (config, genesis) = (config.clone(), genesis.clone());
        let open = move || {
            let Opened { store, cluster } = store::open(&config)?;
            anyhow::Ok((Machine::open(store, genesis).context("the state")?, cluster))
        };
        tokio::task::spawn_blocking(open).await??
    };
    check_peers(&config, &genesis, &machine)?;
    let supervision = Supervision::open(&config, machine.reader())?;
    let running = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || {
            hufu_node::start(
                hufu_node::Config {
                    directory: config.data("consensus"),
                    listen: config.network.listen,
                    peers: peers(config.network.peers),
                    limits: Limits::default(),
                },
                machine,
                vote,
            )
        })
        .await?
        .context("consensus")?
    };
    let ledger = running.ledger.clone();
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
        growth: Growth::default(),
        archive,
    });
    if let Some(retention) = node.config.retention.clone() {
        let first = node.archive.clone().map(|archive| ArchivedFirst {
            archive,
            submitter: node.submitter.clone(),
            runtime: tokio::runtime::Handle::current(),
        });
        let (ledger, reading) = (node.ledger.clone(), node.clone());
        node.growth.start(retention, first, ledger, move || reading.supervision.height())?;
    }
    node.take_certificate()?;

    let (mut tasks, metrics) = (JoinSet::new(), Metrics::default());
    let services = &node.config.services;
    if let Some(address) = services.metrics {
        let listener = listen::bind("services.metrics", address).await?;
        let router = monitor::router(node.clone(), running.metrics.clone(), metrics.clone());
        let door = Door::new(doors::METRICS.name, router, metrics.clone());
        tasks.spawn(door.plain(listener, stopping.clone()));
    }
    if node.config.is_authority() {
        let authority = Authority::start(
            &node.config,
            &node.genesis,
            &node.custody,
            node.submitter.clone(),
            Serving::Validator,
        )
        .await
        .context("the certification authority")?;
        if let Some(address) = services.status {
            let listener = listen::bind("services.status", address).await?;
            let router = route::door(vec![authority.status()], Some(&node.config.member.name));
            let router = height::named(router, &node.ledger);
            let door = Door::new(doors::STATUS.name, router, metrics.clone());
            tasks.spawn(door.plain(listener, stopping.clone()));
        }
        if node.authority.set(authority).is_err() {
            anyhow::bail!("the authority was started twice");
        }
    }
    let socket = listen::bind_socket(&node.config.admin_socket())?;
    let router = height::named(admin::router(node.clone()), &node.ledger);
    let door = Door::new(doors::ADMINISTRATION.name, router, metrics.clone());
    tasks.spawn(door.socket(socket, stopping.clone()));
    renewal::follow_issuing(&node)?;
    spawn_tls_services(&mut tasks, &node, statement, &metrics, &stopping).await?;

    let renewal = tokio::spawn(renewal::keep(node.clone()));
    let dates = tokio::spawn(dates::keep(node.clone()));

    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(member = %node.config.member.name, "the node serves");
    let mut ended = running.ended();
    let failed = loop {
        tokio::select! {
            _ = terminate.recv() => break false,
            _ = interrupt.recv() => break false,
            _ = ended.wait_for(|ended| *ended) => break true,
            () = tokio::time::sleep(LOOK) => monitor::look(&node),
        }
    };
    if failed {
        monitor::failed(&node);
        // What was executed can be read, until the operator has seen to it.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    renewal.abort();
    dates.abort();
    health.report(State::Stopping, vec!["told to".into()]);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stop.send_replace(true);
    while tasks.join_next().await.is_some() {}
    if let Some(authority) = node.authority.get() {
        authority.stop().await;
    }
    node.archive.iter().for_each(|archive| archive.stop());
    node.growth.stop();
    node.supervision.stop();
    tokio::task::spawn_blocking(move || running.stop()).await?;
    let _ = std::fs::remove_file(node.config.admin_socket());
    node.custody.close();
    anyhow::ensure!(!failed, "consensus ended by itself; the log says why");
    tracing::info!("stopped");
    Ok(())
}

/// The certificates that the doors take, at first those under the genesis file's.
pub(crate) fn chains(genesis: &Genesis) -> anyhow::Result<Arc<Chains>> {
    let hufu_proof::genesis::Authority { root_certificate, issuing_certificate, .. } =
        genesis.authority.clone();
    let provider = hufu_client::tls::provider();
    Ok(Chains::new(root_certificate.into(), issuing_certificate.into(), provider)?)
}

/// The TLS services bind at once, so that a taken port is noticed, and answer
/// when the node has its certificate.
pub(crate) async fn spawn_tls_services(
    tasks: &mut JoinSet<()>,
    node: &Arc<Node>,
    statement: Arc<dyn Signer>,
    metrics: &Metrics,
    stopping: &Stop,
) -> anyhow::Result<()> {
    let chains = node.chains.clone();
    let config = chains.server(node.certificate.clone(), node.config.services.tls12)?;
    let authenticator = Authenticator::new(LedgerRecords::new(node.ledger.clone()));
    let mut services = Vec::new();
    if let Some(address) = node.config.services.gateway {
        let router = gateway::router(node.clone(), statement, metrics);
        let listener = listen::bind("services.gateway", address).await?;
        services.push((listener, doors::GATEWAY.name, router));
    }
    if let (Some(address), Some(authority)) = (node.config.services.est, node.authority.get())
        && !node.ledger.follows()
    {
        let again = recertification::part(node.clone());
        let parts = authority.enrolment()?.into_iter().chain([again]).collect();
        let router = route::door(parts, Some(&node.config.member.name));
        services.push((listen::bind("services.est", address).await?, doors::EST.name, router));
    }
    for (listener, name, router) in services {
        let router = height::named(authenticator.before(router), &node.ledger);
        let door = Door::new(name, router, metrics.clone());
        let (config, chains, stopping) = (config.clone(), chains.clone(), stopping.clone());
        let mut certified = node.certified.subscribe();
        let mut stop = stopping.clone();
        tasks.spawn(async move {
            tokio::select! {
                Ok(_) = certified.wait_for(|certified| *certified) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            door.tls(listener, config, Some(chains), stopping).await;
        });
    }
    Ok(())
}

/// The members' addresses as the ledger takes them.
fn peers(configured: BTreeMap<Name, config::PeerAddress>) -> Vec<(Name, PeerAddress)> {
    let peer = |(member, address)| {
        let address = match address {
            config::PeerAddress::Socket(address) => PeerAddress::Socket(address),
            config::PeerAddress::Name { host, port } => PeerAddress::Name { host, port },
        };
        (member, address)
    };
    configured.into_iter().map(peer).collect()
}

/// The founders' addresses belong in the configuration. That of a member that
/// came later may be missing: its coming must not stop this node.
fn check_peers(config: &Config, genesis: &Genesis, machine: &Machine) -> anyhow::Result<()> {
    let reader = machine.reader();
    let (membership, state) = (reader.membership()?, reader.state()?);
    for name in genesis.members.iter().map(|member| &member.name) {
        let known = config.network.peers.contains_key(name) || state.address(name)?.is_some();
        anyhow::ensure!(
            known || membership.seat(name).is_none(),
            "network.peers lacks the address of member `{name}`"
        );
    }
    Ok(())
}

/// The token must be the one of the last ceremony here, or, where its join
/// request is not kept, the one that founded the consortium. Whether its keys are
/// those of a member yet is for the ledger to say; until they are, the node
/// follows and does not vote.
fn check_keys(config: &Config, genesis: &Genesis, custody: &Custody) -> anyhow::Result<()> {
    let path = config.data("join.json");
    let join = match path.exists() {
        true => {
            let bytes = files::read(&path, join::MAX_JOIN as u64)?;
            let join = JoinRequest::from_json(&bytes);
            Some(join.with_context(|| format!("in {}", path.display()))?.request.member())
        }
        false => None,
    };
    let (member, from) = match join.filter(|join| join.name == config.member.name) {
        Some(join) => (join, &path),
        None => {
            let founder = genesis.member(&config.member.name).with_context(|| {
                format!(
                    "member `{}` is not in the genesis file {}",
                    config.member.name,
                    config.paths.genesis.display()
                )
            })?;
            (founder.clone(), &config.paths.genesis)
        }
    };
    for (label, expected) in
        [(label::VOTE, &member.vote_key), (label::STATEMENT, &member.statement_key)]
    {
        let found = keyring::public(&keyring::key(custody, label)?)?;
        anyhow::ensure!(
            found == *expected,
            "key `{label}` of token `{}` is {found}, but {} has {expected}; \
             is this the token of the ceremony?",
            config.token.label,
            from.display()
        );
    }
    Ok(())
}
