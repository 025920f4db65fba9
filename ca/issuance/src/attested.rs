//! Attested keys, remembered by the digest of their SubjectPublicKeyInfo until
//! they are used for one enrolment, for at most ten minutes. Taken out as a
//! value that puts itself back when the enrolment comes to nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::CaError;
use crate::limits;
use crate::time::UnixTime;

/// An attested key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedKey {
    /// SHA-256 of the SubjectPublicKeyInfo, DER.
    pub key: [u8; 32],
    /// SHA-256 over the evidence.
    pub evidence: [u8; 32],
    /// The member under whose authority it was attested.
    pub member: String,
    /// When.
    pub at: UnixTime,
}

/// The memory.
#[derive(Debug, Default)]
pub struct Attestations(Mutex<HashMap<[u8; 32], AttestedKey>>);

impl Attestations {
    /// Remembers a key. The newest attestation of a key counts.
    ///
    /// # Errors
    /// [`CaError::Busy`] when [`limits::ATTESTATIONS`] are waiting.
    pub fn remember(&self, attested: AttestedKey, now: UnixTime) -> Result<(), CaError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::ATTESTATIONS {
            known.retain(|_, attested| is_fresh(attested, now));
            if known.len() >= limits::ATTESTATIONS {
                return Err(CaError::Busy);
            }
        }
        known.insert(attested.key, attested);
        Ok(())
    }

    /// Takes the attestation of a key for `member` out, if there is a fresh
    /// one. One of another member stays where it is.
    pub(crate) fn take(
        self: &Arc<Self>,
        key: &[u8; 32],
        member: &str,
        now: UnixTime,
    ) -> Option<TakenAttestation> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(key)?.member != member {
            return None;
        }
        let attested = known.remove(key).filter(|attested| is_fresh(attested, now))?;
        Some(TakenAttestation { attestations: self.clone(), attested: Some(attested) })
    }
}

/// An attested key that is being used; put back when it is dropped.
#[derive(Debug)]
pub(crate) struct TakenAttestation {
    attestations: Arc<Attestations>,
    /// None once it is used up.
    attested: Option<AttestedKey>,
}

impl TakenAttestation {
    /// SHA-256 over the evidence.
    pub(crate) fn evidence(&self) -> Option<[u8; 32]> {
        self.attested.as_ref().map(|attested| attested.evidence)
    }

    /// It is used up.
    pub(crate) fn keep(mut self) {
        self.attested = None;
    }
}

impl Drop for TakenAttestation {
    fn drop(&mut self) {
        if let Some(attested) = self.attested.take() {
            let mut known = self.attestations.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(attested.key).or_insert(attested);
        }
    }
}

fn is_fresh(attested: &AttestedKey, now: UnixTime) -> bool {
    now <= attested.at.plus(limits::ATTESTATION_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_attestation_is_used_once_by_its_member_and_ages() {
        let attestations = Arc::new(Attestations::default());
        let now = UnixTime::from_seconds(1_000_000);
        let attested =
            AttestedKey { key: [1; 32], evidence: [2; 32], member: "maker".into(), at: now };
        attestations.remember(attested.clone(), now).unwrap();
        assert!(attestations.take(&[1; 32], "other", now).is_none());
        // What comes to nothing does not spend it.
        for _ in 0..2 {
            let taken = attestations.take(&[1; 32], "maker", now).unwrap();
            assert_eq!(taken.evidence(), Some([2; 32]));
            assert!(attestations.take(&[1; 32], "maker", now).is_none());
        }
        attestations.take(&[1; 32], "maker", now).unwrap().keep();
        assert!(attestations.take(&[1; 32], "maker", now).is_none());
        attestations.remember(attested, now).unwrap();
        let late = now.plus(limits::ATTESTATION_AGE).plus(Duration::from_secs(1));
        assert!(attestations.take(&[1; 32], "maker", late).is_none());
    }
}
