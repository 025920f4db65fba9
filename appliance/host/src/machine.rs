//! `hufu appliance run`: the process that owns the machine
//! (docs/decisions/0009).
//!
//! It decides the machine's state and says it, on the console, in `state.json`
//! and on its socket; opens the setup endpoint while something is missing;
//! keeps PINs sealed; lets in what the configuration names; starts the node and
//! starts it again when it ends.
//!
//! It is not the node: it holds no key of the member and never reads what the
//! industry sends.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hufu_client::Client;
use hufu_configuration::Config;
use hufu_configuration::files;
use hufu_configuration::time::now_ms;
use hufu_door::{Door, Metrics};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::backup::Backups;
use crate::configuration::{Settings, TRIAL};
use crate::console::{Console, typed_lines};
use crate::endpoint::Endpoint;
use crate::firewall::Firewall;
use crate::keeper::{Keeper, Step};
use crate::network::Addresses;
use crate::options::{NodeManager, Options};
use crate::provision::Provisioner;
use crate::reset::{Note, Resets, Typed, wipe};
use crate::site::{Account, Site, Stage};
use crate::state::{Condition, Report, SetupEndpoint, State};
use crate::time::Clock;
use crate::unit::{NodeUnit, Own, Systemd};
use crate::upgrade::{Running, Upgrades};
use crate::vault::Vault;
use crate::volume::Volume;
use crate::{addresses, backup, button, endpoint, firewall, keeper, site, socket, unit};

/// Largest report of a process before this one, in bytes.
const MAX_STATE: u64 = 1024 * 1024;

/// How often the machine is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long the node may take to say how it is.
const ASK: Duration = Duration::from_secs(5);

/// A node that has answered before and says nothing for so long is missed.
const SILENCE: Duration = Duration::from_secs(20);

/// Names the configuration of SoftHSM2, which is read once in a process.
const SOFTHSM: &str = "SOFTHSM2_CONF";

/// Runs until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(options: Options, root: &Path) -> anyhow::Result<()> {
    let account = options.user.as_deref().map(Account::named).transpose()?;
    let site = Site::new(root, account);
    // The setup endpoint's token is ours, not the node's: whatever the
    // environment names, this process uses the one in memory.
    let settings = endpoint::token_settings(&site);
    if std::env::var_os(SOFTHSM).as_deref() != Some(settings.as_os_str()) {
        let program = std::env::current_exe().context("our own path is not known")?;
        let error = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(SOFTHSM, &settings)
            .exec();
        return Err(error).context("starting again with the token in memory");
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(async { Machine::new(options, site)?.run().await })
}

/// The machine.
struct Machine {
    options: Options,
    site: Site,
    provisioner: Arc<Provisioner>,
    settings: Arc<Settings>,
    resets: Arc<Resets>,
    firewall: Firewall,
    addresses: Addresses,
    clock: Clock,
    unit: Box<dyn NodeUnit>,
    keeper: Keeper,
    endpoint: Option<Endpoint>,
    volume: Option<Volume>,
    console: Console,
    report: watch::Sender<Report>,
    prepared: bool,
    /// When the node last said how it is, since it was started.
    heard: Option<Instant>,
    /// The node runs, and says that it cannot go on: failed or locked.
    stuck: Option<State>,
    /// Nothing more is done before the machine boots again.
    boots: bool,
}

impl Machine {
    fn new(options: Options, site: Site) -> anyhow::Result<Self> {
        let vault = Vault::new(options.seal, site.credentials());
        let unit: Box<dyn NodeUnit> = match options.node {
            NodeManager::Systemd => Box::new(Systemd),
            NodeManager::Child => Box::new(Own::new(site.clone(), vault.clone())),
        };
        let program = (!options.no_firewall).then(|| options.nft.clone());
        let starting = Condition::because(State::Locked, "the machine is starting", "wait");
        // What a process left that ran since the machine was switched on.
        let left = files::read(&site.state_file(), MAX_STATE).unwrap_or_default();
        let version = Running::read(&site)
            .map_or_else(|_| env!("CARGO_PKG_VERSION").to_owned(), |running| running.version);
        let provisioner = Arc::new(Provisioner::new(site.clone(), vault.clone())?);
        let done = provisioner.done.clone();
        let trial = options.trial_ms.map_or(TRIAL, Duration::from_millis);
        Ok(Self {
            settings: Arc::new(Settings::new(site.clone(), trial, provisioner.done.clone())),
            resets: Arc::new(Resets::new(site.clone(), vault, done)?),
            provisioner,
            firewall: Firewall::new(program, site.run("nftables.conf")),
            addresses: Addresses::new(site.network(), options.networkd.clone()),
            clock: Clock::new(options.chrony.clone()),
            unit,
            keeper: Keeper::new(
                options.back_off_ms.map_or(keeper::BACK_OFF, |ms| [Duration::from_millis(ms); 3]),
            ),
            endpoint: None,
            volume: options.setup_volume.clone().map(Volume::new),
            console: Console::open()?,
            report: watch::Sender::new(Report::resumed(version, starting, &left, now_ms())),
            prepared: false,
            heard: None,
            stuck: None,
            boots: false,
            options,
            site,
        })
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        site::directory(&self.site.run(""), 0o755, None)?;
        endpoint::prepare_token(&self.site)?;
        let (stop, stopping) = watch::channel(false);
        let listener = socket::bind(&self.site)?;
        let backups = Backups::new(self.site.clone(), self.provisioner.vault.clone())?;
        let asked = tokio::spawn(
            Door::new(
                "owner",
                socket::router(
                    self.report.subscribe(),
                    Upgrades::new(self.site.clone()),
                    self.settings.clone(),
                    backups,
                    self.resets.clone(),
                ),
                Metrics::default(),
            )
            .socket(listener, stopping),
        );
        let mut keys = typed_lines();
        let mut button = match self.options.power_button {
            true => button::pressed(),
            false => mpsc::channel(1).1,
        };
        let done = self.provisioner.done.clone();
        let mut ready = false;
        loop {
            self.turn().await;
            if !ready {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
                ready = true;
            }
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = done.notified() => {}
                Some(line) = keys.recv() => self.typed(&line).await,
                Some(()) = button.recv() => self.power_off().await,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.end().await;
        }
        self.unit.leave().await?;
        stop.send_replace(true);
        let _ = asked.await;
        let _ = std::fs::remove_file(self.site.socket());
        Ok(())
    }

    /// Looks at everything once, does what is due, and tells.
    async fn turn(&mut self) {
        let (condition, missing) = self.look().await.unwrap_or_else(|error| {
            let remedy = "mend it, or press Enter at the console to try again";
            (Condition::because(State::Failed, format!("{error:#}"), remedy), Vec::new())
        });
        self.tell(condition, missing);
    }

    async fn look(&mut self) -> anyhow::Result<(Condition, Vec<Stage>)> {
        if self.boots {
            return Ok((booting(), Vec::new()));
        }
        if let Some(volume) = &self.options.sealed_volume
            && !site::is_mounted(volume).unwrap_or(false)
        {
            self.firewall.open(&BTreeSet::new()).await?;
            let reason = format!(
                "{} is not open: its seal does not match, or the TPM did not answer in time",
                volume.display()
            );
            let remedy = "start the machine again; if that does not help, boot the image and \
                          settings it was sealed to, or restore a backup";
            return Ok((Condition::because(State::Locked, reason, remedy), Vec::new()));
        }
        if !self.prepared {
            self.site.prepare()?;
            backup::finish(&self.site)?;
            self.addresses.restore().await?;
            self.prepared = true;
        }
        if let Some(note) = self.resets.wanted()? {
            return Ok((self.reset(note).await?, Vec::new()));
        }
        let mut missing = self.site.missing()?;
        let mut refused = None;
        if let Some(volume) = &mut self.volume {
            refused = volume.give(&self.provisioner, &missing).await;
            missing = self.site.missing()?;
        }
        self.let_in(&missing).await?;
        self.open_or_close(&missing).await?;
        if missing.iter().any(|stage| *stage != Stage::Certificate) {
            let names: Vec<&str> = missing.iter().map(|stage| stage.name()).collect();
            let reason = format!("missing: {}", names.join(", "));
            let remedy = "run `hufu setup` with this address, fingerprint and code on the \
                          operator's workstation";
            let mut condition = Condition::because(State::Unprovisioned, reason, remedy);
            condition.reasons.extend(refused);
            condition.reasons.extend(self.resets.notice());
            return Ok((condition, missing));
        }
        if self.settings.due(Instant::now())? {
            self.start_again().await?;
        }
        let mut condition = self.supervise().await?;
        condition.reasons.extend(refused);
        condition.reasons.extend(self.settings.notice());
        condition.reasons.extend(self.resets.notice());
        condition.reasons.extend(self.clock.notice().await);
        Ok((condition, missing))
    }

    /// Goes on with a factory reset.
    async fn reset(&mut self, note: Note) -> anyhow::Result<Condition> {
        self.tell(resetting(), Vec::new());
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.end().await;
        }
        self.start_again().await?;
        if let Err(error) = self.resets.keys(note).await {
            self.resets.give_up(&error)?;
            return Ok(starting());
        }
        if self.options.sealed_volume.is_some() {
            self.wipe_volume().await?;
            return Ok(booting());
        }
        self.resets.everything()?;
        endpoint::prepare_token(&self.site)?;
        self.settings.forget();
        self.volume = self.options.setup_volume.clone().map(Volume::new);
        self.prepared = false;
        self.provisioner.done.notify_one();
        Ok(resetting())
    }

    /// Takes the sealed volume away, and boots the machine, which makes a new one.
    async fn wipe_volume(&mut self) -> anyhow::Result<()> {
        let root = self.site.root().to_owned();
        tokio::task::spawn_blocking(move || wipe::volume(&root)).await??;
        tracing::warn!("the sealed volume is gone; the machine boots again");
        self.boots = true;
        self.tell(booting(), Vec::new());
        unit::systemctl(&["reboot"]).await.map(drop).context("the machine does not boot again")
    }

    /// The power button was pressed.
    async fn power_off(&self) {
        tracing::warn!("the power button was pressed; the machine shuts down");
        self.console.show("The power button was pressed; the machine shuts down.\n\n".to_owned());
        if let Err(error) = unit::systemctl(&["poweroff"]).await {
            tracing::error!(error = format!("{error:#}"), "the machine does not shut down");
        }
    }

    /// Whether the machine's state can be read and written.
    fn is_open(&self) -> bool {
        match &self.options.sealed_volume {
            Some(volume) => site::is_mounted(volume).unwrap_or(false),
            None => true,
        }
    }

    /// Whether a line was about a factory reset.
    async fn typed_reset(&mut self, line: &str) -> bool {
        let open = self.is_open();
        let done = match self.resets.typed(line) {
            Typed::Other => return false,
            Typed::Nearly(words) => {
                self.console.show(format!("To do:       type `{words}` to reset this machine\n\n"));
                Ok(())
            }
            Typed::Reset { without_token } if open => self.resets.begin(without_token),
            // Whose it is and where its keys are is on the volume.
            Typed::Reset { .. } => self.wipe_volume().await,
        };
        if let Err(error) = done {
            tracing::error!(error = format!("{error:#}"), "no factory reset");
            self.console.show(format!("Why:         {error:#}\n\n"));
        }
        true
    }

    /// Sets the firewall before anything listens, and the time servers.
    async fn let_in(&mut self, missing: &[Stage]) -> anyhow::Result<()> {
        let mut open = BTreeSet::new();
        if !missing.is_empty() {
            open.insert(self.options.listen);
        }
        let held = !missing.contains(&Stage::Ceremony);
        let config = held.then(|| Config::load(&self.site.config())).transpose()?;
        if let Some(config) = &config
            && !missing.contains(&Stage::Genesis)
        {
            open.extend(firewall::listeners(config));
        }
        self.firewall.open(&open).await?;
        self.clock.follow(config.as_ref()).await
    }

    async fn open_or_close(&mut self, missing: &[Stage]) -> anyhow::Result<()> {
        if missing.is_empty() {
            if let Some(endpoint) = self.endpoint.take() {
                endpoint.end().await;
            }
            return Ok(());
        }
        let endpoint = match &mut self.endpoint {
            Some(endpoint) => endpoint,
            none => {
                let (site, module) = (self.site.clone(), self.options.soft_module.clone());
                let listen = self.options.listen;
                let made =
                    tokio::task::spawn_blocking(move || Endpoint::new(&site, &module, listen));
                none.insert(made.await??)
            }
        };
        if endpoint.gate.is_closed() {
            endpoint.close().await;
            Ok(())
        } else {
            endpoint.open(&self.provisioner).await
        }
    }

    async fn supervise(&mut self) -> anyhow::Result<Condition> {
        let unit = self.unit.look().await?;
        match self.keeper.next(Instant::now(), &unit) {
            Step::Start => {
                self.heard = None;
                self.unit.start().await?;
                Ok(starting())
            }
            Step::Wait(condition) => {
                self.settings.node_ended(&condition.reasons.join("; "))?;
                Ok(condition)
            }
            Step::Ask => {
                let condition = self.ask().await;
                if condition.state == State::Operational && self.heard.is_some() {
                    self.settings.node_runs();
                } else if self.stuck.is_some() {
                    self.settings.node_ended(&condition.reasons.join("; "))?;
                }
                Ok(condition)
            }
        }
    }

    /// Stops the node, so that it is started with what is there now.
    async fn start_again(&mut self) -> anyhow::Result<()> {
        self.unit.stop().await?;
        self.keeper.again();
        (self.heard, self.stuck) = (None, None);
        Ok(())
    }

    /// How the node says that it is.
    async fn ask(&mut self) -> Condition {
        let socket = Client::admin(&self.site.data("admin.sock"));
        self.stuck = None;
        let Ok(Ok(status)) = tokio::time::timeout(ASK, socket.get::<Value>("/status")).await else {
            return match self.heard {
                None => starting(),
                Some(heard) if heard.elapsed() < SILENCE => self.report.borrow().condition.clone(),
                Some(heard) => Condition::because(
                    State::Operational,
                    format!("the node has said nothing for {} s", heard.elapsed().as_secs()),
                    "look at its log; press Enter at the console to start it again",
                ),
            };
        };
        self.heard = Some(Instant::now());
        let condition = condition_of(&status);
        let stuck = matches!(status["state"].as_str(), Some("failed" | "locked"));
        self.stuck = stuck.then_some(condition.state);
        condition
    }

    /// Somebody is at the console.
    async fn typed(&mut self, line: &str) {
        if self.boots || self.typed_reset(line).await {
            return;
        }
        if let Some(said) = self.addresses.typed(line, self.is_open()).await {
            self.console.show(said);
            return;
        }
        if let Some(endpoint) = &self.endpoint
            && endpoint.gate.is_closed()
        {
            match endpoint.gate.renew() {
                Ok(()) => tracing::info!("the setup endpoint opens with a new code"),
                Err(error) => tracing::error!(error = format!("{error:#}"), "no new code"),
            }
        } else {
            // Whoever pressed a key wants to read.
            self.show(&self.report.borrow());
        }
        let wants_word = self.keeper.wants_word() || self.stuck == Some(State::Locked);
        if wants_word && line.trim() != keeper::WORD {
            return;
        }
        let silent = self.heard.is_some_and(|heard| heard.elapsed() >= SILENCE);
        if (self.stuck.is_some() || silent)
            && let Err(error) = self.unit.stop().await
        {
            tracing::error!(error = format!("{error:#}"), "the node cannot be stopped");
        }
        self.stuck = None;
        self.keeper.again();
    }

    fn tell(&self, condition: Condition, missing: Vec<Stage>) {
        let setup = self.endpoint.as_ref().map(|endpoint| SetupEndpoint {
            addresses: endpoint.address().map(addresses::reachable).unwrap_or_default(),
            fingerprint: endpoint.fingerprint.clone(),
            closed: endpoint.gate.is_closed(),
        });
        let before = self.report.borrow().clone();
        let report = before.next(condition, missing, setup, now_ms());
        let first = !self.site.state_file().exists();
        if report == before && !first {
            return;
        }
        tracing::info!(
            state = %report.condition.state, reasons = ?report.condition.reasons, "the machine"
        );
        self.show(&report);
        let written = serde_json::to_vec_pretty(&report)
            .map_err(anyhow::Error::from)
            .and_then(|bytes| files::write(&self.site.state_file(), &bytes));
        if let Err(error) = written {
            tracing::error!(error = format!("{error:#}"), "the state cannot be written");
        }
        let status = report.condition.state.to_string();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&status)]);
        self.report.send_replace(report);
    }

    fn show(&self, report: &Report) {
        let code = self.endpoint.as_ref().map(|endpoint| endpoint.gate.shown());
        let mut block = report.console(code.as_ref().map(|code| code.as_str()));
        if report.setup.as_ref().is_some_and(|setup| setup.addresses.is_empty()) {
            block += &self.addresses.show();
        }
        self.console.show(block);
    }
}

fn starting() -> Condition {
    Condition::because(
        State::Locked,
        "the node is starting: it opens its token and its store",
        "wait",
    )
}

fn resetting() -> Condition {
    Condition::because(State::Locked, "the machine goes back to its factory state", "wait")
}

fn booting() -> Condition {
    Condition::because(State::Locked, "the machine is reset and boots again", "wait")
}

/// What a node's status means for the machine.
fn condition_of(status: &Value) -> Condition {
    let reasons: Vec<String> =
        serde_json::from_value(status["reasons"].clone()).unwrap_or_default();
    let (state, remedy) = match status["state"].as_str() {
        Some("starting") => return starting(),
        Some("locked") => (
            State::Locked,
            "see to the token; then type `again` and Enter at the console to start the node again",
        ),
        Some("failed") => (
            State::Failed,
            "what is recorded can be read; mend the cause, then press Enter at the console to \
             start the node again",
        ),
        _ => (State::Operational, ""),
    };
    Condition { state, reasons, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_degraded_node_is_an_operational_machine_with_reasons() {
        for (node, machine, reasons) in [
            ("operational", State::Operational, 0),
            ("degraded", State::Operational, 1),
            ("stopping", State::Operational, 1),
            ("locked", State::Locked, 1),
            ("failed", State::Failed, 1),
            ("starting", State::Locked, 1),
        ] {
            let words = vec!["because"; reasons];
            let condition = condition_of(&json!({ "state": node, "reasons": words }));
            assert_eq!((condition.state, condition.reasons.len()), (machine, reasons), "{node}");
        }
    }
}
