//! Issuance: from a certification request to a certificate that is on the
//! ledger.
//!
//! Order: syntax and proof of possession (in
//! [`CertificationRequest::from_der`]), profile, who asks, whether it was
//! asked before, key, quota, attestation, lint, then the pipeline of
//! [`crate::batch`]: pending row, ledger, token, store, answer.
//!
//! The same request (profile, owner, key, names) gets the first certificate
//! again while that is valid, also when the first request is still at work.

mod authorise;
mod queue;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, Shared};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use self::queue::entry_of;
use crate::algorithm::{PublicKey, sha256};
use crate::attestation::{Attestations, AttestedKey};
use crate::batch::{self, Job, Outcome, Pipeline};
use crate::build::{self, Content, StatusAddresses};
use crate::certificate::Issuer;
use crate::csr::CertificationRequest;
use crate::error::CaError;
use crate::ledger::{CertificateStatus, IssuanceEntry, IssuanceLedger, RevocationReason};
use crate::lint::{self, IssuerFacts};
use crate::names::AlternativeName;
use crate::profile::{AttestationLevel, Profile, Profiles};
use crate::quota::Quotas;
use crate::requester::{Requester, Role};
use crate::serial::Serial;
use crate::store::{Issued, Store};
use crate::subject::Subject;
use crate::time::{Clock, UnixTime};
use crate::tokens::Tokens;
use crate::{limits, names};

/// What issuance is made of.
pub struct Parts {
    /// The issuing authority.
    pub issuer: Arc<Issuer>,
    /// The ledger.
    pub ledger: Arc<dyn IssuanceLedger>,
    /// The store; no other process may have it open for writing.
    pub store: Arc<Store>,
    /// The profiles.
    pub profiles: Profiles,
    /// Quotas; what is used is counted from the store.
    pub quotas: Arc<Quotas>,
    /// Where certificates say that status is to be had.
    pub addresses: StatusAddresses,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// For whom the ceremony or command line asks.
#[derive(Clone, Copy, Debug)]
pub struct OnBehalf<'a> {
    /// The member that the certificate belongs to.
    pub member: &'a str,
    /// Roles for a client certificate.
    pub roles: &'a [Role],
}

/// How issuance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuanceState {
    /// Certificates in the store.
    pub issued: u64,
    /// Rows without a signature: at work, or waiting to be tried again.
    pub pending: u64,
    /// Requests at work now.
    pub in_flight: usize,
    /// Whether the store failed, so that nothing more is issued until it is
    /// opened again.
    pub store_failed: bool,
}

type Waiting = Shared<BoxFuture<'static, Outcome>>;

/// Requests at work, by digest; and their keys.
#[derive(Default)]
struct InFlight {
    requests: HashMap<[u8; 32], Waiting>,
    keys: HashMap<[u8; 32], [u8; 32]>,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Issuance(Arc<Inner>);

struct Inner {
    issuer: Arc<Issuer>,
    ledger: Arc<dyn IssuanceLedger>,
    store: Arc<Store>,
    profiles: Profiles,
    quotas: Arc<Quotas>,
    attestations: Arc<Attestations>,
    addresses: StatusAddresses,
    clock: Arc<dyn Clock>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    places: Arc<Semaphore>,
    in_flight: Mutex<InFlight>,
    pipeline: Mutex<Option<JoinHandle<()>>>,
    recovering: AtomicBool,
    revoked: tokio::sync::watch::Sender<u64>,
}

/// What was asked for, checked against the profile.
struct Wanted {
    profile: Arc<Profile>,
    owner: String,
    subject: Subject,
    names: Vec<AlternativeName>,
    key: PublicKey,
    /// The certificate that this one renews.
    renews: Option<Serial>,
}

impl Issuance {
    /// Starts the service on the current tokio runtime and begins to finish
    /// what an earlier run left pending.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn start(parts: Parts) -> Result<Issuance, CaError> {
        let now = parts.clock.now();
        let midnight = UnixTime::from_seconds(now.seconds() - now.seconds() % 86_400);
        parts.quotas.load(parts.store.usage(midnight)?, now);
        let attestations = Arc::new(Attestations::default());
        let pipeline = Arc::new(Pipeline {
            issuer: parts.issuer.clone(),
            ledger: parts.ledger.clone(),
            store: parts.store.clone(),
            quotas: parts.quotas.clone(),
            attestations: attestations.clone(),
        });
        let (jobs, receiver) = mpsc::channel(limits::BATCH);
        let pipeline = tokio::spawn(batch::run(pipeline, receiver));
        let issuance = Issuance(Arc::new(Inner {
            issuer: parts.issuer,
            ledger: parts.ledger,
            store: parts.store,
            profiles: parts.profiles,
            quotas: parts.quotas,
            attestations,
            addresses: parts.addresses,
            clock: parts.clock,
            jobs: Mutex::new(Some(jobs)),
            places: Arc::new(Semaphore::new(limits::IN_FLIGHT)),
            in_flight: Mutex::new(InFlight::default()),
            pipeline: Mutex::new(Some(pipeline)),
            recovering: AtomicBool::new(false),
            revoked: tokio::sync::watch::Sender::new(0),
        }));
        issuance.recover_in_background();
        Ok(issuance)
    }

    /// The issuing authority.
    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.0.issuer
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<dyn IssuanceLedger> {
        &self.0.ledger
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.0.store
    }

    /// The profiles.
    pub fn profiles(&self) -> &Profiles {
        &self.0.profiles
    }

    /// The quotas.
    pub fn quotas(&self) -> &Arc<Quotas> {
        &self.0.quotas
    }

    /// Attested keys that wait for their enrolment.
    pub fn attestations(&self) -> &Arc<Attestations> {
        &self.0.attestations
    }

    /// Enrolment tokens.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.0.store.clone(), self.0.clock.clone())
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Changes whenever a certificate is revoked through this service, so that
    /// status services renew what they hold.
    pub fn revocations(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.revoked.subscribe()
    }

    /// Issues a certificate under `profile` for `request`, or returns the one
    /// that the same request got before.
    ///
    /// `on_behalf` says for whom the ceremony asks; other requesters ask for
    /// themselves and it is ignored.
    ///
    /// # Errors
    /// See [`crate::error::CODES`]. After a 503 the same request may be sent
    /// again and gets one certificate in the end.
    pub async fn enrol(
        &self,
        request: &CertificationRequest,
        profile: &str,
        requester: &Requester,
        on_behalf: Option<OnBehalf<'_>>,
    ) -> Result<Arc<Issued>, CaError> {
        let profile = self.0.profiles.named(profile)?;
        let (owner, roles) = self.authorise(&profile, request, requester, on_behalf)?;
        let (subject, names) = profile.names(request, &owner, &roles)?;
        let key = request.public_key().clone();
        if let Requester::Token(token) = requester {
            self.tokens().claim(token, key.digest()).await?;
        }
        self.issue(Wanted { profile, owner, subject, names, key, renews: None }).await
    }

    /// Revokes a certificate on the ledger; status services learn of it at
    /// once. Who may do so is the caller's to check.
    ///
    /// # Errors
    /// The serial is not known to the ledger, or the ledger did not take it.
    pub async fn revoke(&self, serial: &Serial, reason: RevocationReason) -> Result<u64, CaError> {
        let status = self.0.ledger.status(serial.clone()).await.map_err(CaError::Ledger)?;
        if status == CertificateStatus::Unknown {
            return Err(CaError::NotFound(format!("a certificate with serial {serial}")));
        }
        let at = self.0.clock.now();
        let recorded =
            self.0.ledger.revoke(serial.clone(), reason, at).await.map_err(CaError::Ledger)?;
        tracing::info!(%serial, %reason, height = recorded.height, "certificate revoked");
        self.announce_revocation();
        Ok(recorded.height)
    }

    /// Tells status services that the ledger holds a new revocation, however
    /// it came there.
    pub fn announce_revocation(&self) {
        self.0.revoked.send_modify(|count| *count += 1);
    }

    /// How it goes, for status and metrics.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn state(&self) -> Result<IssuanceState, CaError> {
        let (issued, pending) = self.0.store.counts()?;
        Ok(IssuanceState {
            issued,
            pending,
            in_flight: self.in_flight().requests.len(),
            store_failed: self.0.store.is_poisoned(),
        })
    }

    /// Stops taking requests, waits for those at work, and stops.
    pub async fn stop(&self) {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let pipeline = self.0.pipeline.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pipeline) = pipeline {
            let _ = pipeline.await;
        }
    }

    async fn issue(&self, wanted: Wanted) -> Result<Arc<Issued>, CaError> {
        let now = self.0.clock.now();
        let request = wanted.digest();
        let key = wanted.key.digest();
        // Asked already, and at work?
        let waiting = self.in_flight().requests.get(&request).cloned();
        if let Some(waiting) = waiting {
            return waiting.await.map_err(|error| error.echo());
        }
        // Asked before?
        if let Some(row) = self.0.store.by_request(&request)? {
            if row.certificate.is_none() {
                let entry = entry_of(&row)?;
                return self.submit(row, entry, true, None)?.await.map_err(|error| error.echo());
            }
            if row.not_after >= now {
                let status =
                    self.0.ledger.status(row.serial.clone()).await.map_err(CaError::Ledger)?;
                return match status {
                    CertificateStatus::Revoked { .. } => Err(CaError::KeyRevoked),
                    _ => Ok(Arc::new(row)),
                };
            }
        }
        self.check_key(&key, &wanted.owner).await?;
        let profile = wanted.profile.clone();
        self.0.quotas.take(&wanted.owner, &profile.name, now)?;
        let prepared = self.prepare(wanted, request, key, now);
        let give_back = |owner: &str| self.0.quotas.give_back(owner, &profile.name, now);
        let (row, entry, attested) = match prepared {
            Ok(prepared) => prepared,
            Err((owner, error)) => {
                give_back(&owner);
                return Err(error);
            }
        };
        let (owner, kept) = (row.owner.clone(), attested.clone());
        match self.submit(row, entry, false, attested) {
            Ok(waiting) => waiting.await.map_err(|error| error.echo()),
            Err(error) => {
                give_back(&owner);
                if let Some(attested) = kept {
                    self.0.attestations.put_back(attested);
                }
                Err(error)
            }
        }
    }

    /// Nobody gets a certificate for a key that is another's, or that was
    /// revoked.
    async fn check_key(&self, key: &[u8; 32], owner: &str) -> Result<(), CaError> {
        for row in self.0.store.by_key(key)? {
            if row.owner != owner {
                return Err(CaError::KeyTaken);
            }
            let status = self.0.ledger.status(row.serial.clone()).await.map_err(CaError::Ledger)?;
            if matches!(status, CertificateStatus::Revoked { .. }) {
                return Err(CaError::KeyRevoked);
            }
        }
        if self.0.issuer.certificate().public_key().digest() == *key
            || self.0.issuer.root().public_key().digest() == *key
        {
            return Err(CaError::KeyTaken);
        }
        Ok(())
    }

    /// Attestation, TBS, lint. The owner comes back with an error, since its
    /// quota was taken.
    #[allow(clippy::type_complexity)]
    fn prepare(
        &self,
        wanted: Wanted,
        request: [u8; 32],
        key: [u8; 32],
        now: UnixTime,
    ) -> Result<(Issued, IssuanceEntry, Option<AttestedKey>), (String, CaError)> {
        let owner = wanted.owner.clone();
        let attested = match wanted.profile.attestation {
            AttestationLevel::None => None,
            AttestationLevel::Tpm => match self.0.attestations.take(&key, &owner, now) {
                Some(attested) => Some(attested),
                None => {
                    let profile = wanted.profile.name.clone();
                    return Err((owner, CaError::AttestationMissing { profile }));
                }
            },
        };
        match self.build(&wanted, request, key, now, attested.as_ref()) {
            Ok((row, entry)) => Ok((row, entry, attested)),
            Err(error) => {
                if let Some(attested) = attested {
                    self.0.attestations.put_back(attested);
                }
                Err((owner, error))
            }
        }
    }

    fn build(
        &self,
        wanted: &Wanted,
        request: [u8; 32],
        key: [u8; 32],
        now: UnixTime,
        attested: Option<&AttestedKey>,
    ) -> Result<(Issued, IssuanceEntry), CaError> {
        let issuer = &self.0.issuer;
        let issuer_end = issuer.certificate().not_after();
        let (not_before, not_after) = wanted.profile.window(now, issuer_end);
        let serial = Serial::random()?;
        let tbs = build::tbs(&Content {
            profile: &wanted.profile,
            serial: &serial,
            signature: issuer.signer().algorithm(),
            issuer: issuer.subject_der(),
            authority_key_identifier: issuer.key_identifier(),
            not_before,
            not_after,
            subject: &wanted.subject,
            public_key: &wanted.key,
            alternative_names: &wanted.names,
            addresses: &self.0.addresses,
        })?;
        let facts = IssuerFacts {
            name: issuer.subject_der(),
            key_identifier: issuer.key_identifier(),
            signature: issuer.signer().algorithm(),
            not_after: Some(issuer_end),
        };
        let findings = lint::lint(&tbs, &wanted.profile, &facts);
        if !findings.is_empty() {
            return Err(CaError::Lint(findings));
        }
        let evidence = attested.map(|attested| attested.evidence);
        let subject = wanted.subject.to_text();
        let entry = IssuanceEntry {
            serial: serial.clone(),
            profile: wanted.profile.name.clone(),
            tbs: tbs.clone(),
            public_key: wanted.key.clone(),
            subject: subject.clone(),
            owner: wanted.owner.clone(),
            not_before,
            not_after,
            attestation: evidence,
        };
        let row = Issued {
            serial,
            request,
            key,
            profile: wanted.profile.name.clone(),
            owner: wanted.owner.clone(),
            subject,
            not_after,
            attestation: evidence,
            created: now,
            tbs,
            recorded: None,
            certificate: None,
        };
        Ok((row, entry))
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    /// Names what was asked for. The request's own signature is not part of
    /// it: the same request signed again is the same request.
    fn digest(&self) -> [u8; 32] {
        let mut bytes = b"hufu issuance request v1".to_vec();
        let names = names::to_der(&self.names);
        let renews = self.renews.as_ref().map_or(&[][..], Serial::as_bytes);
        for part in [
            self.profile.name.as_bytes(),
            self.owner.as_bytes(),
            &self.key.to_spki_der(),
            &self.subject.to_der(),
            &names,
            renews,
        ] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        sha256(&bytes)
    }
}
