//! The root's revocation list: which issuing certificates are revoked.
//!
//! It is made in the ceremony, lies in the data directory and is served with the
//! issuing authority's. Where the token holds the root's key, the node makes a
//! new one when half the life of the last is over; where the key is kept apart,
//! an operator does with `hufu cert root-list`, and the log says so in time.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::keyring::{self, label};
use hufu_configuration::time::now_ms;
use hufu_configuration::{Config, files};
use hufu_issuance::{
    Certificate, ROOT_LIST_LIFE, Revocation, RevocationList, RevocationReason, TokenSigner,
    UnixTime,
};
use hufu_keys::Custody;
use hufu_protocols::status::RootList;

use crate::serving::Serving;

/// Its file in the data directory, DER.
pub const ROOT_LIST: &str = "root.crl";

/// How often its age is looked at.
const LOOK: Duration = Duration::from_secs(3600);

/// How long before the end of a list that cannot be renewed here the log warns.
const WARN: Duration = Duration::from_secs(30 * 86_400);

/// Makes, keeps and serves the list.
pub struct RootLists {
    root: Certificate,
    /// The root's key, where this token holds it.
    signer: Option<TokenSigner>,
    file: PathBuf,
    served: RootList,
    /// One list is made at a time.
    making: tokio::sync::Mutex<()>,
}

impl RootLists {
    /// Reads the last list and sees which key there is.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open(
        config: &Config,
        custody: &Custody,
        root: Certificate,
        part: Serving,
    ) -> anyhow::Result<Arc<Self>> {
        let file = config.data(ROOT_LIST);
        let last = match file.exists() {
            true => {
                let der = files::read(&file, hufu_issuance::limits::ROOT_LIST as u64)?;
                let list = RevocationList::from_der(&der)
                    .with_context(|| format!("in {}", file.display()))?;
                Some(Arc::new(list))
            }
            false => None,
        };
        // A front-end serves the list that is given to it.
        let key = (part == Serving::Validator).then(|| keyring::key(custody, label::ROOT).ok());
        let signer = key.flatten().map(TokenSigner::new).transpose()?;
        let served = RootList::default();
        *served.write().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(Arc::new(Self { root, signer, file, served, making: tokio::sync::Mutex::default() }))
    }

    /// The list as the status service serves it.
    pub fn served(&self) -> RootList {
        self.served.clone()
    }

    /// Keeps it new until the returned task is aborted.
    pub fn keep_current(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let lists = self.clone();
        tokio::spawn(async move {
            loop {
                let now = UnixTime::from(now_ms());
                let left = lists.last().map(|list| now.until(list.next_update));
                if left.is_none_or(|left| left < ROOT_LIST_LIFE / 2) {
                    if lists.signer.is_some() {
                        if let Err(error) = lists.make(None).await {
                            tracing::warn!("no new revocation list of the root: {error:#}");
                        }
                    } else if left.is_none_or(|left| left < WARN) {
                        tracing::warn!(
                            days = left.unwrap_or_default().as_secs() / 86_400,
                            "the root's revocation list ends soon, and its key is not in this token"
                        );
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    /// The root's key, where this token holds it.
    pub fn signer(&self) -> Option<&TokenSigner> {
        self.signer.as_ref()
    }

    /// Whether a certificate is on the last list.
    pub fn has(&self, certificate: &Certificate) -> bool {
        self.last().is_some_and(|list| {
            list.entries().iter().any(|one| one.serial == *certificate.serial())
        })
    }

    /// Makes a list now; with `revoke`, those issuing certificates are on it from
    /// now on, which ends all that was issued under them.
    ///
    /// # Errors
    /// The token does not hold the root's key or does not sign, all of them are
    /// revoked, or the file cannot be written.
    pub async fn make(
        &self,
        revoke: Option<(RevocationReason, Vec<Certificate>)>,
    ) -> anyhow::Result<Arc<RevocationList>> {
        let signer = self
            .signer
            .as_ref()
            .context("the root's key is not in this token; make the list where it is kept")?;
        let _one = self.making.lock().await;
        let now = UnixTime::from(now_ms());
        let last = self.last();
        let mut revoked: Vec<Revocation> =
            last.iter().flat_map(|list| list.entries()).cloned().collect();
        if let Some((reason, issuing)) = revoke {
            add(&mut revoked, reason, &issuing, now)?;
        }
        // Higher than any before, also where the last one was lost.
        let number = last.map_or(0, |list| list.number).saturating_add(1).max(now.seconds());
        let list = hufu_issuance::root_list(&self.root, signer, number, now, revoked).await?;
        let list = Arc::new(list);
        files::write(&self.file, &list.der)?;
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Some(list.clone());
        tracing::info!(number, entries = list.len(), "revocation list of the root made");
        Ok(list)
    }

    fn last(&self) -> Option<Arc<RevocationList>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Puts certificates on a list, or gives those that are on it another reason.
fn add(
    revoked: &mut Vec<Revocation>,
    reason: RevocationReason,
    issuing: &[Certificate],
    now: UnixTime,
) -> anyhow::Result<()> {
    let mut before = None;
    let mut changed = false;
    for certificate in issuing {
        let serial = certificate.serial();
        match revoked.iter_mut().find(|entry| entry.serial == *serial) {
            Some(entry) if entry.reason.may_become(reason) => {
                entry.reason = reason;
                changed = true;
            }
            Some(entry) => before = Some((entry.at, entry.reason)),
            None => {
                let (serial, not_after) = (serial.clone(), certificate.not_after());
                revoked.push(Revocation { serial, at: now, reason, not_after });
                changed = true;
            }
        }
    }
    match before {
        Some((at, reason)) if !changed => {
            anyhow::bail!("the issuing certificate was revoked at {at} for {reason}")
        }
        _ => Ok(()),
    }
}
