//! Certificates: issued by the authority, and revoked.
//!
//! Only the authority's member key issues and revokes. An `Issue` takes effect
//! as a whole or not at all; what else a `Certify` needs is in `declare`, and
//! consortia founded with version 2 of the genesis file take no other. A serial
//! number is used once. A key that is certified again for the same kind, owner and
//! subject is *renewed*: the new certificate becomes its current one, the old one
//! stays as good as it was. A revoked key is never certified again. Nothing is
//! issued for a member that is suspended or dismissed; what was, can be revoked.
//!
//! Revoking an identity's current certificate makes the identity *revoked*;
//! `certificateHold` makes it *suspended*, and `removeFromCRL` lifts a hold.
//! Revoking an older certificate changes that certificate alone.

use hufu_proof::transaction::{Issuance, Revocation};
use hufu_proof::{Digest, IdentityId, Outcome};

use crate::event::Event;
use crate::execute::{Execution, Signer, Stop};
use crate::key;
use crate::record::{CertificateRecord, CertificateStatus, IdentityRecord, IdentityStatus};
use crate::revoked;
use crate::state::State as _;

/// CRLReason `certificateHold` (RFC 5280 §5.3.1).
const CERTIFICATE_HOLD: u8 = 6;
/// CRLReason `removeFromCRL`.
const REMOVE_FROM_CRL: u8 = 8;
/// CRLReason `keyCompromise`.
const KEY_COMPROMISE: u8 = 1;
/// CRLReason `unspecified`.
const UNSPECIFIED: u8 = 0;

/// Whether a revocation for a reason may be given a `later` one.
fn replaces(reason: u8, later: u8) -> bool {
    reason != later
        && later != CERTIFICATE_HOLD
        && later != REMOVE_FROM_CRL
        && (reason == UNSPECIFIED || (later == KEY_COMPROMISE && reason != KEY_COMPROMISE))
}

impl Execution<'_> {
    pub(crate) fn issue(
        &mut self,
        id: Digest,
        signer: &Signer,
        issuances: &[Issuance],
    ) -> Result<(), Stop> {
        self.require_authority(signer)?;
        // It says nothing of roles and hosts, so that they could not be judged.
        if self.ground.genesis.version != 1 {
            return Err(Outcome::Malformed.into());
        }
        for issuance in issuances {
            self.issue_one(id, issuance)?;
        }
        Ok(())
    }

    pub(crate) fn issue_one(&mut self, id: Digest, issuance: &Issuance) -> Result<(), Stop> {
        let serial_key = key::certificate(&issuance.serial);
        if self.value(&serial_key)?.is_some() {
            return Err(Outcome::Conflict.into());
        }
        if self.value(&key::member(&issuance.owner))?.is_none() {
            return Err(Outcome::NotFound.into());
        }
        self.require_good_standing(&issuance.owner)?;
        let identity = issuance.key.identity();
        let identity_key = key::identity(&identity);
        let earlier: Option<IdentityRecord> = self.record("identity", &identity_key)?;
        let status = match earlier {
            None => IdentityStatus::Active,
            Some(earlier)
                if earlier.kind == issuance.kind
                    && earlier.owner == issuance.owner
                    && earlier.subject == issuance.subject
                    && earlier.status != IdentityStatus::Revoked =>
            {
                // A renewal does not lift a hold.
                earlier.status
            }
            Some(_) => return Err(Outcome::Conflict.into()),
        };
        let record = CertificateRecord {
            status: CertificateStatus::Good,
            identity,
            profile: issuance.profile.clone(),
            kind: issuance.kind,
            owner: issuance.owner.clone(),
            subject: issuance.subject.clone(),
            not_before: issuance.not_before,
            not_after: issuance.not_after,
            tbs: Digest::of(&issuance.tbs),
            attestation: issuance.attestation,
            transaction: id,
            recorded_ms: self.time_ms,
        };
        self.put(serial_key, &record);
        let serial = issuance.serial.clone();
        self.tell(Event::Certificate { transaction: id, serial, record });
        let record = IdentityRecord {
            key: issuance.key.clone(),
            kind: issuance.kind,
            owner: issuance.owner.clone(),
            subject: issuance.subject.clone(),
            status,
            serial: Some(issuance.serial.clone()),
            not_before: issuance.not_before,
            not_after: issuance.not_after,
        };
        self.change_identity(id, identity, record);
        Ok(())
    }

    pub(crate) fn revoke(
        &mut self,
        id: Digest,
        signer: &Signer,
        revocation: &Revocation,
    ) -> Result<(), Stop> {
        self.require_authority(signer)?;
        let certificate_key = key::certificate(&revocation.serial);
        let record = self.record("certificate", &certificate_key)?;
        let mut record: CertificateRecord = record.ok_or(Outcome::NotFound)?;
        let at_ms = self.time_ms;
        let (certificate, identity_status) = match (record.status, revocation.reason) {
            // A reason may be given or a compromise found out later; the date
            // of the revocation stays.
            (CertificateStatus::Revoked { reason, at_ms }, later) if replaces(reason, later) => {
                (CertificateStatus::Revoked { reason: later, at_ms }, IdentityStatus::Revoked)
            }
            (CertificateStatus::Revoked { .. }, _)
            | (CertificateStatus::Held { .. }, CERTIFICATE_HOLD)
            | (CertificateStatus::Good, REMOVE_FROM_CRL) => return Err(Outcome::Conflict.into()),
            (CertificateStatus::Good, CERTIFICATE_HOLD) => {
                (CertificateStatus::Held { at_ms }, IdentityStatus::Suspended)
            }
            (CertificateStatus::Held { .. }, REMOVE_FROM_CRL) => {
                (CertificateStatus::Good, IdentityStatus::Active)
            }
            (_, reason) => (CertificateStatus::Revoked { reason, at_ms }, IdentityStatus::Revoked),
        };
        record.status = certificate;
        let holder = record.identity;
        self.put_rows(vec![revoked::write(&revocation.serial)]);
        self.put(certificate_key, &record);
        let serial = revocation.serial.clone();
        self.tell(Event::Certificate { transaction: id, serial, record });
        let identity: Option<IdentityRecord> = self.record("identity", &key::identity(&holder))?;
        if let Some(mut identity) = identity
            && identity.serial.as_ref() == Some(&revocation.serial)
        {
            identity.status = identity_status;
            self.change_identity(id, holder, identity);
        }
        Ok(())
    }

    /// Records an identity and tells of it.
    pub(crate) fn change_identity(
        &mut self,
        id: Digest,
        identity: IdentityId,
        record: IdentityRecord,
    ) {
        self.put(key::identity(&identity), &record);
        self.tell(Event::Identity { transaction: Some(id), identity, record });
    }

    pub(crate) fn require_authority(&self, signer: &Signer) -> Result<(), Outcome> {
        signer.require_member()?;
        if signer.record.owner == self.ground.genesis.authority.member {
            Ok(())
        } else {
            Err(Outcome::Forbidden)
        }
    }
}
