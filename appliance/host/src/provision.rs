//! Setup in stages: configuration and witnesses, genesis file, TLS certificate.
//!
//! Rules it keeps:
//! 1. What is refused leaves nothing behind.
//! 2. What was done is done once: the same request again gets the same answer,
//!    another one is refused.
//! 3. A PIN is sealed before a token has it, so that a machine that loses its
//!    power in between can go on.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hufu_client::Client;
use hufu_configuration::config::{self, Config};
use hufu_configuration::files;
use hufu_configuration::join::{JoinRequest, MAX_JOIN};
use hufu_configuration::{Ending, Exit};
use hufu_door::{Code, Problem};
use hufu_keys::Pin;
use hufu_proof::codec::MAX_GENESIS;
use hufu_proof::{Digest, Genesis, Name};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify};
use zeroize::Zeroizing;

use crate::code;
use crate::conditions::{check_addresses, check_config, check_founder, check_witnesses, same_keys};
use crate::problem;
use crate::site::{Site, Stage};
use crate::spawn;
use crate::unit::as_node;
use crate::vault::{self, Vault};

/// Characters of a PIN that the machine makes: 120 bits.
const PIN_LENGTH: usize = 24;

/// Largest document of the ceremony, in bytes.
const MAX_DOCUMENT: u64 = 1024 * 1024;

/// How long the node may take for a certificate, its own or another's.
const PATIENCE: Duration = Duration::from_secs(30);

/// The profile of a node's TLS certificate.
const NODE_PROFILE: &str = "member-node";

/// The profile of an administrator's certificate.
const CLIENT_PROFILE: &str = "operator-client";

type Done = Result<(), Problem>;

/// How far the machine is.
#[derive(Debug, Serialize)]
pub struct Progress {
    /// Version of this program.
    pub software: &'static str,
    /// What is missing, in order.
    pub missing: Vec<Stage>,
    /// Whose node it is, once the ceremony was held.
    pub member: Option<Name>,
    /// Whether the node is the certification authority's, which certifies
    /// itself.
    pub authority: bool,
    /// Digest of the genesis file, once there is one.
    pub genesis: Option<Digest>,
    /// What came of the ceremony, once it was held.
    pub documents: Option<Documents>,
}

/// What came of the ceremony; nothing in it is secret.
#[derive(Debug, Serialize)]
pub struct Documents {
    /// The join request, for the founders.
    pub join: String,
    /// The request for the node's TLS certificate, for the authority.
    pub certificate_request: String,
    /// The transcript, to be printed and signed.
    pub transcript: String,
    /// The transcript with its signature, to be verified.
    pub transcript_json: String,
}

/// What a ceremony needs.
pub struct Ceremony {
    /// The configuration's text.
    pub config: String,
    /// Who watches.
    pub witnesses: Vec<String>,
    /// The PIN of a token that has one; made here otherwise.
    pub pin: Option<Zeroizing<String>>,
}

/// Sets the machine up.
pub struct Provisioner {
    pub(super) site: Site,
    pub(super) vault: Vault,
    program: PathBuf,
    /// One step at a time.
    pub(super) turn: Mutex<()>,
    /// Rings when something was done.
    pub done: Arc<Notify>,
}

impl Provisioner {
    /// Sets up the machine whose places these are.
    ///
    /// # Errors
    /// When our own path is not known.
    pub fn new(site: Site, vault: Vault) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("our own path is not known")?;
        Ok(Self { site, vault, program, turn: Mutex::default(), done: Arc::default() })
    }

    /// Whether no ceremony was held on the machine.
    ///
    /// # Errors
    /// [`Problem`], when it cannot be told.
    pub fn is_new(&self) -> Result<bool, Problem> {
        let missing = self.site.missing().map_err(|error| problem::internal(&error))?;
        Ok(missing.contains(&Stage::Ceremony))
    }

    /// How far the machine is.
    ///
    /// # Errors
    /// [`Problem`], when it cannot be told.
    pub fn progress(&self) -> Result<Progress, Problem> {
        self.look().map_err(|error| problem::internal(&error))
    }

    fn look(&self) -> anyhow::Result<Progress> {
        let missing = self.site.missing()?;
        let mut progress = Progress {
            software: env!("CARGO_PKG_VERSION"),
            missing,
            member: None,
            authority: false,
            genesis: None,
            documents: None,
        };
        if self.site.ceremony_held() {
            let document = |name: &str| -> anyhow::Result<String> {
                let bytes = files::read(&self.site.data(name), MAX_DOCUMENT)?;
                String::from_utf8(bytes).with_context(|| format!("{name} is not text"))
            };
            let config = Config::load(&self.site.config())?;
            progress.authority = config.is_authority();
            progress.member = Some(config.member.name);
            progress.documents = Some(Documents {
                join: document("join.json")?,
                certificate_request: document("tls.csr")?,
                transcript: document("transcript.txt")?,
                transcript_json: document("transcript.json")?,
            });
        }
        if self.site.genesis().exists() {
            progress.genesis = Some(config::read_genesis(&self.site.genesis())?.digest());
        }
        Ok(progress)
    }

    /// Holds the key ceremony.
    ///
    /// # Errors
    /// [`Problem`]; then nothing was kept but PINs that a token may have.
    pub async fn ceremony(&self, ceremony: Ceremony) -> Result<Progress, Problem> {
        let _turn = self.turn.lock().await;
        let config = check_config(&self.site, &ceremony.config)?;
        if self.site.ceremony_held() {
            self.change_config(&config, &ceremony.config)?;
            return self.progress();
        }
        check_witnesses(&ceremony.witnesses)?;
        if let Some(pin) = &ceremony.pin {
            Pin::new(pin.clone())
                .map_err(|error| Problem::new(Code::PinRefused, error.to_string()))?;
        }
        self.hold(&ceremony).await?;
        tracing::info!(
            member = %config.member.name, witnesses = ?ceremony.witnesses, "key ceremony held"
        );
        self.done.notify_one();
        self.progress()
    }

    /// After the ceremony and before the genesis file, a configuration may still
    /// be mended in all that the ceremony did not use.
    fn change_config(&self, config: &Config, text: &str) -> Done {
        let internal = |error: anyhow::Error| problem::internal(&error);
        let path = self.site.config();
        if config::text(&path).map_err(internal)? == text {
            return Ok(());
        }
        let held = |what: &str| Problem::new(Code::CeremonyHeld, what);
        if self.site.genesis().exists() {
            return Err(held(
                "the machine is set up with another configuration; an administrator changes it with \
                 `hufu config apply`",
            ));
        }
        let old = Config::load(&path).map_err(internal)?;
        if !same_keys(&old, config) || old.services.names != config.services.names {
            return Err(held(
                "member, token.module, token.label and services.names must stay as they were in \
                 the ceremony; another ceremony needs a factory reset",
            ));
        }
        self.site.write(&path, text.as_bytes()).map_err(internal)?;
        tracing::info!("configuration changed");
        Ok(())
    }

    async fn hold(&self, ceremony: &Ceremony) -> Done {
        let internal = |error: anyhow::Error| problem::internal(&error);
        let sealed = match self.vault.has(vault::PIN) {
            true => Some(self.vault.open(vault::PIN).await.map_err(internal)?),
            false => None,
        };
        let pin = match (&ceremony.pin, &sealed) {
            (Some(given), _) => given.clone(),
            (None, Some(sealed)) => sealed.clone(),
            (None, None) => code::random(PIN_LENGTH).map_err(internal)?,
        };
        let so_pin = match self.vault.has(vault::SO_PIN) {
            true => self.vault.open(vault::SO_PIN).await,
            false => code::random(PIN_LENGTH),
        }
        .map_err(internal)?;
        self.vault.seal(vault::SO_PIN, &so_pin).await.map_err(internal)?;
        self.vault.seal(vault::PIN, &pin).await.map_err(internal)?;
        self.site.write(&self.site.config(), ceremony.config.as_bytes()).map_err(internal)?;

        let held = spawn::run_with(&[&pin, &so_pin], |numbers| {
            let mut command = as_node(&self.site, self.program.clone());
            command.args(["--json", "--pin-fd", &numbers[0], "init"]);
            command.args(["--so-pin-fd", &numbers[1]]);
            for witness in &ceremony.witnesses {
                command.arg("--witness").arg(witness);
            }
            command
        })
        .await;
        let Err(error) = held else { return Ok(()) };
        // What was refused leaves nothing behind: not the configuration, and
        // not a PIN that somebody else chose for the token.
        fs::remove_file(self.site.config())
            .context("the configuration that was refused")
            .map_err(internal)?;
        match (&ceremony.pin, &sealed) {
            (Some(_), Some(before)) => {
                self.vault.seal(vault::PIN, before).await.map_err(internal)?;
            }
            (Some(_), None) => fs::remove_file(self.vault.path(vault::PIN))
                .context("the PIN that was refused")
                .map_err(internal)?,
            (None, _) => {}
        }
        tracing::warn!(error = format!("{error:#}"), "the key ceremony did not succeed");
        Err(Problem::new(Code::CeremonyFailed, format!("{error:#}")))
    }

    /// Takes the genesis file. With `admitted` the consortium has taken the keys
    /// of this machine's ceremony in since it was founded, or will.
    ///
    /// # Errors
    /// [`Problem`]; then nothing was kept.
    pub async fn genesis(&self, bytes: &[u8], admitted: bool) -> Result<Progress, Problem> {
        let _turn = self.turn.lock().await;
        let internal = |error: anyhow::Error| problem::internal(&error);
        if !self.site.ceremony_held() {
            return Err(Problem::new(
                Code::TooEarly,
                "the key ceremony comes before the genesis file",
            ));
        }
        let path = self.site.genesis();
        if path.exists() {
            if files::read(&path, MAX_GENESIS as u64).map_err(internal)? == bytes {
                return self.progress();
            }
            return Err(Problem::new(
                Code::GenesisSet,
                "the machine is a member of another consortium; that takes a factory reset",
            ));
        }
        let genesis = Genesis::from_json(bytes)
            .map_err(|error| Problem::new(Code::GenesisRefused, error.to_string()))?;
        let join = files::read(&self.site.data("join.json"), MAX_JOIN as u64).map_err(internal)?;
        let join = JoinRequest::from_json(&join).map_err(internal)?;
        let config = Config::load(&self.site.config()).map_err(internal)?;
        if !admitted {
            check_founder(&genesis, &join)?;
        }
        check_addresses(&genesis, &config)?;
        self.site.write(&path, bytes).map_err(internal)?;
        tracing::info!(genesis = %genesis.digest(), consortium = %genesis.consortium, "provisioned");
        self.done.notify_one();
        self.progress()
    }

    /// Passes the TLS certificate chain to the node. The authority's node needs
    /// none: it certifies itself.
    ///
    /// # Errors
    /// [`Problem`]; the node's own words when it refuses the certificate.
    pub async fn certificate(&self, chain: &str) -> Result<Progress, Problem> {
        let _turn = self.turn.lock().await;
        let config = self.certifiable()?;
        let own;
        let chain = match chain.trim() {
            "" if config.is_authority() => {
                let csr = files::read(&self.site.data("tls.csr"), MAX_DOCUMENT)
                    .map_err(|error| problem::internal(&error))?;
                let csr = String::from_utf8_lossy(&csr);
                own = self.issue(&config, NODE_PROFILE, &[], &csr).await?;
                own.as_str()
            }
            "" => {
                return Err(Problem::new(
                    Code::ChainRefused,
                    "the body is empty: send the chain that the authority issued for tls.csr",
                ));
            }
            _ => chain,
        };
        self.node("/tls", &json!({ "chain": chain })).await?;
        tracing::info!("TLS certificate installed");
        self.done.notify_one();
        self.progress()
    }

    /// Approves the key of the member's first administrator, which nobody else
    /// can: afterwards administrators approve others. The authority's own is
    /// certified, too (PEM): everybody else asks the authority, and it must be
    /// asked by somebody.
    ///
    /// # Errors
    /// [`Problem`]; the node's own words when it refuses the request.
    pub async fn administrator(&self, csr: &str) -> Result<Option<String>, Problem> {
        let _turn = self.turn.lock().await;
        let config = self.certifiable()?;
        let role = hufu_issuance::Role::Administrator.name();
        let approval = json!({ "csr": csr, "roles": [role], "until_ms": null });
        let answer = self.node("/approvals", &approval).await?;
        if answer["outcome"] != "accepted" {
            let detail = format!("the ledger did not take the approval: {}", answer["outcome"]);
            return Err(Problem::new(Code::ChainRefused, detail));
        }
        tracing::info!("the member's first administrator is approved");
        if !config.is_authority() {
            return Ok(None);
        }
        let roles = [hufu_issuance::Role::Administrator.name()];
        let chain = self.issue(&config, CLIENT_PROFILE, &roles, csr).await?;
        tracing::info!("the authority's first administrator has a certificate");
        Ok(Some(chain))
    }

    /// The configuration, when nothing but certificates is missing.
    fn certifiable(&self) -> Result<Config, Problem> {
        let missing = self.site.missing().map_err(|error| problem::internal(&error))?;
        if missing.iter().any(|stage| *stage != Stage::Certificate) {
            return Err(Problem::new(Code::TooEarly, "the genesis file comes before certificates"));
        }
        Config::load(&self.site.config()).map_err(|error| problem::internal(&error))
    }

    async fn issue(
        &self,
        config: &Config,
        profile: &str,
        roles: &[&str],
        csr: &str,
    ) -> Result<String, Problem> {
        let request = json!({
            "profile": profile, "member": config.member.name, "roles": roles, "csr": csr,
        });
        let issued = self.node("/certificates", &request).await?;
        issued["chain"].as_str().map(str::to_owned).ok_or_else(|| {
            problem::internal(&anyhow::anyhow!("the node issued a certificate without a chain"))
        })
    }

    /// Asks the node, which may not be up or may wait for the others.
    async fn node(&self, path: &str, body: &Value) -> Result<Value, Problem> {
        let socket = Client::admin(&self.site.data("admin.sock"));
        match tokio::time::timeout(PATIENCE, socket.post::<Value>(path, body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if is_no(&error) => {
                Err(Problem::new(Code::ChainRefused, format!("{error:#}")))
            }
            other => {
                let why = match other {
                    Ok(Err(error)) => format!("{error:#}"),
                    _ => "it waits for the other members' nodes".to_owned(),
                };
                tracing::warn!(why, "the node does not answer yet");
                let detail = format!(
                    "the node is starting, or waits for the others; try again, and see what the \
                     console says of it ({why})"
                );
                Err(Problem::new(Code::NodeNotReady, detail).retry_after(Duration::from_secs(2)))
            }
        }
    }
}

fn is_no(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Ending>().is_some_and(|ending| ending.exit == Exit::No)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::tests::config;
    use crate::vault::Seal;

    #[tokio::test]
    async fn stages_come_in_their_order_and_a_refused_one_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let site = Site::new(root.path(), None);
        site.prepare().unwrap();
        let vault = Vault::new(Seal::Null, site.credentials());
        let machine = Provisioner::new(site.clone(), vault).unwrap();
        assert_eq!(machine.progress().unwrap().missing.len(), 3);
        assert_eq!(machine.genesis(b"{}", false).await.unwrap_err().code().as_str(), "too-early");
        assert_eq!(machine.certificate("").await.unwrap_err().code().as_str(), "too-early");
        let ceremony = Ceremony {
            config: config(&site),
            witnesses: vec!["one".to_owned(), "two".to_owned()],
            pin: Some(Zeroizing::new("a\nb".to_owned())),
        };
        assert_eq!(machine.ceremony(ceremony).await.unwrap_err().code().as_str(), "pin-refused");
        assert!(!site.config().exists());
        assert_eq!(fs::read_dir(site.credentials()).unwrap().count(), 0);
    }
}
