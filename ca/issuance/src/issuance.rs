//! Issuance: from a certification request to a certificate that is on the
//! ledger.
//!
//! Order: syntax and proof of possession (in
//! [`CertificationRequest::from_der`]), profile and who asks ([`crate::decision`]),
//! whether it was asked before, key, whose device it is, token, quota,
//! attestation, lint, then the pipeline: pending row, ledger, token, store,
//! answer. What a request takes on its way it gives back if it comes to nothing
//! ([`crate::reservation`]).
//!
//! The same request (profile, owner, key, names) gets the certificate that it
//! got before, also while the first is still at work, until that has lived a
//! tenth of its life; then it gets a new one. A request that wishes for a new
//! one (a renewal over EST, `hufu cert issue --renew`) gets it at once, and the
//! same one again for [`AGAIN`].

use std::sync::Arc;
use std::time::Duration;

use crate::attested::Attestations;
use crate::build::{self, Content, StatusAddresses};
use crate::certificate::Certificate;
use crate::csr::CertificationRequest;
use crate::decision::{self, Wanted, Wish};
use crate::error::CaError;
use crate::issuer::Issuer;
use crate::ledger::{CertificateStatus, IssuanceEntry, IssuanceLedger, RevocationReason};
use crate::lint::{self, IssuerFacts};
use crate::pipeline::Pipeline;
use crate::profile::{AttestationLevel, Profiles, Purpose};
use crate::queue::Queue;
use crate::quota::Quotas;
use crate::record::Issued;
use crate::requester::{OnBehalf, Requester};
use crate::reservation::Reservation;
use crate::serial::Serial;
use crate::store::Store;
use crate::subject::Attribute;
use crate::time::{Clock, UnixTime};
use crate::tokens::Tokens;

/// How long a request that wishes for a new certificate gets the same one: it
/// may be sent again because the answer was lost.
pub const AGAIN: Duration = Duration::from_secs(600);

/// The part of its life after which a certificate is due for renewal.
const DUE: u32 = 10;

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
    tokens: Tokens,
    addresses: StatusAddresses,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
    revoked: tokio::sync::watch::Sender<u64>,
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
        let pipeline = Pipeline {
            issuer: parts.issuer.clone(),
            ledger: parts.ledger.clone(),
            store: parts.store.clone(),
        };
        let queue = Queue::start(pipeline, parts.quotas.clone());
        queue.recover_in_background();
        Ok(Issuance(Arc::new(Inner {
            tokens: Tokens::new(parts.store.clone(), parts.clock.clone()),
            issuer: parts.issuer,
            ledger: parts.ledger,
            store: parts.store,
            profiles: parts.profiles,
            quotas: parts.quotas,
            attestations: Arc::new(Attestations::default()),
            addresses: parts.addresses,
            clock: parts.clock,
            queue,
            revoked: tokio::sync::watch::Sender::new(0),
        })))
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
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
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
    /// See [`CaError::code`]. After a fault of ours the same request may be sent
    /// again and gets one certificate in the end.
    pub async fn enrol(
        &self,
        request: &CertificationRequest,
        profile: &str,
        requester: &Requester,
        on_behalf: Option<OnBehalf<'_>>,
    ) -> Result<Arc<Issued>, CaError> {
        let profile = self.0.profiles.named(profile)?;
        self.issue(decision::enrolment(&self.0.store, profile, request, requester, on_behalf)?)
            .await
    }

    /// Renews `certificate` (which the TLS client presented and which was
    /// found valid and not revoked) for the key in `request`, under the
    /// profile it was issued under (RFC 7030 section 4.2.2).
    ///
    /// # Errors
    /// As of [`Issuance::enrol`]; and where it is not this certificate's
    /// renewal.
    pub async fn renew(
        &self,
        request: &CertificationRequest,
        certificate: &Certificate,
        label: Option<&str>,
    ) -> Result<Arc<Issued>, CaError> {
        let (store, profiles) = (&self.0.store, &self.0.profiles);
        self.issue(decision::renewal(store, profiles, request, certificate, label)?).await
    }

    /// Finishes what is pending in the store: each entry is recorded (again)
    /// and signed. Returns how many certificates came of it.
    ///
    /// # Errors
    /// The first failure; what is then still pending is tried again in the
    /// background.
    pub async fn recover(&self) -> Result<usize, CaError> {
        self.0.queue.recover().await
    }

    /// Revokes a certificate on the ledger, or gives another reason for a
    /// revocation that stands, whose date stays; status services learn of it at
    /// once. Who may do so is the caller's to check.
    ///
    /// # Errors
    /// The serial is not known to the ledger, it is revoked for a reason that
    /// this one does not replace, or the ledger did not take it.
    pub async fn revoke(&self, serial: &Serial, reason: RevocationReason) -> Result<u64, CaError> {
        match self.0.ledger.status(serial.clone()).await.map_err(CaError::Ledger)? {
            CertificateStatus::Unknown => {
                return Err(CaError::NotFound(format!("a certificate with serial {serial}")));
            }
            CertificateStatus::Good => {}
            CertificateStatus::Revoked { at, reason: stands } => {
                if !stands.may_become(reason) {
                    let (serial, reason) = (serial.to_string(), stands.name());
                    return Err(CaError::RevokedAlready { serial, at, reason });
                }
            }
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
            in_flight: self.0.queue.in_flight(),
            store_failed: self.0.store.is_poisoned(),
        })
    }

    /// Stops taking requests, waits for those at work, and stops.
    pub async fn stop(&self) {
        self.0.queue.stop().await;
    }

    async fn issue(&self, wanted: Wanted) -> Result<Arc<Issued>, CaError> {
        let now = self.0.clock.now();
        let request = wanted.digest();
        // Asked already, and at work?
        if let Some(waiting) = self.0.queue.waiting(&request) {
            return waiting.await.map_err(|error| error.echo());
        }
        // Asked before?
        if let Some(row) = self.before(&wanted, &request)? {
            if row.certificate.is_none() {
                return self.0.queue.resume(row)?.await.map_err(|error| error.echo());
            }
            if will_do(&row, &wanted.wish, now) {
                let status =
                    self.0.ledger.status(row.serial.clone()).await.map_err(CaError::Ledger)?;
                return match status {
                    CertificateStatus::Revoked { .. } => Err(CaError::KeyRevoked),
                    _ => Ok(Arc::new(row)),
                };
            }
        }
        let key = wanted.key.digest();
        self.check_key(&key, &wanted.owner).await?;
        self.check_device(&wanted).await?;
        let reservation = self.reserve(&wanted, key, now)?;
        let (row, entry) = self.build(&wanted, request, key, now, &reservation)?;
        let waiting = self.0.queue.submit(row, entry, reservation)?;
        waiting.await.map_err(|error| error.echo())
    }

    /// The newest row of the same request, whatever it wished for then if it
    /// wishes for nothing now.
    fn before(&self, wanted: &Wanted, request: &[u8; 32]) -> Result<Option<Issued>, CaError> {
        let same = self.0.store.by_request(request)?;
        if wanted.wish != Wish::Any {
            return Ok(same);
        }
        let newer = self.0.store.by_request(&wanted.digest_with(&Wish::New))?;
        Ok(same.into_iter().chain(newer).max_by_key(|row| row.created))
    }

    /// Nobody gets a certificate for a key that is another's, or that was
    /// revoked.
    async fn check_key(&self, key: &[u8; 32], owner: &str) -> Result<(), CaError> {
        for (newer, row) in self.0.store.by_key(key)?.into_iter().enumerate() {
            if row.owner != owner {
                return Err(CaError::KeyTaken);
            }
            match self.0.ledger.status(row.serial.clone()).await.map_err(CaError::Ledger)? {
                // Replaced by one of the same key that came after it.
                CertificateStatus::Revoked { reason: RevocationReason::Superseded, .. }
                    if newer > 0 => {}
                CertificateStatus::Revoked { .. } => return Err(CaError::KeyRevoked),
                CertificateStatus::Good | CertificateStatus::Unknown => {}
            }
        }
        if self.0.issuer.public_key().digest() == *key
            || self.0.issuer.root().public_key().digest() == *key
        {
            return Err(CaError::KeyTaken);
        }
        Ok(())
    }

    /// Nobody gets a certificate that names another member's device: the
    /// registry on the ledger says whose it is, and where that has no such
    /// device, the certificates that are in force here.
    async fn check_device(&self, wanted: &Wanted) -> Result<(), CaError> {
        let Some(device) = wanted.subject.value(Attribute::SerialNumber) else { return Ok(()) };
        if wanted.profile.purpose != Purpose::Device || wanted.by_device {
            return Ok(());
        }
        let registered =
            self.0.ledger.device_owner(device.to_owned()).await.map_err(CaError::Ledger)?;
        let owner = match registered {
            Some(owner) => owner,
            None => match self.certified_owner(device).await? {
                Some(owner) => owner,
                None => return Ok(()),
            },
        };
        if owner == wanted.owner {
            return Ok(());
        }
        Err(CaError::DeviceTaken { device: device.to_owned(), owner })
    }

    /// Whose the newest certificate is that names a device and is in force.
    async fn certified_owner(&self, device: &str) -> Result<Option<String>, CaError> {
        let now = self.0.clock.now();
        for row in self.0.store.by_device(device)? {
            let is_device = self
                .0
                .profiles
                .named(&row.profile)
                .is_ok_and(|profile| profile.purpose == Purpose::Device);
            if !is_device || row.not_after < now {
                continue;
            }
            let status = self.0.ledger.status(row.serial.clone()).await.map_err(CaError::Ledger)?;
            if !matches!(status, CertificateStatus::Revoked { .. }) {
                return Ok(Some(row.owner));
            }
        }
        Ok(None)
    }

    /// What the request takes of token, quota and attestation.
    fn reserve(
        &self,
        wanted: &Wanted,
        key: [u8; 32],
        now: UnixTime,
    ) -> Result<Reservation, CaError> {
        let profile = &wanted.profile;
        let token =
            wanted.token.as_ref().map(|token| self.0.tokens.hold(token, key)).transpose()?;
        let quota = self.0.quotas.take(&wanted.owner, &profile.name, now)?;
        let attestation = match profile.attestation {
            AttestationLevel::None => None,
            AttestationLevel::Tpm => {
                let taken = self.0.attestations.take(&key, &wanted.owner, now);
                let missing = || CaError::AttestationMissing { profile: profile.name.clone() };
                Some(taken.ok_or_else(missing)?)
            }
        };
        Ok(Reservation { quota, token, attestation })
    }

    /// TBS and lint.
    fn build(
        &self,
        wanted: &Wanted,
        request: [u8; 32],
        key: [u8; 32],
        now: UnixTime,
        reservation: &Reservation,
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
        let attestation = reservation.attestation.as_ref().and_then(|taken| taken.evidence());
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
            attestation,
        };
        self.0.ledger.permits(&entry).map_err(CaError::Ledger)?;
        let row = Issued {
            serial,
            request,
            key,
            profile: wanted.profile.name.clone(),
            owner: wanted.owner.clone(),
            subject,
            device: wanted.subject.value(Attribute::SerialNumber).map(str::to_owned),
            enrolment_token: reservation.token.as_ref().map(|token| token.token()),
            not_after,
            attestation,
            created: now,
            tbs,
            recorded: None,
            certificate: None,
        };
        Ok((row, entry))
    }
}

/// Whether the certificate in `row` is the answer to the same request now.
fn will_do(row: &Issued, wish: &Wish, now: UnixTime) -> bool {
    if row.not_after < now {
        return false;
    }
    match wish {
        Wish::New | Wish::SuccessorOf(_) => now < row.created.plus(AGAIN),
        // One without end is never due.
        Wish::Any if row.not_after == UnixTime::NEVER => true,
        Wish::Any => {
            let due = row.created.plus(row.created.until(row.not_after) / DUE);
            now < due.max(row.created.plus(AGAIN))
        }
    }
}
