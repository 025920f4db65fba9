//! Certificate revocation lists (RFC 5280 section 5): complete, version 2.
//!
//! A list is dated back like a certificate, for devices whose clock is late,
//! but never before the newest revocation on it.

use std::time::Duration;

use der::{Decode, Encode};
use x509_cert::crl::CertificateList;

use crate::algorithm::PublicKey;
use crate::build::authority_key_identifier;
use crate::error::CaError;
use crate::form::FormError;
use crate::ledger::{Revocation, RevocationReason};
use crate::serial::Serial;
use crate::signer::{TbsSigner, sign_checked};
use crate::time::UnixTime;
use crate::{limits, oid, tlv};

/// How far lists and OCSP answers are dated back: as far as certificates are by
/// the shipped profiles.
pub const BACKDATE: Duration = Duration::from_secs(300);

/// The date of something said at `now` about revocations of which the newest
/// took effect at `newest`.
pub fn this_update(now: UnixTime, newest: Option<UnixTime>) -> UnixTime {
    let back = now.minus(BACKDATE);
    newest.map_or(back, |newest| back.max(newest))
}

/// A signed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// The list, DER.
    pub der: Vec<u8>,
    /// Its number.
    pub number: u64,
    /// From when it says it is good.
    pub this_update: UnixTime,
    /// When its successor is due at the latest.
    pub next_update: UnixTime,
    entries: Vec<Revocation>,
}

impl RevocationList {
    /// Signs a list of `revoked` for the issuer of that name (DER) and key
    /// identifier, made at a moment to live for a time from then.
    ///
    /// # Errors
    /// The token does not sign, or signs with another key.
    pub async fn sign(
        signer: &dyn TbsSigner,
        key: &PublicKey,
        (issuer, key_identifier): (&[u8], &[u8]),
        number: u64,
        (now, life): (UnixTime, Duration),
        mut revoked: Vec<Revocation>,
    ) -> Result<RevocationList, CaError> {
        sort(&mut revoked);
        let this_update = this_update(now, revoked.iter().map(|entry| entry.at).max());
        let next_update = now.plus(life).max(this_update);
        let algorithm = signer.algorithm().to_der();
        let dates = (this_update, next_update);
        let tbs = tbs(issuer, key_identifier, &algorithm, number, dates, &revoked)?;
        let signature = sign_checked(signer, key, &tbs).await?;
        let der = tlv::signed(&tbs, &algorithm, &signature);
        Ok(RevocationList { der, number, this_update, next_update, entries: revoked })
    }

    /// Reads a list that was made here, as far as its number, dates and entries
    /// go; ends of validity are not on it.
    ///
    /// # Errors
    /// It is too large, not DER, or lacks number or date.
    pub fn from_der(der: &[u8]) -> Result<RevocationList, FormError> {
        const WHAT: &str = "revocation list";
        if der.len() > limits::ROOT_LIST {
            return Err(FormError::TooLarge { what: WHAT, limit: limits::ROOT_LIST });
        }
        let wrong = |detail: &str| FormError::malformed(WHAT, detail);
        let list: CertificateList =
            CertificateList::from_der(der).map_err(|error| FormError::malformed(WHAT, error))?;
        let list = &list.tbs_cert_list;
        let number = list
            .crl_extensions
            .iter()
            .flatten()
            .find(|extension| extension.extn_id == oid::CRL_NUMBER)
            .and_then(|extension| u64::from_der(extension.extn_value.as_bytes()).ok())
            .ok_or_else(|| wrong("it has no cRLNumber"))?;
        let next_update = list.next_update.ok_or_else(|| wrong("it has no nextUpdate"))?;
        let mut entries = Vec::new();
        for entry in list.revoked_certificates.iter().flatten() {
            let reason = entry
                .crl_entry_extensions
                .iter()
                .flatten()
                .find(|extension| extension.extn_id == oid::REASON_CODE)
                .and_then(|extension| extension.extn_value.as_bytes().last())
                .and_then(|code| RevocationReason::from_code(*code));
            entries.push(Revocation {
                serial: Serial::from_bytes(entry.serial_number.as_bytes())?,
                at: UnixTime::from_x509(&entry.revocation_date),
                reason: reason.unwrap_or(RevocationReason::Unspecified),
                not_after: UnixTime::NEVER,
            });
        }
        Ok(RevocationList {
            der: der.to_vec(),
            number,
            this_update: UnixTime::from_x509(&list.this_update),
            next_update: UnixTime::from_x509(&next_update),
            entries,
        })
    }

    /// What is on it, by serial number.
    pub fn entries(&self) -> &[Revocation] {
        &self.entries
    }

    /// How many certificates are on it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// By serial number, each once.
pub(crate) fn sort(entries: &mut Vec<Revocation>) {
    entries.sort_by(|a, b| a.serial.cmp(&b.serial));
    entries.dedup_by(|a, b| a.serial == b.serial);
}

/// TBSCertList, DER (section 5.1.2).
fn tbs(
    issuer: &[u8],
    key_identifier: &[u8],
    algorithm: &[u8],
    number: u64,
    (this_update, next_update): (UnixTime, UnixTime),
    entries: &[Revocation],
) -> Result<Vec<u8>, FormError> {
    let time = |time: UnixTime| time.to_x509()?.to_der().map_err(FormError::encoding);
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
    use crate::algorithm::SignatureAlgorithm;
    use crate::subject::{Attribute, Subject};

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    #[test]
    fn the_list_is_what_x509_cert_reads() {
        let issuer = Subject::new([(Attribute::CN, "Issuing")]).unwrap();
        let algorithm = SignatureAlgorithm::EcdsaSha256.to_der();
        let entries: Vec<Revocation> = RevocationReason::ALL
            .iter()
            .map(|reason| Revocation {
                serial: Serial::from_bytes(&[0x40 + reason.code(); 17]).unwrap(),
                at: NOW,
                reason: *reason,
                not_after: UnixTime::NEVER,
            })
            .collect();
        let dates = (NOW, NOW.plus(Duration::from_secs(60)));
        for entries in [&entries[..], &[]] {
            let tbs = tbs(&issuer.to_der(), &[1; 20], &algorithm, 7, dates, entries).unwrap();
            let der = tlv::signed(&tbs, &algorithm, &[0; 64]);
            let list: CertificateList = CertificateList::from_der(&der).unwrap();
            assert_eq!(list.to_der().unwrap(), der);
            let read = RevocationList::from_der(&der).unwrap();
            assert_eq!((read.number, read.this_update, read.next_update), (7, dates.0, dates.1));
            assert_eq!(read.entries(), entries);
        }
        assert!(RevocationList::from_der(&[0x30, 0]).is_err());
    }

    #[test]
    fn a_list_is_dated_back_but_not_before_what_is_on_it() {
        assert_eq!(this_update(NOW, None), NOW.minus(BACKDATE));
        let long_ago = NOW.minus(Duration::from_secs(3600));
        assert_eq!(this_update(NOW, Some(long_ago)), NOW.minus(BACKDATE));
        let just_now = NOW.minus(Duration::from_secs(2));
        assert_eq!(this_update(NOW, Some(just_now)), just_now);
    }
}
