//! Updates: a release comes in, goes to the idle slot, and is booted on trial
//! (image/README.md).
//!
//! Nothing of an update is started before all of it is there: parts are kept in
//! `/var` until their digests were those that were signed, then
//! `systemd-sysupdate` writes the partitions of the idle slot, and the boot
//! program last. The boot loader counts the attempts; `hufu appliance trial`
//! says when one was good.

pub mod floor;
mod release;
mod staging;
pub mod trial;

use std::sync::Arc;

use anyhow::Context as _;
use axum::body::{Body, BodyDataStream};
use futures::StreamExt as _;
use hufu_configuration::files;
use hufu_door::problem::sentence;
use hufu_door::{Code, Problem};
use hufu_release::{Manifest, ReleaseError, Unpacker};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::problem::internal;
use crate::site::Site;
use crate::state::State;
use crate::unit::systemctl;

pub use release::Running;
use staging::Staging;

/// Pieces of an update that wait to be stored.
const WAITING: usize = 16;

/// Most bytes of what an update leaves behind for its trial.
const MAX_PENDING: u64 = 4096;

/// What writes a staged release to the idle slot, and boots the machine again.
const INSTALL: &str = "hufu-upgrade.service";

/// What an update leaves behind for its trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// The version that it updates to.
    pub version: String,
    /// The version that ran.
    pub from: String,
    /// The machine's state before.
    pub state: State,
}

impl Pending {
    /// What the last update left behind, if one did.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(site: &Site) -> anyhow::Result<Option<Self>> {
        let path = site.pending_upgrade();
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&path, MAX_PENDING)?;
        serde_json::from_slice(&bytes).map(Some).with_context(|| format!("in {}", path.display()))
    }
}

/// Takes updates, one at a time.
pub struct Upgrades {
    site: Site,
    /// Held while an update comes in; for good once one is installed.
    busy: Arc<Mutex<()>>,
}

impl Upgrades {
    /// Updates of the machine at `site`.
    pub fn new(site: Site) -> Self {
        Self { site, busy: Arc::default() }
    }

    /// What runs, what is on trial, and below what nothing runs any more.
    ///
    /// # Errors
    /// Where this is not an appliance, or its TPM does not answer.
    pub async fn status(&self) -> Result<Value, Problem> {
        let running = self.running()?;
        let floor = self.floor().await.map_err(|error| internal(&error))?;
        Ok(json!({
            "version": running.version,
            "sequence": running.sequence,
            "kernel": running.kernel,
            "floor": floor,
            "trial": trial::is_on_trial(&self.site),
        }))
    }

    async fn floor(&self) -> anyhow::Result<u32> {
        let site = self.site.clone();
        // TPMs are slow.
        tokio::task::spawn_blocking(move || floor::read(&site)).await?
    }

    fn running(&self) -> Result<Running, Problem> {
        Running::read(&self.site).map_err(|error| {
            let detail = format!(
                "this machine does not run an image that can be updated: {}",
                sentence(error.as_ref())
            );
            Problem::new(Code::NoAppliance, detail)
        })
    }

    /// Whether an update that begins with `head` would be taken.
    ///
    /// # Errors
    /// `upgrade-refused` with the reason why not.
    pub async fn check(&self, head: &[u8]) -> Result<Value, Problem> {
        let running = self.running()?;
        let floor = self.floor().await.map_err(|error| internal(&error))?;
        let key = release::key(&self.site).map_err(|error| internal(&error))?;
        let found = hufu_release::parse(head, &key);
        let found = found.and_then(|found| found.ok_or(ReleaseError::Truncated("manifest")));
        let (manifest, _) = found.map_err(|error| refused(&error.into()))?;
        release::check(&running, floor, &manifest).map_err(|error| refused(&error))?;
        Ok(json!({
            "version": manifest.version,
            "sequence": manifest.sequence,
            "floor": manifest.floor,
            "from": running.version,
        }))
    }

    /// Takes an update, installs it in the idle slot and boots the machine.
    ///
    /// # Errors
    /// `upgrade-refused` when the release is; `conflict` while another one
    /// comes in; nothing of it is left then.
    pub async fn apply(&self, body: Body, state: State) -> Result<Value, Problem> {
        let running = self.running()?;
        let Ok(busy) = self.busy.clone().try_lock_owned() else {
            let detail = "another update is under way; `hufu upgrade status`";
            return Err(Problem::new(Code::Conflict, detail));
        };
        if trial::is_on_trial(&self.site) {
            let detail = format!(
                "version {} is on trial itself; wait until `hufu upgrade status` says it is not",
                running.version
            );
            return Err(Problem::new(Code::Conflict, detail));
        }
        let manifest = self.receive(body, &running).await?;
        let pending =
            Pending { version: manifest.version.clone(), from: running.version.clone(), state };
        let installed = self.install(&pending).await;
        let left = files::remove_tree(&self.site.upgrade());
        let installed =
            installed.context("the idle slot was not written; the machine stays as it is");
        installed.and(left).map_err(|error| internal(&error))?;
        tracing::info!(version = manifest.version, "update installed; the machine boots it");
        // The answer is to reach whoever asked; nothing is taken in any more.
        tokio::spawn(async move {
            let _busy = busy;
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            if let Err(error) = systemctl(&["reboot"]).await {
                tracing::error!(error = format!("{error:#}"), "the machine does not boot again");
            }
            std::future::pending::<()>().await;
        });
        Ok(json!({
            "version": manifest.version,
            "sequence": manifest.sequence,
            "from": running.version,
            "next": "the machine boots the update on trial, and goes back by itself if it is not ready",
        }))
    }

    async fn receive(&self, body: Body, running: &Running) -> Result<Manifest, Problem> {
        let key = release::key(&self.site).map_err(|error| internal(&error))?;
        let floor = self.floor().await.map_err(|error| internal(&error))?;
        let directory = self.site.upgrade();
        let staging =
            Staging::new(&directory, running.clone(), floor).map_err(|error| internal(&error))?;
        let (pieces, mut arriving) = mpsc::channel::<axum::body::Bytes>(WAITING);
        // Files are written on a thread of their own.
        let unpacking = tokio::task::spawn_blocking(move || {
            let mut unpacker = Unpacker::new(key, staging);
            while let Some(piece) = arriving.blocking_recv() {
                unpacker.push(&piece)?;
            }
            unpacker.finish().map(|(manifest, _)| manifest)
        });
        let broken = feed(body.into_data_stream(), &pieces).await;
        drop(pieces);
        let unpacked = unpacking.await.map_err(|error| internal(&error.into()))?;
        if broken.is_err() || unpacked.is_err() {
            files::remove_tree(&directory).map_err(|error| internal(&error))?;
        }
        // What is wrong with the release says more than that its sender ended.
        match (unpacked, broken) {
            (Ok(manifest), Ok(())) => Ok(manifest),
            (Err(error @ ReleaseError::Truncated(_)), Err(broken)) => {
                Err(refused(&broken.context(error)))
            }
            (Err(error), _) => Err(refused(&error.into())),
            (_, Err(broken)) => Err(refused(&broken)),
        }
    }

    /// Has the staged release written to the idle slot.
    async fn install(&self, pending: &Pending) -> anyhow::Result<()> {
        let path = self.site.pending_upgrade();
        files::write(&path, &serde_json::to_vec(pending)?)?;
        let written = systemctl(&["start", INSTALL]).await;
        if written.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        written.map(drop).context("`journalctl -u hufu-upgrade` in the support bundle says why")
    }
}

/// What is wrong with an update that was sent.
fn refused(error: &anyhow::Error) -> Problem {
    Problem::new(Code::UpgradeRefused, sentence(error.as_ref()))
}

/// Passes the body on.
async fn feed(
    mut body: BodyDataStream,
    pieces: &mpsc::Sender<axum::body::Bytes>,
) -> anyhow::Result<()> {
    while let Some(piece) = body.next().await {
        let piece = piece.context("the update stopped coming in; send it again")?;
        // An update that is refused is read to its end, because only then does
        // its sender listen.
        let _ = pieces.send(piece).await;
    }
    Ok(())
}
