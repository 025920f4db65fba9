//! The way into the pipeline: one job for each request and key, and the
//! recovery of what an earlier run, or a failure, left pending.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use der::Encode;
use futures::FutureExt;
use tokio::sync::oneshot;
use x509_cert::TbsCertificate;

use super::{Issuance, Waiting};
use crate::algorithm::{PublicKey, strict};
use crate::attestation::AttestedKey;
use crate::batch::{self, Job};
use crate::error::CaError;
use crate::ledger::{IssuanceEntry, LedgerFault};
use crate::limits;
use crate::store::Issued;
use crate::time::UnixTime;

impl Issuance {
    /// Finishes what is pending in the store: each entry is recorded (again)
    /// and signed. Returns how many certificates came of it.
    ///
    /// # Errors
    /// The first failure; what is then still pending is tried again in the
    /// background.
    pub async fn recover(&self) -> Result<usize, CaError> {
        let mut finished = 0;
        loop {
            let rows = self.0.store.pending(limits::BATCH)?;
            let mut waiting = Vec::new();
            for row in rows {
                if self.in_flight().requests.contains_key(&row.request) {
                    continue;
                }
                let entry = entry_of(&row)?;
                waiting.push(self.submit(row, entry, true, None)?);
            }
            if waiting.is_empty() {
                return Ok(finished);
            }
            let mut failed = None;
            for outcome in futures::future::join_all(waiting).await {
                match outcome {
                    Ok(_) => finished += 1,
                    // A refused entry is gone from the store: that is an end.
                    Err(error)
                        if matches!(*error, CaError::Ledger(LedgerFault::Refused { .. })) => {}
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error.echo());
            }
        }
    }

    pub(super) fn recover_in_background(&self) {
        if self.0.recovering.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                let Some(inner) = inner.upgrade() else { return };
                let issuance = Issuance(inner);
                match issuance.recover().await {
                    Ok(0) => break,
                    Ok(finished) => {
                        tracing::info!(finished, "finished pending issuances");
                        break;
                    }
                    Err(CaError::Stopping | CaError::StorePoisoned | CaError::Store(_)) => break,
                    Err(error) => tracing::warn!(%error, "pending issuances are tried again"),
                }
                drop(issuance);
                tokio::time::sleep(batch::AGAIN).await;
            }
            if let Some(inner) = inner.upgrade() {
                inner.recovering.store(false, Ordering::Release);
            }
        });
    }

    /// Hands a job to the pipeline; or joins the one for the same request.
    pub(super) fn submit(
        &self,
        row: Issued,
        entry: IssuanceEntry,
        stored: bool,
        attested: Option<AttestedKey>,
    ) -> Result<Waiting, CaError> {
        if self.0.store.is_poisoned() {
            return Err(CaError::StorePoisoned);
        }
        let (request, key) = (row.request, row.key);
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let jobs = jobs.ok_or(CaError::Stopping)?;
        let mut in_flight = self.in_flight();
        if let Some(waiting) = in_flight.requests.get(&request) {
            // Two came at once and passed all checks: the second gives back
            // what it took and waits with the first.
            if !stored {
                self.0.quotas.give_back(&row.owner, &row.profile, row.created);
                if let Some(attested) = attested {
                    self.0.attestations.put_back(attested);
                }
            }
            return Ok(waiting.clone());
        }
        if in_flight.keys.contains_key(&key) {
            return Err(CaError::Busy);
        }
        let place = self.0.places.clone().try_acquire_owned().map_err(|_| CaError::Busy)?;
        let (done, outcome) = oneshot::channel();
        let job = Job { row, entry, stored, attested, done, place: Some(place) };
        let inner = self.0.clone();
        // A task of its own, so that a caller that goes away changes nothing.
        let task = tokio::spawn(async move {
            let outcome = match jobs.send(job).await {
                Ok(()) => outcome.await.unwrap_or_else(|_| {
                    Err(Arc::new(CaError::Internal("a batch ended without an answer")))
                }),
                Err(_) => Err(Arc::new(CaError::Stopping)),
            };
            let issuance = Issuance(inner);
            let mut in_flight = issuance.in_flight();
            in_flight.requests.remove(&request);
            in_flight.keys.remove(&key);
            drop(in_flight);
            if outcome.as_ref().is_err_and(|error| error.is_ours()) {
                issuance.recover_in_background();
            }
            outcome
        });
        let waiting: Waiting = async move {
            task.await
                .unwrap_or_else(|_| Err(Arc::new(CaError::Internal("an issuance task ended"))))
        }
        .boxed()
        .shared();
        in_flight.requests.insert(request, waiting.clone());
        in_flight.keys.insert(key, request);
        Ok(waiting)
    }
}

/// The ledger entry of a stored row, from its TBS.
pub(super) fn entry_of(row: &Issued) -> Result<IssuanceEntry, CaError> {
    let tbs: TbsCertificate = strict("stored TBSCertificate", &row.tbs)?;
    let spki = tbs.subject_public_key_info().to_der().map_err(CaError::encoding)?;
    Ok(IssuanceEntry {
        serial: row.serial.clone(),
        profile: row.profile.clone(),
        tbs: row.tbs.clone(),
        public_key: PublicKey::from_spki_der(&spki)?,
        subject: row.subject.clone(),
        owner: row.owner.clone(),
        not_before: UnixTime::from_x509(&tbs.validity().not_before),
        not_after: UnixTime::from_x509(&tbs.validity().not_after),
        attestation: row.attestation,
    })
}
