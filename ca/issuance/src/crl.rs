//! The certificate revocation list (RFC 5280 section 5): complete, version 2,
//! signed by the issuing key.
//!
//! It is made again when a revocation is announced, when half its life is
//! over, and when the ledger was changed by someone else within a minute. Its
//! number is taken from the store before it is signed, so that two lists never
//! have the same. While the ledger or the token is away the last list stays.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::batch::blocking;
use crate::build::authority_key_identifier;
use crate::error::CaError;
use crate::issuance::Issuance;
use crate::ledger::{Revocation, RevocationReason};
use crate::signer::sign_checked;
use crate::time::UnixTime;
use crate::{oid, tlv};

use der::Encode;

/// Name of the counter in the store.
pub(crate) const COUNTER: &str = "crl_number";

/// How often the ledger is asked whether something was revoked elsewhere.
const LOOK: Duration = Duration::from_secs(60);

/// A signed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// The list, DER.
    pub der: Vec<u8>,
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub this_update: UnixTime,
    /// When its successor is due at the latest.
    pub next_update: UnixTime,
    entries: Vec<Revocation>,
}

impl Crl {
    /// How many certificates are on it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Makes and holds the list.
pub struct CrlPublisher {
    issuance: Issuance,
    life: Duration,
    current: RwLock<Option<Arc<Crl>>>,
    /// One list is made at a time.
    making: tokio::sync::Mutex<()>,
}

impl CrlPublisher {
    /// Lists live for `life` (from thisUpdate to nextUpdate); half of that is
    /// their usual age at most. At least a minute.
    pub fn new(issuance: Issuance, life: Duration) -> Arc<CrlPublisher> {
        Arc::new(CrlPublisher {
            issuance,
            life: life.max(Duration::from_secs(60)),
            current: RwLock::new(None),
            making: tokio::sync::Mutex::new(()),
        })
    }

    /// The current list; made now if there is none yet or it is past its half
    /// life.
    ///
    /// # Errors
    /// There is none and none can be made: ledger, token or store are away.
    pub async fn current(&self) -> Result<Arc<Crl>, CaError> {
        let now = self.issuance.clock().now();
        let current = self.held();
        match current {
            Some(crl) if now < crl.this_update.plus(self.life / 2) => Ok(crl),
            Some(crl) => Ok(self.make(false).await.unwrap_or(crl)),
            None => self.make(false).await,
        }
    }

    /// Makes a list now if the ledger holds other revocations than the last
    /// one, or that is past its half life; or in any case with `force`.
    pub async fn make(&self, force: bool) -> Result<Arc<Crl>, CaError> {
        let _one = self.making.lock().await;
        let now = self.issuance.clock().now();
        let mut entries = self.issuance.ledger().revoked().await.map_err(CaError::Ledger)?;
        entries.sort_by(|a, b| a.serial.cmp(&b.serial));
        entries.dedup_by(|a, b| a.serial == b.serial);
        if let Some(held) = self.held()
            && !force
            && held.entries == entries
            && now < held.this_update.plus(self.life / 2)
        {
            return Ok(held);
        }
        let store = self.issuance.store().clone();
        let number = blocking(move || store.next(COUNTER)).await?;
        let next_update = now.plus(self.life);
        let issuer = self.issuance.issuer();
        let algorithm = issuer.signer().algorithm().to_der();
        let tbs = tbs(
            issuer.subject_der(),
            issuer.key_identifier(),
            &algorithm,
            number,
            now,
            next_update,
            &entries,
        )?;
        let signature =
            sign_checked(&**issuer.signer(), issuer.certificate().public_key(), &tbs).await?;
        let der = tlv::signed(&tbs, &algorithm, &signature);
        let crl = Arc::new(Crl { der, number, this_update: now, next_update, entries });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(crl.clone());
        tracing::info!(number, entries = crl.len(), "certificate revocation list made");
        Ok(crl)
    }

    /// Keeps the list new until the returned task is aborted.
    pub fn keep_current(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let publisher = self.clone();
        tokio::spawn(async move {
            let mut revocations = publisher.issuance.revocations();
            loop {
                if let Err(error) = publisher.make(false).await {
                    tracing::warn!(%error, "no new certificate revocation list");
                }
                tokio::select! {
                    changed = revocations.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        })
    }

    fn held(&self) -> Option<Arc<Crl>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// TBSCertList, DER (RFC 5280 section 5.1.2).
fn tbs(
    issuer: &[u8],
    key_identifier: &[u8],
    algorithm: &[u8],
    number: u64,
    this_update: UnixTime,
    next_update: UnixTime,
    entries: &[Revocation],
) -> Result<Vec<u8>, CaError> {
    let time = |time: UnixTime| time.to_x509()?.to_der().map_err(CaError::encoding);
    let mut revoked = Vec::new();
    for entry in entries {
        let reason = reason(entry.reason);
        revoked.extend(tlv::sequence(&[&entry.serial.to_der(), &time(entry.at)?, &reason]));
    }
    // An empty list is left out (section 5.1.2.6).
    let revoked = if revoked.is_empty() { Vec::new() } else { tlv::sequence(&[&revoked]) };
    let extensions = tlv::sequence(&[
        &tlv::extension(
            &oid::AUTHORITY_KEY_IDENTIFIER,
            false,
            &authority_key_identifier(key_identifier),
        ),
        &tlv::extension(&oid::CRL_NUMBER, false, &tlv::unsigned(number)),
    ]);
    Ok(tlv::sequence(&[
        &tlv::unsigned(1),
        algorithm,
        issuer,
        &time(this_update)?,
        &time(next_update)?,
        &revoked,
        &tlv::wrap(tlv::context(0), &[&extensions]),
    ]))
}

/// crlEntryExtensions with the reason; unspecified says so by saying nothing
/// (section 5.3.1).
fn reason(reason: RevocationReason) -> Vec<u8> {
    if reason == RevocationReason::Unspecified {
        return Vec::new();
    }
    let value = tlv::wrap(tlv::ENUMERATED, &[&[reason.code()]]);
    tlv::sequence(&[&tlv::extension(&oid::REASON_CODE, false, &value)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Serial;
    use der::Decode;
    use x509_cert::crl::TbsCertList;

    #[test]
    fn the_list_is_what_x509_cert_reads() {
        let issuer =
            crate::subject::Subject::new([(crate::subject::Attribute::CN, "Issuing")]).unwrap();
        let algorithm = crate::algorithm::SignatureAlgorithm::EcdsaSha256.to_der();
        let now = UnixTime::from_seconds(1_800_000_000);
        let entries: Vec<Revocation> = RevocationReason::ALL
            .iter()
            .map(|reason| Revocation {
                serial: Serial::from_bytes(&[0x40 + reason.code(); 17]).unwrap(),
                at: now,
                reason: *reason,
            })
            .collect();
        for entries in [&entries[..], &[]] {
            let der = tbs(
                &issuer.to_der(),
                &[1; 20],
                &algorithm,
                7,
                now,
                now.plus(Duration::from_secs(60)),
                entries,
            )
            .unwrap();
            let list: TbsCertList = TbsCertList::from_der(&der).unwrap();
            assert_eq!(list.to_der().unwrap(), der);
            assert_eq!(list.revoked_certificates.map_or(0, |list| list.len()), entries.len());
        }
    }
}
