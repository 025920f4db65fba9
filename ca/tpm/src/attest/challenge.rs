//! Challenges: a state machine without clock, socket or lock of its own.
//!
//! A challenge lives for [`LIFETIME`] and is spent by the first attempt to
//! complete it, right or wrong. What was spent is remembered until it would
//! have expired, so that a replay gets the right answer. Both the open and the
//! remembered are bounded in number; what is forgotten is refused as unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::certify::check_certified;
use super::credential::make_credential;
use super::limits::{CHALLENGE_ID, NONCE, SECRET};
use super::requirements::{check_attestation_key, check_device_key};
use super::{AttestationError, ManufacturerRoots, Name, Public, VerifiedEk};
use crate::exchange::{Base64, ChallengeResponse, CompletionResponse};

/// How long a device has to answer.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// How many challenges may be open at once, unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 4096;

const QUALIFYING_LABEL: &[u8] = b"hufu attestation qualifying data v1";
const EVIDENCE_LABEL: &[u8] = b"hufu attestation evidence v1";

/// The source of randomness failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no randomness is to be had")]
pub struct RandomnessUnavailable;

/// Where secrets, nonces and identifiers come from.
///
/// Key agreement and padding inside the cryptographic library use the
/// library's own generator.
pub trait Randomness {
    /// Fills `bytes` with unpredictable bytes.
    ///
    /// # Errors
    /// [`RandomnessUnavailable`]; nothing of `bytes` may be used then.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable>;
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| RandomnessUnavailable)
    }
}

/// Names a challenge; written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChallengeId([u8; CHALLENGE_ID]);

impl ChallengeId {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; CHALLENGE_ID] {
        &self.0
    }
}

impl fmt::Display for ChallengeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl FromStr for ChallengeId {
    type Err = AttestationError;

    /// # Errors
    /// [`AttestationError::ChallengeUnknown`]: what is no identifier names no
    /// challenge.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; CHALLENGE_ID];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| AttestationError::ChallengeUnknown)?;
        Ok(Self(bytes))
    }
}

/// What goes to the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Its name.
    pub id: ChallengeId,
    /// `TPM2B_ID_OBJECT`.
    pub credential_blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_secret: Vec<u8>,
    /// Enters the [`qualifying_data`].
    pub nonce: [u8; NONCE],
    /// From then on it is void.
    pub expires: SystemTime,
}

impl From<Challenge> for ChallengeResponse {
    fn from(challenge: Challenge) -> Self {
        Self {
            id: challenge.id.to_string(),
            credential_blob: Base64(challenge.credential_blob),
            encrypted_secret: Base64(challenge.encrypted_secret),
            nonce: Base64(challenge.nonce.to_vec()),
            expires: challenge
                .expires
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        }
    }
}

/// What has been established about a device key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    /// SHA-256 of the key's `SubjectPublicKeyInfo` in DER.
    pub spki_sha256: [u8; 32],
    /// The key's `SubjectPublicKeyInfo` in DER.
    pub spki_der: Vec<u8>,
    /// The key as SEC1 compressed point on P-256.
    pub public_key: [u8; 33],
    /// SHA-256 of the EK certificate in DER.
    pub ek_certificate_sha256: [u8; 32],
    /// What the EK certificate says.
    pub ek: VerifiedEk,
    /// Name of the AK.
    pub ak_name: Name,
    /// SHA-256 over all evidence: label, challenge, nonce, EK certificate
    /// digest, public areas, statement and signature, each with its length.
    pub digest: [u8; 32],
    /// When it was established.
    pub at: SystemTime,
}

impl Attested {
    /// Checks that a CSR's `SubjectPublicKeyInfo` (DER) is that of the key.
    ///
    /// # Errors
    /// [`AttestationError::KeyMismatch`].
    pub fn check_spki(&self, spki_der: &[u8]) -> Result<(), AttestationError> {
        if self.spki_der == spki_der { Ok(()) } else { Err(AttestationError::KeyMismatch) }
    }
}

impl From<&Attested> for CompletionResponse {
    fn from(attested: &Attested) -> Self {
        Self {
            spki_sha256: hex::encode(attested.spki_sha256),
            ek_certificate_sha256: hex::encode(attested.ek_certificate_sha256),
            ak_name: hex::encode(attested.ak_name.as_bytes()),
            digest: hex::encode(attested.digest),
        }
    }
}

/// The qualifying data a device passes to `TPM2_Certify`: SHA-256 over a
/// label, the challenge's identifier and its nonce.
#[must_use]
pub fn qualifying_data(id: &ChallengeId, nonce: &[u8; NONCE]) -> [u8; 32] {
    sha256(&[QUALIFYING_LABEL, &id.0, nonce])
}

/// A challenge that waits for its answer. It is not in the store any more once
/// a caller holds it, so that it can be answered only once.
pub struct OpenChallenge {
    id: ChallengeId,
    secret: Zeroizing<[u8; SECRET]>,
    nonce: [u8; NONCE],
    ek: VerifiedEk,
    ek_public: Public,
    ak_public: Public,
    expires: SystemTime,
}

impl fmt::Debug for OpenChallenge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpenChallenge")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl OpenChallenge {
    /// Verifies an EK and an AK and makes a challenge for them, without a
    /// store: what costs time happens here, so that a store behind a lock need
    /// not be held meanwhile.
    ///
    /// `ek_chain` is DER, the EK certificate first; the public areas are
    /// `TPM2B_PUBLIC`.
    ///
    /// # Errors
    /// Whatever is wrong with EK or AK; [`AttestationError::Randomness`] and
    /// [`AttestationError::Cryptography`] when this machine fails.
    pub fn prepare<C: AsRef<[u8]>>(
        roots: &ManufacturerRoots,
        ek_chain: &[C],
        ek_public: &[u8],
        ak_public: &[u8],
        now: SystemTime,
        randomness: &mut dyn Randomness,
    ) -> Result<(Self, Challenge), AttestationError> {
        let ek_public = Public::from_tpm2b(ek_public).map_err(AttestationError::EkMalformed)?;
        let ak_public = Public::from_tpm2b(ak_public).map_err(AttestationError::AkMalformed)?;
        check_attestation_key(&ak_public)?;
        let ek = roots.verify_ek_certificate(ek_chain, &ek_public, now)?;

        let mut fill =
            |bytes: &mut [u8]| randomness.fill(bytes).map_err(|_| AttestationError::Randomness);
        let mut id = [0; CHALLENGE_ID];
        fill(&mut id)?;
        let mut nonce = [0; NONCE];
        fill(&mut nonce)?;
        let mut secret = Zeroizing::new([0; SECRET]);
        fill(&mut *secret)?;
        let id = ChallengeId(id);
        let credential = make_credential(&ek_public, &ak_public.name(), &*secret, randomness)?;
        let expires = now + LIFETIME;
        let challenge = Challenge {
            id,
            credential_blob: credential.blob,
            encrypted_secret: credential.encrypted_secret,
            nonce,
            expires,
        };
        let open = Self { id, secret, nonce, ek, ek_public, ak_public, expires };
        Ok((open, challenge))
    }

    /// Checks the device's answer. `key_public` is a `TPM2B_PUBLIC`, `attest`
    /// a `TPMS_ATTEST`, `signature` a `TPMT_SIGNATURE`.
    ///
    /// # Errors
    /// Whatever is wrong with the answer.
    pub fn finish(
        self,
        secret: &[u8],
        key_public: &[u8],
        attest: &[u8],
        signature: &[u8],
        now: SystemTime,
    ) -> Result<Attested, AttestationError> {
        verify_slices_are_equal(&*self.secret, secret)
            .map_err(|_| AttestationError::WrongSecret)?;
        let key = Public::from_tpm2b(key_public).map_err(AttestationError::KeyMalformed)?;
        check_device_key(&key)?;
        let qualifying = qualifying_data(&self.id, &self.nonce);
        check_certified(&self.ak_public, &key.name(), &qualifying, attest, signature)?;
        // `check_device_key` has seen that it is on P-256.
        let (Some(spki_der), Some(public_key)) = (key.p256_spki_der(), key.p256_compressed())
        else {
            return Err(AttestationError::KeyMismatch);
        };
        let ek_public = self.ek_public.to_tpm2b();
        let ak_public = self.ak_public.to_tpm2b();
        let evidence: [&[u8]; 8] = [
            &self.id.0,
            &self.nonce,
            &self.ek.certificate_sha256,
            &ek_public,
            &ak_public,
            key_public,
            attest,
            signature,
        ];
        Ok(Attested {
            spki_sha256: sha256(&[&spki_der]),
            spki_der,
            public_key,
            ek_certificate_sha256: self.ek.certificate_sha256,
            ak_name: self.ak_public.name(),
            digest: evidence_digest(&evidence),
            ek: self.ek,
            at: now,
        })
    }
}

/// Open challenges and those spent lately.
#[derive(Debug)]
pub struct Challenges {
    roots: ManufacturerRoots,
    capacity: usize,
    open: BTreeMap<ChallengeId, OpenChallenge>,
    /// By expiry, for what comes out first.
    open_by_expiry: BTreeSet<(SystemTime, ChallengeId)>,
    spent: BTreeSet<ChallengeId>,
    spent_by_expiry: BTreeSet<(SystemTime, ChallengeId)>,
}

impl Challenges {
    /// An empty store that trusts `roots`.
    #[must_use]
    pub fn new(roots: ManufacturerRoots) -> Self {
        Self::with_capacity(roots, DEFAULT_CAPACITY)
    }

    /// An empty store for at most `capacity` open challenges.
    #[must_use]
    pub fn with_capacity(roots: ManufacturerRoots, capacity: usize) -> Self {
        Self {
            roots,
            capacity,
            open: BTreeMap::new(),
            open_by_expiry: BTreeSet::new(),
            spent: BTreeSet::new(),
            spent_by_expiry: BTreeSet::new(),
        }
    }

    /// The roots that are trusted.
    #[must_use]
    pub fn roots(&self) -> &ManufacturerRoots {
        &self.roots
    }

    /// How many challenges are open, expired ones that nobody asked for
    /// included.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Verifies an EK and an AK and opens a challenge for them; see
    /// [`OpenChallenge::prepare`].
    ///
    /// # Errors
    /// [`AttestationError::ChallengesFull`], or what `prepare` refuses.
    pub fn begin<C: AsRef<[u8]>>(
        &mut self,
        ek_chain: &[C],
        ek_public: &[u8],
        ak_public: &[u8],
        now: SystemTime,
        randomness: &mut dyn Randomness,
    ) -> Result<Challenge, AttestationError> {
        self.make_room(now)?;
        let (open, challenge) =
            OpenChallenge::prepare(&self.roots, ek_chain, ek_public, ak_public, now, randomness)?;
        self.insert(open, now)?;
        Ok(challenge)
    }

    /// Puts a prepared challenge into the store. The caller sends the challenge
    /// to the device only if this succeeds.
    ///
    /// # Errors
    /// [`AttestationError::ChallengesFull`]; [`AttestationError::Randomness`]
    /// when its identifier is taken, which says that randomness repeats.
    pub fn insert(&mut self, open: OpenChallenge, now: SystemTime) -> Result<(), AttestationError> {
        self.make_room(now)?;
        if self.open.contains_key(&open.id) || self.spent.contains(&open.id) {
            return Err(AttestationError::Randomness);
        }
        self.open_by_expiry.insert((open.expires, open.id));
        self.open.insert(open.id, open);
        Ok(())
    }

    /// Takes a challenge out to be answered. It is spent from here on.
    ///
    /// # Errors
    /// [`AttestationError::ChallengeSpent`], [`ChallengeExpired`],
    /// [`ChallengeUnknown`].
    ///
    /// [`ChallengeExpired`]: AttestationError::ChallengeExpired
    /// [`ChallengeUnknown`]: AttestationError::ChallengeUnknown
    pub fn take(
        &mut self,
        id: &ChallengeId,
        now: SystemTime,
    ) -> Result<OpenChallenge, AttestationError> {
        if self.spent.contains(id) {
            return Err(AttestationError::ChallengeSpent);
        }
        let open = self.open.remove(id).ok_or(AttestationError::ChallengeUnknown)?;
        self.open_by_expiry.remove(&(open.expires, *id));
        self.remember_spent(open.expires, *id, now);
        if open.expires <= now {
            return Err(AttestationError::ChallengeExpired);
        }
        Ok(open)
    }

    /// Answers a challenge; see [`OpenChallenge::finish`]. Whatever comes out,
    /// the challenge is spent.
    ///
    /// # Errors
    /// What [`take`](Self::take) or `finish` refuse.
    pub fn complete(
        &mut self,
        id: &ChallengeId,
        secret: &[u8],
        key_public: &[u8],
        attest: &[u8],
        signature: &[u8],
        now: SystemTime,
    ) -> Result<Attested, AttestationError> {
        self.take(id, now)?.finish(secret, key_public, attest, signature, now)
    }

    /// Drops expired challenges, oldest first, when there is no room for
    /// another one.
    fn make_room(&mut self, now: SystemTime) -> Result<(), AttestationError> {
        if self.open.len() < self.capacity {
            return Ok(());
        }
        while let Some((expires, id)) = self.open_by_expiry.first().copied() {
            if expires > now {
                break;
            }
            self.open_by_expiry.remove(&(expires, id));
            self.open.remove(&id);
        }
        if self.open.len() < self.capacity {
            Ok(())
        } else {
            Err(AttestationError::ChallengesFull { open: self.open.len() })
        }
    }

    fn remember_spent(&mut self, expires: SystemTime, id: ChallengeId, now: SystemTime) {
        self.spent.insert(id);
        self.spent_by_expiry.insert((expires, id));
        while let Some((expires, id)) = self.spent_by_expiry.first().copied() {
            if expires > now && self.spent.len() <= self.capacity {
                break;
            }
            self.spent_by_expiry.remove(&(expires, id));
            self.spent.remove(&id);
        }
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn evidence_digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(EVIDENCE_LABEL);
    for part in parts {
        // Lossless: a length in memory fits into 64 bits.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
