//! The way into the pipeline: one job for each request and key, and the
//! recovery of what an earlier run, or a failure, left pending.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use der::Encode;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use x509_cert::TbsCertificate;

use crate::algorithm::{PublicKey, strict};
use crate::error::CaError;
use crate::form::FormError;
use crate::ledger::{IssuanceEntry, LedgerFault};
use crate::limits;
use crate::pipeline::{self, Job, Outcome, Pipeline};
use crate::quota::Quotas;
use crate::record::Issued;
use crate::reservation::Reservation;
use crate::store::{Store, StoreError};
use crate::time::UnixTime;

/// What waits for a job.
pub(crate) type Waiting = Shared<BoxFuture<'static, Outcome>>;

/// Requests at work, by digest; and their keys.
#[derive(Default)]
struct InFlight {
    requests: HashMap<[u8; 32], Waiting>,
    keys: HashMap<[u8; 32], [u8; 32]>,
}

/// The queue.
pub(crate) struct Queue {
    store: Arc<Store>,
    quotas: Arc<Quotas>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    places: Arc<Semaphore>,
    in_flight: Mutex<InFlight>,
    pipeline: Mutex<Option<JoinHandle<()>>>,
    recovering: AtomicBool,
}

impl Queue {
    /// Starts the pipeline on the current runtime.
    pub(crate) fn start(pipeline: Pipeline, quotas: Arc<Quotas>) -> Arc<Queue> {
        let store = pipeline.store.clone();
        let (jobs, receiver) = mpsc::channel(limits::BATCH);
        let pipeline = tokio::spawn(pipeline::run(Arc::new(pipeline), receiver));
        Arc::new(Queue {
            store,
            quotas,
            jobs: Mutex::new(Some(jobs)),
            places: Arc::new(Semaphore::new(limits::IN_FLIGHT)),
            in_flight: Mutex::new(InFlight::default()),
            pipeline: Mutex::new(Some(pipeline)),
            recovering: AtomicBool::new(false),
        })
    }

    /// How many requests are at work.
    pub(crate) fn in_flight(&self) -> usize {
        self.at_work().requests.len()
    }

    /// The outcome of the same request, if it is at work.
    pub(crate) fn waiting(&self, request: &[u8; 32]) -> Option<Waiting> {
        self.at_work().requests.get(request).cloned()
    }

    /// Stops taking requests and waits for those at work.
    pub(crate) async fn stop(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let pipeline = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pipeline) = pipeline {
            let _ = pipeline.await;
        }
    }

    /// Finishes what is pending in the store: each entry is recorded (again)
    /// and signed. Returns how many certificates came of it.
    ///
    /// # Errors
    /// The first failure; what is then still pending is tried again in the
    /// background.
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<usize, CaError> {
        let mut finished = 0;
        loop {
            let rows = self.store.pending(limits::BATCH)?;
            let mut waiting = Vec::new();
            for row in rows {
                if self.at_work().requests.contains_key(&row.request) {
                    continue;
                }
                waiting.push(self.resume(row)?);
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

    /// Recovers until nothing is pending, in a task of its own.
    pub(crate) fn recover_in_background(self: &Arc<Self>) {
        if self.recovering.swap(true, Ordering::AcqRel) {
            return;
        }
        let queue = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(queue) = queue.upgrade() else { return };
                match queue.recover().await {
                    Ok(0) => break,
                    Ok(finished) => {
                        tracing::info!(finished, "finished pending issuances");
                        break;
                    }
                    Err(CaError::Stopping | CaError::Store(_)) => break,
                    Err(error) => tracing::warn!(%error, "pending issuances are tried again"),
                }
                drop(queue);
                tokio::time::sleep(pipeline::AGAIN).await;
            }
            if let Some(queue) = queue.upgrade() {
                queue.recovering.store(false, Ordering::Release);
            }
        });
    }

    /// Goes on with a row that is pending in the store. What it spent is
    /// counted there.
    pub(crate) fn resume(self: &Arc<Self>, row: Issued) -> Result<Waiting, CaError> {
        let entry = entry_of(&row)?;
        let quota = self.quotas.counted(&row.owner, &row.profile, row.created);
        let reservation = Reservation { quota, token: None, attestation: None };
        self.hand_in(row, entry, true, reservation)
    }

    /// Hands a new request to the pipeline; or joins the one that is the same.
    pub(crate) fn submit(
        self: &Arc<Self>,
        row: Issued,
        entry: IssuanceEntry,
        reservation: Reservation,
    ) -> Result<Waiting, CaError> {
        self.hand_in(row, entry, false, reservation)
    }

    fn hand_in(
        self: &Arc<Self>,
        row: Issued,
        entry: IssuanceEntry,
        stored: bool,
        reservation: Reservation,
    ) -> Result<Waiting, CaError> {
        // What is stored stays counted, whatever keeps it from going on.
        let refused = |reservation: Reservation, error: CaError| {
            if stored {
                reservation.keep();
            }
            Err(error)
        };
        if self.store.is_poisoned() {
            return refused(reservation, StoreError::Poisoned.into());
        }
        let (request, key) = (row.request, row.key);
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(jobs) = jobs else { return refused(reservation, CaError::Stopping) };
        let mut in_flight = self.at_work();
        if let Some(waiting) = in_flight.requests.get(&request) {
            // Two came at once and passed all checks: the second gives back
            // what it took and waits with the first.
            if stored {
                reservation.keep();
            }
            return Ok(waiting.clone());
        }
        if in_flight.keys.contains_key(&key) {
            return refused(reservation, CaError::Busy);
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return refused(reservation, CaError::Busy);
        };
        let (done, outcome) = oneshot::channel();
        let job = Job { row, entry, stored, reservation, done, place };
        let queue = self.clone();
        // A task of its own, so that a caller that goes away changes nothing.
        let task = tokio::spawn(async move {
            let outcome = match jobs.send(job).await {
                Ok(()) => outcome.await.unwrap_or_else(|_| {
                    Err(Arc::new(CaError::Internal("a batch ended without an answer")))
                }),
                Err(_) => Err(Arc::new(CaError::Stopping)),
            };
            let mut in_flight = queue.at_work();
            in_flight.requests.remove(&request);
            in_flight.keys.remove(&key);
            drop(in_flight);
            if outcome.as_ref().is_err_and(|error| error.is_ours()) {
                queue.recover_in_background();
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

    fn at_work(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ledger entry of a stored row, from its TBS.
fn entry_of(row: &Issued) -> Result<IssuanceEntry, FormError> {
    let tbs: TbsCertificate = strict("stored TBSCertificate", &row.tbs)?;
    let spki = tbs.subject_public_key_info().to_der().map_err(FormError::encoding)?;
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
