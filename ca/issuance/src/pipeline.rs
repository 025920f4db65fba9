//! From accepted requests to certificates, many at a time.
//!
//! Each batch: pending rows durable, entries final on the ledger, signatures,
//! rows completed, answers. Batches overlap, so that the next one fills and is
//! recorded while the token works on the last. What becomes of a row when a
//! step fails:
//!
//! | step that failed | row | caller |
//! |---|---|---|
//! | pending rows | none | `store-failed` |
//! | ledger refused | forgotten, neighbours go on | `ledger-refused` |
//! | ledger not available | forgotten | `ledger-unavailable`, may ask again |
//! | ledger outcome unknown | stays | `ledger-unavailable`; finished in the background |
//! | token, completion | stays, recorded | 503; finished in the background |

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::error::CaError;
use crate::issuer::Issuer;
use crate::ledger::{IssuanceEntry, IssuanceLedger, LedgerFault, Recorded};
use crate::limits;
use crate::record::{Completion, Issued};
use crate::reservation::Reservation;
use crate::serial::Serial;
use crate::signer::{SignFault, sign_checked};
use crate::store::{Store, blocking};

/// Signatures asked of the token at once by one batch.
const SIGNATURES: usize = 64;

/// What happens to a job, told to whoever waits for it.
pub(crate) type Outcome = Result<Arc<Issued>, Arc<CaError>>;

/// One accepted request.
pub(crate) struct Job {
    pub(crate) row: Issued,
    pub(crate) entry: IssuanceEntry,
    /// Already in the store from an earlier attempt.
    pub(crate) stored: bool,
    /// What it holds until it is known whether its row stays.
    pub(crate) reservation: Reservation,
    pub(crate) done: oneshot::Sender<Outcome>,
    /// Its place among those in flight, held until it is done.
    pub(crate) place: OwnedSemaphorePermit,
}

/// What the pipeline works with.
pub(crate) struct Pipeline {
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) ledger: Arc<dyn IssuanceLedger>,
    pub(crate) store: Arc<Store>,
}

/// Collects jobs into batches until the channel closes; returns when the last
/// batch is done.
pub(crate) async fn run(pipeline: Arc<Pipeline>, mut jobs: mpsc::Receiver<Job>) {
    let overlap = Arc::new(Semaphore::new(limits::BATCHES));
    while let Some(first) = jobs.recv().await {
        let mut batch = vec![first];
        let full = tokio::time::sleep(limits::BATCH_WAIT);
        tokio::pin!(full);
        while batch.len() < limits::BATCH {
            tokio::select! {
                biased;
                job = jobs.recv() => match job {
                    Some(job) => batch.push(job),
                    None => break,
                },
                () = &mut full => break,
            }
        }
        // While all places are taken, the channel fills and callers wait.
        let Ok(permit) = overlap.clone().acquire_owned().await else { return };
        let pipeline = pipeline.clone();
        tokio::spawn(async move {
            pipeline.process(batch).await;
            drop(permit);
        });
    }
    let all = u32::try_from(limits::BATCHES).unwrap_or(u32::MAX);
    let _ = overlap.acquire_many(all).await;
}

impl Pipeline {
    async fn process(self: Arc<Self>, batch: Vec<Job>) {
        let rows: Vec<Issued> =
            batch.iter().filter(|job| !job.stored).map(|job| job.row.clone()).collect();
        let store = self.store.clone();
        let stored =
            blocking(move || if rows.is_empty() { Ok(()) } else { store.insert_pending(&rows) })
                .await;
        if let Err(error) = stored {
            return fail(batch, error.into(), |_| false);
        }
        self.record(batch).await;
    }

    /// Records a batch; on refusal halves it until the entry that is refused
    /// stands alone.
    fn record(self: &Arc<Self>, batch: Vec<Job>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let entries: Vec<IssuanceEntry> = batch.iter().map(|job| job.entry.clone()).collect();
            match self.ledger.record(entries).await {
                Ok(recorded) => self.sign(batch, recorded).await,
                Err(LedgerFault::Refused { .. }) if batch.len() > 1 => {
                    let mut first = batch;
                    let second = first.split_off(first.len() / 2);
                    self.record(first).await;
                    self.record(second).await;
                }
                Err(fault) => {
                    tracing::warn!(entries = batch.len(), %fault, "issuance entries were not recorded");
                    // A row of an earlier attempt may be recorded already:
                    // only a refusal says for certain that it is not.
                    let gone = |job: &Job| match &fault {
                        LedgerFault::Refused { .. } => true,
                        LedgerFault::Unavailable { .. } => !job.stored,
                        LedgerFault::Unknown { .. } => false,
                    };
                    let serials: Vec<Serial> = batch
                        .iter()
                        .filter(|job| gone(job))
                        .map(|job| job.row.serial.clone())
                        .collect();
                    if !serials.is_empty() {
                        let store = self.store.clone();
                        if let Err(error) = blocking(move || store.forget(&serials)).await {
                            return fail(batch, error.into(), |_| false);
                        }
                    }
                    fail(batch, CaError::Ledger(fault.clone()), gone);
                }
            }
        })
    }

    async fn sign(&self, batch: Vec<Job>, recorded: Vec<Recorded>) {
        let matches = recorded.len() == batch.len()
            && recorded.iter().zip(&batch).all(|(recorded, job)| recorded.serial == job.row.serial);
        if !matches {
            tracing::error!("the ledger answered with other entries than were submitted");
            let fault = LedgerFault::Unknown { reason: "answer does not match".to_owned() };
            return fail(batch, CaError::Ledger(fault), |_| false);
        }
        let key = self.issuer.public_key();
        let signer = self.issuer.signer();
        let signed: Vec<(Job, Recorded, Result<Vec<u8>, SignFault>)> =
            stream::iter(batch.into_iter().zip(recorded))
                .map(async |(job, recorded)| {
                    let signature = sign_checked(&**signer, key, &job.row.tbs).await;
                    (job, recorded, signature)
                })
                .buffered(SIGNATURES)
                .collect()
                .await;
        let mut completions = Vec::with_capacity(signed.len());
        let mut complete = Vec::with_capacity(signed.len());
        for (mut job, recorded, signature) in signed {
            match signature {
                Ok(signature) => {
                    job.row.recorded = Some((recorded.height, recorded.transaction));
                    job.row.certificate =
                        Some(crate::build::assemble(&job.row.tbs, signer.algorithm(), &signature));
                    completions.push(Completion {
                        serial: job.row.serial.clone(),
                        height: recorded.height,
                        transaction: recorded.transaction,
                        algorithm: signer.algorithm(),
                        signature,
                    });
                    complete.push(job);
                }
                Err(error) => {
                    tracing::error!(serial = %job.row.serial, %error, "recorded but not signed yet");
                    fail(vec![job], error.into(), |_| false);
                }
            }
        }
        if complete.is_empty() {
            return;
        }
        let store = self.store.clone();
        match blocking(move || store.complete(&completions)).await {
            Ok(()) => {
                for job in complete {
                    tracing::info!(
                        serial = %job.row.serial, profile = %job.row.profile, owner = %job.row.owner,
                        subject = %job.row.subject, "certificate issued"
                    );
                    job.reservation.keep();
                    // A caller that went away finds its certificate by asking
                    // again.
                    let _ = job.done.send(Ok(Arc::new(job.row)));
                    drop(job.place);
                }
            }
            Err(error) => fail(complete, error.into(), |_| false),
        }
    }
}

/// Answers with `error`. What a job held is given back where its row is gone,
/// and kept where the row stays.
fn fail(batch: Vec<Job>, error: CaError, gone: impl Fn(&Job) -> bool) {
    let error = Arc::new(error);
    for job in batch {
        if gone(&job) {
            drop(job.reservation);
        } else {
            job.reservation.keep();
        }
        let _ = job.done.send(Err(error.clone()));
    }
}

/// How long to wait before pending rows are tried again.
pub(crate) const AGAIN: Duration = Duration::from_secs(2);
