//! The setup endpoint: HTTPS with a certificate that the machine signs itself,
//! for whoever reads fingerprint and code from the console.
//!
//! The certificate's key is made in a PKCS#11 token in memory, so that there is
//! one way to use keys; it goes with the token when setup is over.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use hufu_configuration::certificates::fingerprint;
use hufu_configuration::csr;
use hufu_door::certificate::{NodeCertificate, public_server};
use hufu_door::{Door, Metrics, listen};
use hufu_keys::{Custody, KeyAlgorithm, Pin, TokenConfig};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::code::{self, Gate};
use crate::install::Installer;
use crate::provision::Provisioner;
use crate::setup;
use crate::site::{Site, directory, softhsm};

/// Label of the token in memory.
const TOKEN: &str = "hufu-setup";

/// Where the token in memory has its configuration.
pub fn token_settings(site: &Site) -> std::path::PathBuf {
    site.setup_token().join("softhsm2.conf")
}

/// Makes the place of the token in memory; an old one goes.
///
/// # Errors
/// A sentence with the path.
pub fn prepare_token(site: &Site) -> anyhow::Result<()> {
    let place = site.setup_token();
    hufu_configuration::files::remove_tree(&place)?;
    directory(&place, 0o700, None)?;
    directory(&place.join("tokens"), 0o700, None)?;
    hufu_configuration::files::write(
        &token_settings(site),
        softhsm(&place.join("tokens")).as_bytes(),
    )
}

/// The endpoint, open or closed.
pub struct Endpoint {
    listen: SocketAddr,
    site: Site,
    certificate: Arc<NodeCertificate>,
    /// SHA-256 of the certificate, as people compare it.
    pub fingerprint: String,
    /// The one-time code.
    pub gate: Arc<Gate>,
    installer: Installer,
    custody: Custody,
    serving: Option<Serving>,
}

struct Serving {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// An endpoint with a key and certificate of its own. Blocks.
    ///
    /// # Errors
    /// When the token in memory cannot be made.
    pub fn new(site: &Site, module: &Path, listen: SocketAddr) -> anyhow::Result<Self> {
        let pin = |length| anyhow::Ok(Pin::new(code::random(length)?)?);
        let (user_pin, so_pin) = (pin(24)?, pin(24)?);
        hufu_keys::initialise_token(module, TOKEN, &so_pin, &user_pin)
            .context("the setup endpoint's token")?;
        let config = TokenConfig { workers: 1, ..TokenConfig::new(module, TOKEN) };
        let custody = Custody::open(config, user_pin).context("the setup endpoint's token")?;
        let key = custody.generate("tls", KeyAlgorithm::P256)?;
        let der = csr::self_signed(TOKEN, &key)?;
        let fingerprint = fingerprint(&der);
        let certificate = Arc::new(NodeCertificate::default());
        certificate.install(hufu_keys::certified_key(&key, vec![der.into()])?);
        Ok(Self {
            listen,
            site: site.clone(),
            certificate,
            fingerprint,
            gate: Arc::new(Gate::new()?),
            installer: Installer::new(site.clone()),
            custody,
            serving: None,
        })
    }

    /// Where it listens, if it is open.
    pub fn address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|serving| serving.address)
    }

    /// Opens it, unless it is open.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn open(&mut self, machine: &Arc<Provisioner>) -> anyhow::Result<()> {
        if self.serving.is_some() {
            return Ok(());
        }
        let listener = listen::bind("the setup endpoint", self.listen).await?;
        let address = listener.local_addr()?;
        let config = public_server(self.certificate.clone(), hufu_client::tls::provider())?;
        let (stop, stopping) = watch::channel(false);
        let router = setup::router(machine.clone(), self.gate.clone(), self.installer.clone());
        let door = Door::new("setup", router, Metrics::default());
        let task = tokio::spawn(door.tls(listener, config, None, stopping));
        tracing::info!(%address, "the setup endpoint is open");
        self.serving = Some(Serving { address, stop, task });
        Ok(())
    }

    /// Closes it; what it has begun to answer ends first.
    pub async fn close(&mut self) {
        let Some(serving) = self.serving.take() else { return };
        serving.stop.send_replace(true);
        if serving.task.await.is_err() {
            tracing::error!("the setup endpoint panicked");
        }
        tracing::info!("the setup endpoint is closed");
    }

    /// Closes it for good, and forgets its key.
    pub async fn end(mut self) {
        self.close().await;
        self.custody.close();
        // In memory anyway.
        let _ = fs::remove_dir_all(self.site.setup_token());
    }
}
