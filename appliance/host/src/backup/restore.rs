//! A backup on a new machine: a stage of setup.
//!
//! First come shares, in as many calls as it takes; they are kept in memory. When
//! there are enough, the backup itself comes, and is opened as it comes in. What
//! is refused leaves the machine as it was; what is taken is all of it
//! ([`super::staging`]).

use std::fs;
use std::io::{self, Read};
use std::sync::Arc;

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use hufu_backup::{BackupError, Head, Share, read_head, unseal};
use hufu_configuration::config::{self, Config};
use hufu_configuration::files;
use hufu_configuration::join::{JoinRequest, MAX_JOIN};
use hufu_configuration::time::now_ms;
use hufu_door::{Code, Problem};
use hufu_proof::codec::MAX_GENESIS;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use zeroize::Zeroizing;

use crate::backup::staging::{self, Staging};
use crate::backup::{WAITING, refused};
use crate::conditions::{check_addresses, check_config, same_keys};
use crate::problem;
use crate::provision::{Progress, Provisioner};

/// What an operator gives before the backup itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRequest {
    /// The backup's head: its first two lines.
    pub head: String,
    /// Shares' texts.
    pub shares: Vec<Zeroizing<String>>,
    /// A configuration in place of the backup's, for a machine elsewhere.
    pub config: Option<String>,
}

/// What operators have given.
struct Given {
    lines: Vec<u8>,
    head: Head,
    shares: Vec<Share>,
    config: Option<String>,
}

impl Given {
    fn say(&self) -> Value {
        let shares = self.shares.len();
        json!({
            "id": self.head.id,
            "member": self.head.member,
            "genesis": self.head.genesis,
            "created_ms": self.head.created_ms,
            "token": self.head.token,
            "threshold": self.head.threshold,
            "shares": shares,
            "missing": usize::from(self.head.threshold).saturating_sub(shares),
        })
    }
}

/// Restores this machine.
pub struct Restores {
    machine: Arc<Provisioner>,
    given: Mutex<Option<Given>>,
}

impl Restores {
    /// The machine that this one sets up.
    pub fn new(machine: Arc<Provisioner>) -> Self {
        Self { machine, given: Mutex::default() }
    }

    /// Takes shares.
    ///
    /// # Errors
    /// [`Problem`]; then none of these was kept.
    pub async fn shares(&self, request: ShareRequest) -> Result<Value, Problem> {
        self.is_new()?;
        let lines = request.head.into_bytes();
        let head = Head::parse(&lines).map_err(|error| refused(&error))?;
        if let Some(text) = &request.config {
            let config = check_config(&self.machine.site, text)?;
            check_member(&head, &config)?;
        }
        let mut held = self.given.lock().await;
        // Another backup begins anew.
        let before = held.take().filter(|given| given.lines == lines);
        let (mut shares, mut config) =
            before.map(|given| (given.shares, given.config)).unwrap_or_default();
        config = request.config.or(config);
        let kept = shares.len();
        let mut taken = Ok(());
        for text in &request.shares {
            match Share::parse(text).and_then(|share| share.check(&head).map(|()| share)) {
                Ok(share) if shares.iter().any(|one| one.index() == share.index()) => {}
                Ok(share) => shares.push(share),
                Err(error) => {
                    shares.truncate(kept);
                    taken = Err(refused(&error));
                    break;
                }
            }
        }
        let given = Given { lines, head, shares, config };
        let said = given.say();
        if taken.is_ok() || kept > 0 {
            *held = Some(given);
        }
        drop(held);
        taken?;
        tracing::info!(id = %said["id"], shares = %said["shares"], "shares of a backup");
        Ok(said)
    }

    /// Takes the backup.
    ///
    /// # Errors
    /// [`Problem`]; then the machine is as it was.
    pub async fn backup(&self, body: Body) -> Result<Progress, Problem> {
        let _turn = self.machine.turn.lock().await;
        self.is_new()?;
        let mut held = self.given.lock().await;
        let Some(given) = held.as_ref() else {
            let detail = "give the shares of its operators first: --share FILE or --identity FILE";
            return Err(Problem::new(Code::SharesMissing, detail));
        };
        let (have, needed) = (given.shares.len(), given.head.threshold);
        if have < usize::from(needed) {
            let detail = format!("{have} of {needed} shares are there; another operator gives one");
            return Err(Problem::new(Code::SharesMissing, detail));
        }
        if let Err(problem) = self.open(given, body).await {
            tracing::warn!(%problem, "the backup is not restored");
            staging::clear(&self.machine.site).map_err(|error| problem::internal(&error))?;
            return Err(problem);
        }
        tracing::info!(id = given.head.id, member = given.head.member, "restored from a backup");
        *held = None;
        self.machine.done.notify_one();
        self.machine.progress()
    }

    fn is_new(&self) -> Result<(), Problem> {
        let site = &self.machine.site;
        let internal = |error: io::Error| problem::internal(&error.into());
        let empty = |directory| fs::read_dir(directory).map(|mut found| found.next().is_none());
        if !site.config().exists()
            && !site.genesis().exists()
            && empty(site.data("")).map_err(internal)?
            && empty(site.tokens()).map_err(internal)?
        {
            return Ok(());
        }
        let detail = "a backup is restored on a machine that has held no ceremony; type `factory \
                      reset` at its console first";
        Err(Problem::new(Code::MachineNotNew, detail))
    }

    async fn open(&self, given: &Given, body: Body) -> Result<(), Problem> {
        let internal = |error: anyhow::Error| problem::internal(&error);
        let staging = Staging::new(&self.machine.site).map_err(internal)?;
        let staging = unpack(given, body, staging).await?;
        self.check(given, &staging)?;
        self.complete(given, &staging).await.map_err(internal)?;
        staging.decide().map_err(internal)?;
        staging::finish(&self.machine.site).map_err(internal)
    }

    /// What was opened must be a member's machine, whole and this one.
    fn check(&self, given: &Given, staging: &Staging) -> Result<(), Problem> {
        let refuse = |detail: String| Problem::new(Code::RestoreRefused, detail);
        let sentence = |error: anyhow::Error| refuse(format!("{error:#}"));
        let path = staging.place.join("hufu.toml");
        let old = config::text(&path).map_err(sentence)?;
        let config = match &given.config {
            Some(text) => {
                let config = check_config(&self.machine.site, text)?;
                let old = Config::parse(&old, "hufu.toml").map_err(sentence)?;
                if !same_keys(&old, &config) {
                    return Err(refuse(
                        "the configuration that was given is not for the backup's member and \
                         token: member, token.module and token.label stay as they were"
                            .to_owned(),
                    ));
                }
                files::write(&path, text.as_bytes()).map_err(|error| problem::internal(&error))?;
                config
            }
            None => check_config(&self.machine.site, &old)?,
        };
        check_member(&given.head, &config)?;
        let bytes = files::read(&staging.place.join("genesis.json"), MAX_GENESIS as u64)
            .map_err(sentence)?;
        let genesis =
            hufu_proof::Genesis::from_json(&bytes).map_err(|error| refuse(error.to_string()))?;
        if genesis.digest().to_string() != given.head.genesis {
            return Err(refuse("its genesis file is not the one that its head names".to_owned()));
        }
        let join = files::read(&staging.place.join("data/join.json"), MAX_JOIN as u64)
            .and_then(|bytes| JoinRequest::from_json(&bytes))
            .map_err(sentence)?;
        // Its keys need not be those of the genesis file: they may have come later.
        if join.request.name != config.member.name {
            return Err(refuse("its join request is of another member".to_owned()));
        }
        check_addresses(&genesis, &config)?;
        if now_ms().get() < given.head.created_ms {
            return Err(refuse(
                "this machine's clock is before the time at which the backup was made; set it, \
                 because the node does not vote until the ledger is past the time of the restore"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// What the machine needs besides.
    async fn complete(&self, given: &Given, staging: &Staging) -> anyhow::Result<()> {
        let credentials = staging.place.join("credentials");
        fs::create_dir_all(&credentials).context("the place of the PINs")?;
        let vault = self.machine.vault.at(credentials);
        for (name, pin) in &staging.pins {
            vault.seal(name, pin).await?;
        }
        hufu_node::hold_votes(&staging.place.join("data/consensus"), now_ms())?;
        if !staging.has_token {
            tracing::warn!(
                member = given.head.member,
                "the token is not in this backup: it must be connected, or its keys be replaced"
            );
        }
        Ok(())
    }
}

fn check_member(head: &Head, config: &Config) -> Result<(), Problem> {
    if config.member.name.as_str() == head.member {
        return Ok(());
    }
    let detail = format!(
        "member.name of the configuration is `{}`, and the backup is of `{}`",
        config.member.name, head.member
    );
    Err(Problem::new(Code::RestoreRefused, detail))
}

/// Opens the body into `staging`, on a thread of its own.
async fn unpack(given: &Given, body: Body, mut staging: Staging) -> Result<Staging, Problem> {
    let (pieces, arriving) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let (lines, shares) = (given.lines.clone(), given.shares.clone());
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut input = io::BufReader::new(Arriving { pieces: arriving, piece: Bytes::new() });
        let (found, _) = read_head(&mut input)?;
        if found != lines {
            return Err(BackupError::Form("it is another backup than the shares were given for"));
        }
        unseal(input, &lines, &shares, &mut staging)?;
        Ok(staging)
    });
    let mut body = body.into_data_stream();
    while let Some(piece) = body.next().await {
        // One that is refused is read to its end, because only then does its
        // sender listen.
        let _ = pieces.send(piece.map_err(io::Error::other)).await;
    }
    drop(pieces);
    let unpacked = unpacking.await.map_err(|error| problem::internal(&error.into()))?;
    unpacked.map_err(|error| refused(&error))
}

/// A body, for who reads in the old way.
struct Arriving {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.piece.len());
        into[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
