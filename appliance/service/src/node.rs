//! What the parts of a running node share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::{certificates, files};
use hufu_contract::Sources;
use hufu_door::certificate::NodeCertificate;
use hufu_door::{Chains, Code, Problem};
use hufu_gateway::Numbers;
use hufu_keys::{Custody, Key};
use hufu_node::{Ledger, Participation};
use hufu_proof::{Digest, Genesis, Height, Name, Receipt, Serial};
use hufu_readmodel::Scope;
use serde_json::{Value, json};

use crate::archive::Archive;
use crate::authority::Authority;
use crate::clock;
use crate::cluster::Cluster;
use crate::confined;
use crate::growth::Growth;
use crate::health::Health;
use crate::renewal;
use crate::submit::Submitter;
use crate::supervision::Supervision;

/// How long the proof of a receipt or of a state is waited for: it is in one of the
/// next headers.
pub const RECEIPT: Duration = Duration::from_secs(10);

/// A running node.
pub struct Node {
    /// Its configuration.
    pub config: Config,
    /// Where the process answers that owns the machine, on an appliance.
    pub machine: PathBuf,
    /// The consortium.
    pub genesis: Genesis,
    /// Its ledger.
    pub ledger: Ledger,
    /// Signs transactions for the member.
    pub submitter: Submitter,
    /// How it is.
    pub health: Arc<Health>,
    /// How the cluster is that has its record, where one has.
    pub cluster: Option<Arc<Cluster>>,
    /// Its token.
    pub custody: Custody,
    /// Its TLS key.
    pub tls_key: Key,
    /// Its TLS certificate.
    pub certificate: Arc<NodeCertificate>,
    /// Whose certificates its doors take.
    pub chains: Arc<Chains>,
    /// Rings when the first TLS certificate is installed.
    pub certified: tokio::sync::watch::Sender<bool>,
    /// The read model and what is asked of it.
    pub supervision: Supervision,
    /// Lets go of what is older than it keeps.
    pub growth: Growth,
    /// Where that goes first, and is read.
    pub archive: Option<Arc<Archive>>,
    /// The certification authority, at the member that runs it.
    pub authority: OnceLock<Authority>,
}

impl Node {
    /// What `hufu status` shows.
    pub fn status(&self) -> Value {
        let condition = self.health.condition();
        let ledger = self.ledger.status();
        let applied = self.ledger.committed();
        let view = ledger.ordering.view;
        let members: Vec<String> =
            ledger.ordering.members.iter().map(|member| said_of(member, view)).collect();
        let counters = self.custody.counters();
        // Of ordering, who only reads has nothing to say.
        let votes = |said: Value| if self.ledger.follows() { Value::Null } else { said };
        let archive = self.archive.as_ref();
        let archive = archive.map(|archive| archive.status(self.ledger.reader()));
        let store = self.cluster.as_ref().map(|cluster| cluster.shown());
        json!({
            "member": self.config.member.name,
            "part": if self.ledger.follows() { "front-end" } else { "validator" },
            "standings": self.standings(),
            "software": env!("CARGO_PKG_VERSION"),
            "state": condition.state,
            "since_ms": condition.since_ms,
            "reasons": condition.reasons,
            "warnings": condition.warnings,
            "consortium": {
                "name": self.genesis.consortium,
                "genesis": self.genesis.digest(),
            },
            "ledger": {
                "height": applied.height,
                "kept_from": self.ledger.reader().kept_from(),
                "final_height": self.final_height(),
                "state_root": applied.state_root,
                "log_size": applied.log_size,
                "log_root": applied.log_root,
                "epoch": self.ledger.reader().epoch().number,
                "view": votes(json!(view)),
                "waiting": votes(json!(ledger.waiting)),
            },
            "validators": votes(json!(members)),
            "clock": votes(clock::shown(&ledger.ordering)),
            "recorded_today": self.recorded_today(),
            "without_address": votes(json!(ledger.unreachable)),
            "token": {
                "state": self.custody.status().name(),
                "signatures": counters.signatures,
            },
            "store": store.unwrap_or_else(|| json!({ "engine": "embedded" })),
            "archive": archive,
            "read_model": { "height": self.supervision.height() },
            "tls_certificate": self.certificate.current().is_some(),
            "certificates": renewal::standing(self)
                .iter()
                .map(|one| json!({ "name": one.name, "not_after": one.not_after.to_string() }))
                .collect::<Vec<Value>>(),
        })
    }

    /// The members that are not in good standing, and since when.
    fn standings(&self) -> Value {
        let standings = self.ledger.reader().state().and_then(|state| state.standings());
        match standings {
            Ok(standings) => {
                let others = standings
                    .of
                    .into_iter()
                    .filter(|(_, one)| one.standing != hufu_proof::Standing::Good);
                let said = |(name, one): (Name, hufu_machine::record::StandingRecord)| {
                    let said = format!("{} since height {}", one.standing.as_str(), one.since);
                    (name.to_string(), json!(said))
                };
                Value::Object(others.map(said).collect())
            }
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    /// The last height that is known to be final: of who only reads, the last one
    /// that it has.
    pub fn final_height(&self) -> Height {
        match self.ledger.follows() {
            true => self.ledger.committed().height,
            false => self.ledger.status().ordering.final_height,
        }
    }

    /// Bytes that were recorded of each member today, and how many may be.
    fn recorded_today(&self) -> Value {
        match self.ledger.recorded_today() {
            Ok(today) => {
                let member = |(name, bytes): (Name, u64)| (name.to_string(), json!(bytes));
                let members: serde_json::Map<_, _> =
                    today.members.into_iter().map(member).collect();
                json!({
                    "bytes": members,
                    "most_of_a_member": today.budget.member_bytes,
                    "most_of_an_identity": today.budget.identity_bytes,
                    "quotas": (!today.quotas.is_unlimited()).then_some(today.quotas),
                })
            }
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    /// Who of the validators has not voted lately, in alphabetical order.
    pub fn missing(&self) -> Vec<String> {
        let ordering = self.ledger.status().ordering;
        let mut missing: Vec<String> = ordering
            .members
            .into_iter()
            .filter(|member| {
                member.member != self.config.member.name.as_str()
                    && is_missing(member, ordering.view)
            })
            .map(|member| member.member)
            .collect();
        missing.sort_unstable();
        missing
    }

    /// A receipt; waits until a header covers the transaction. `None` when the
    /// ledger does not have it.
    ///
    /// # Errors
    /// When the store fails, or no header covers it in time.
    pub async fn receipt(&self, transaction: Digest) -> anyhow::Result<Option<Receipt>> {
        let reader = self.ledger.reader();
        if reader.entry(&transaction)?.is_none() {
            return Ok(None);
        }
        let mut applied = self.ledger.applied();
        let proved = async {
            loop {
                if let Some(found) = self.transaction(&transaction)?
                    && let Some(receipt) = reader.receipt_of(found)?
                {
                    return Ok(Some(receipt));
                }
                applied.changed().await.context("the node stops")?;
            }
        };
        tokio::time::timeout(RECEIPT, proved)
            .await
            .unwrap_or_else(|_| Err(hufu_node::Error::Pending.into()))
    }

    /// Contracts and open proposals.
    ///
    /// # Errors
    /// When the store fails.
    pub fn contracts(&self) -> anyhow::Result<Value> {
        let state = self.ledger.reader().state()?;
        let contracts: Vec<Value> = state
            .contracts()?
            .into_iter()
            .map(|(name, record)| {
                json!({
                    "name": name, "version": record.version,
                    "digest": record.digest, "since": record.since,
                })
            })
            .collect();
        let proposals: Vec<Value> = state
            .proposals()?
            .into_iter()
            .map(|(digest, record)| json!({ "digest": digest, "proposal": record }))
            .collect();
        Ok(json!({ "contracts": contracts, "proposals": proposals }))
    }

    /// Checks a package as `hufu policy check` does, against what is deployed:
    /// before it is proposed, so that its author hears what is wrong, and
    /// before this member approves it. The ledger's own rules do not look at
    /// controls, which take no part in execution.
    ///
    /// # Errors
    /// Every problem, a line each.
    pub async fn check_package(&self, package: Vec<u8>) -> anyhow::Result<()> {
        let reader = self.ledger.reader().clone();
        let place = self.supervision.workers().place().ok_or_else(hufu_gateway::busy)?;
        let (_hold, leash) = hufu_query::leash();
        let lines = tokio::task::spawn_blocking(move || {
            let sources = Sources::from_bytes(&package)?;
            let mut active = BTreeMap::new();
            for (name, record) in reader.state()?.contracts()? {
                let package = reader.package(&record.digest)?.context("a deployed package")?;
                active.insert(name, Sources::from_bytes(&package)?);
            }
            let deployed = hufu_check::named(&sources).and_then(|name| active.remove(&name));
            // What the package requires, and what that requires.
            let mut names = hufu_contract::required_names(&sources);
            names.extend(deployed.iter().flat_map(hufu_contract::required_names));
            let mut required = Vec::new();
            while let Some(name) = names.pop() {
                if let Some(package) = active.remove(&name) {
                    names.extend(hufu_contract::required_names(&package));
                    required.push(package);
                }
            }
            confined::check((place, leash), &sources, &required, deployed.as_ref())
        })
        .await??;
        if lines.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Code::PackageRefused, lines.join("\n")).into())
    }

    /// Certificates from the ledger, those in `scope`, the newest first.
    ///
    /// # Errors
    /// When the read model fails.
    pub async fn certificates(
        &self,
        scope: Scope,
        member: Option<Name>,
        limit: u32,
    ) -> anyhow::Result<Value> {
        // A name has only letters, digits, `-` and `_`.
        let filter = member.map(|name| format!("WHERE owner = '{name}'")).unwrap_or_default();
        let sql = format!(
            "SELECT serial, status, profile, owner, subject FROM ledger.certificates {filter} \
             ORDER BY recorded DESC, serial LIMIT {}",
            limit.min(1000)
        );
        let (_hold, leash) = hufu_query::leash();
        let answer = self.supervision.query(sql, None, scope, Numbers::Exact, leash).await?;
        let columns: Vec<String> = serde_json::from_value(answer["columns"].clone())?;
        let rows: Vec<Vec<Value>> = serde_json::from_value(answer["rows"].clone())?;
        let rows: Vec<Value> = rows
            .into_iter()
            .map(|row| Value::Object(columns.iter().cloned().zip(row).collect()))
            .collect();
        Ok(Value::Array(rows))
    }

    /// The authority of this node.
    ///
    /// # Errors
    /// When another member runs it.
    pub fn authority(&self) -> anyhow::Result<&Authority> {
        self.authority.get().ok_or_else(|| {
            let detail = format!("ask at the node of member `{}`", self.genesis.authority.member);
            Problem::new(Code::NotTheAuthority, detail).into()
        })
    }

    /// The serial number of the node's TLS certificate, once it has one.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn tls_serial(&self) -> anyhow::Result<Option<Serial>> {
        let current = self.certificate.current();
        let Some(leaf) = current.as_ref().and_then(|current| current.cert.first()) else {
            return Ok(None);
        };
        let certificate =
            hufu_issuance::Certificate::from_der(leaf).context("the TLS certificate")?;
        Ok(Some(Serial::new(certificate.serial().as_bytes())?))
    }

    /// Takes the TLS certificate chain that is in the data directory, if one is.
    ///
    /// # Errors
    /// As [`Self::install_certificate`].
    pub fn take_certificate(&self) -> anyhow::Result<()> {
        let path = self.config.tls_chain();
        if path.exists() {
            let chain = std::fs::read_to_string(&path)?;
            let installed = self.install_certificate(&chain);
            installed.with_context(|| format!("in {}", path.display()))?;
        }
        Ok(())
    }

    /// Installs the node's TLS certificate chain.
    ///
    /// # Errors
    /// When it is not for the token's TLS key.
    pub fn install_certificate(&self, chain: &str) -> anyhow::Result<()> {
        let certificates = certificates::in_pem(chain.as_bytes())?;
        let certified = hufu_keys::certified_key(&self.tls_key, certificates)
            .context("the certificate is not for the TLS key in this node's token")?;
        files::write(&self.config.tls_chain(), chain.as_bytes())?;
        self.certificate.install(certified);
        self.certified.send_replace(true);
        Ok(())
    }
}

/// A validator that has not voted for this many views is missing.
const MISSING_VIEWS: u64 = 20;

/// One that says nothing for so long is missing, too: when too many are gone,
/// there are no more views.
const SILENCE: Duration = Duration::from_secs(8);

fn is_missing(member: &Participation, view: u64) -> bool {
    // A node does not send itself anything.
    let silent = !member.own && member.last_heard.elapsed().is_ok_and(|since| since > SILENCE);
    silent || member.last_view.is_none_or(|last| last + MISSING_VIEWS < view)
}

/// What `hufu status` says of a validator.
fn said_of(member: &Participation, view: u64) -> String {
    let name = &member.member;
    match member.last_view {
        _ if !is_missing(member, view) => format!("{name} votes"),
        Some(last) if member.own => format!("{name} (this node) has not voted since view {last}"),
        None if member.own => format!("{name} (this node) has not voted since it started"),
        Some(last) => format!("{name} missing since view {last}"),
        None => format!("{name} not heard of"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_node_says_of_itself_that_it_votes() {
        let long_ago = SystemTime::UNIX_EPOCH;
        let member = |own, last_view, last_heard| Participation {
            member: "maker".to_owned(),
            own,
            last_view,
            last_heard,
            clock: None,
        };
        // It hears nothing of itself, however long it runs.
        assert_eq!(said_of(&member(true, Some(99), long_ago), 100), "maker votes");
        let abstains = said_of(&member(true, Some(9), long_ago), 100);
        assert_eq!(abstains, "maker (this node) has not voted since view 9");
        let never = said_of(&member(true, None, long_ago), 100);
        assert_eq!(never, "maker (this node) has not voted since it started");
        assert_eq!(said_of(&member(false, Some(99), SystemTime::now()), 100), "maker votes");
        let gone = said_of(&member(false, Some(99), long_ago), 100);
        assert_eq!(gone, "maker missing since view 99");
    }
}
