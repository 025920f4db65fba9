//! OCSP (RFC 6960): answers about certificates of the issuing key, signed by
//! that key, from the state of the ledger.
//!
//! SHA-1 and SHA-256 CertIDs; a nonce is echoed. A serial that the ledger does
//! not know is `unknown`; a request that is only about other issuers is
//! `unauthorized`. Answers are dated back like certificates, but not before the
//! revocation that they tell. Answers without nonce are kept for a few seconds, and are
//! forgotten when a revocation is announced.
//!
//! Not here: signed requests are not asked for and their signatures not looked
//! at; no delegated responder certificate, since the issuing key is online
//! anyway.

mod request;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use der::Encode;

pub use self::request::{CertId, OcspRequest, Request, SingleRequest, TbsRequest, Version};
use hufu_issuance::{
    CaError, CertificateStatus, FormError, Issuance, RevocationReason, Serial, UnixTime, oid, sha1,
    sha256, sign_checked, this_update, tlv,
};

/// How long an answer without nonce is given again.
const KEPT: Duration = Duration::from_secs(5);
/// Answers kept; when full, all are forgotten.
const MOST_KEPT: usize = 10_000;

/// OCSPResponseStatus values that are used (section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResponseStatus {
    /// The request does not parse.
    MalformedRequest = 1,
    /// A defect here.
    InternalError = 2,
    /// Ledger or token are away.
    TryLater = 3,
    /// The certificates are of another issuer.
    Unauthorized = 6,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// OCSPResponse, DER.
    pub der: Vec<u8>,
    /// thisUpdate and nextUpdate, where it says something about a certificate
    /// and may be kept by others (it holds no nonce).
    pub cacheable: Option<(UnixTime, UnixTime)>,
}

/// Answers OCSP requests.
pub struct Responder {
    issuance: Issuance,
    /// How long an answer is good for: nextUpdate - thisUpdate.
    life: Duration,
    names: Names,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<Vec<u8>, (UnixTime, Answer)>,
    revocations: u64,
}

/// How CertIDs name our issuer.
struct Names {
    sha1: ([u8; 20], [u8; 20]),
    sha256: ([u8; 32], [u8; 32]),
}

impl Responder {
    /// Answers for the issuer of `issuance`; each answer is good for `life`.
    pub fn new(issuance: Issuance, life: Duration) -> Arc<Responder> {
        let issuer = issuance.issuer();
        let (name, key) = (issuer.subject_der(), issuer.public_key().raw());
        let names = Names { sha1: (sha1(name), sha1(key)), sha256: (sha256(name), sha256(key)) };
        Arc::new(Responder {
            names,
            life: life.max(Duration::from_secs(60)),
            kept: Mutex::new(Kept::default()),
            issuance,
        })
    }

    /// The answer to a request in DER. Failures are answers, too: RFC 6960
    /// has codes for them.
    pub async fn respond(&self, der: &[u8]) -> Answer {
        match self.try_respond(der).await {
            Ok(answer) => answer,
            Err(error) => {
                let status = match &error {
                    CaError::Form(FormError::Malformed { .. } | FormError::TooLarge { .. }) => {
                        ResponseStatus::MalformedRequest
                    }
                    CaError::Ledger(_) | CaError::Token(_) => ResponseStatus::TryLater,
                    _ => ResponseStatus::InternalError,
                };
                if status != ResponseStatus::MalformedRequest {
                    crate::problem::Refused::from(error).log("ocsp", "anonymous");
                }
                failure(status)
            }
        }
    }

    async fn try_respond(&self, der: &[u8]) -> Result<Answer, CaError> {
        let request = Request::from_der(der)?;
        let now = self.issuance.clock().now();
        if request.nonce.is_none()
            && let Some(answer) = self.kept(der, now)
        {
            return Ok(answer);
        }
        let mut serials = Vec::with_capacity(request.certificates.len());
        for certificate in &request.certificates {
            serials.push(self.ours(certificate)?);
        }
        if serials.iter().all(Option::is_none) {
            return Ok(failure(ResponseStatus::Unauthorized));
        }
        // Read before the ledger, so that an answer from before a revocation
        // is not kept after it.
        let revocations = *self.issuance.revocations().borrow();
        let next_update = now.plus(self.life);
        let mut oldest = now;
        let mut singles = Vec::with_capacity(serials.len());
        for (certificate, serial) in request.certificates.iter().zip(serials) {
            let status = match serial {
                Some(serial) => {
                    self.issuance.ledger().status(serial).await.map_err(CaError::Ledger)?
                }
                None => CertificateStatus::Unknown,
            };
            let revoked = match status {
                CertificateStatus::Revoked { at, .. } => Some(at),
                _ => None,
            };
            let since = this_update(now, revoked);
            oldest = oldest.min(since);
            singles.push(single(certificate, status, since, next_update.max(since))?);
        }
        let data = self.response_data(&singles, request.nonce.as_deref(), now)?;
        let issuer = self.issuance.issuer();
        let signature = sign_checked(&**issuer.signer(), issuer.public_key(), &data).await?;
        let basic = tlv::signed(&data, &issuer.signer().algorithm().to_der(), &signature);
        let der_answer = successful(&basic);
        let cacheable = request.nonce.is_none().then_some((oldest, next_update));
        let answer = Answer { der: der_answer, cacheable };
        if cacheable.is_some() {
            self.keep(der, &answer, now, revocations);
        }
        Ok(answer)
    }

    /// The serial, if the CertID names our issuer.
    fn ours(&self, certificate: &CertId) -> Result<Option<Serial>, CaError> {
        let (name, key): (&[u8], &[u8]) = match certificate.hash() {
            Some(oid::SHA1) => (&self.names.sha1.0, &self.names.sha1.1),
            Some(oid::SHA256) => (&self.names.sha256.0, &self.names.sha256.1),
            _ => return Ok(None),
        };
        if certificate.issuer_name_hash.as_bytes() != name
            || certificate.issuer_key_hash.as_bytes() != key
        {
            return Ok(None);
        }
        // A zero or negative serial is nobody's.
        Ok(Serial::from_bytes(certificate.serial_number.as_bytes()).ok())
    }

    /// ResponseData (section 4.2.1).
    fn response_data(
        &self,
        singles: &[Vec<u8>],
        nonce: Option<&[u8]>,
        now: UnixTime,
    ) -> Result<Vec<u8>, FormError> {
        let responder = tlv::wrap(
            tlv::context(2),
            &[&tlv::octet_string(&self.issuance.issuer().public_key().key_identifier())],
        );
        let parts: Vec<&[u8]> = singles.iter().map(Vec::as_slice).collect();
        let extensions = nonce.map(|nonce| {
            let list = tlv::sequence(&[&tlv::extension(&oid::OCSP_NONCE, false, nonce)]);
            tlv::wrap(tlv::context(1), &[&list])
        });
        Ok(tlv::sequence(&[
            &responder,
            &now.to_generalized_der()?,
            &tlv::sequence(&parts),
            extensions.as_deref().unwrap_or(&[]),
        ]))
    }

    fn kept(&self, request: &[u8], now: UnixTime) -> Option<Answer> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.revocations != *self.issuance.revocations().borrow() {
            return None;
        }
        let (made, answer) = kept.answers.get(request)?;
        (now >= *made && now < made.plus(KEPT)).then(|| answer.clone())
    }

    fn keep(&self, request: &[u8], answer: &Answer, now: UnixTime, revocations: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.revocations != revocations || kept.answers.len() >= MOST_KEPT {
            kept.answers.clear();
            kept.revocations = revocations;
        }
        kept.answers.insert(request.to_vec(), (now, answer.clone()));
    }
}

/// SingleResponse (section 4.2.1).
fn single(
    certificate: &CertId,
    status: CertificateStatus,
    this_update: UnixTime,
    next_update: UnixTime,
) -> Result<Vec<u8>, FormError> {
    let status = match status {
        CertificateStatus::Good => tlv::wrap(0x80, &[]),
        CertificateStatus::Unknown => tlv::wrap(0x82, &[]),
        CertificateStatus::Revoked { at, reason } => {
            let code = if reason == RevocationReason::Unspecified {
                Vec::new()
            } else {
                tlv::wrap(tlv::context(0), &[&tlv::wrap(tlv::ENUMERATED, &[&[reason.code()]])])
            };
            tlv::wrap(tlv::context(1), &[&at.to_generalized_der()?, &code])
        }
    };
    Ok(tlv::sequence(&[
        &certificate.to_der().map_err(FormError::encoding)?,
        &status,
        &this_update.to_generalized_der()?,
        &tlv::wrap(tlv::context(0), &[&next_update.to_generalized_der()?]),
    ]))
}

fn successful(basic: &[u8]) -> Vec<u8> {
    let bytes = tlv::sequence(&[&tlv::oid(&oid::OCSP_BASIC), &tlv::octet_string(basic)]);
    tlv::sequence(&[&tlv::wrap(tlv::ENUMERATED, &[&[0]]), &tlv::wrap(tlv::context(0), &[&bytes])])
}

/// A response that says nothing but that there is none.
pub(crate) fn failure(status: ResponseStatus) -> Answer {
    Answer {
        der: tlv::sequence(&[&tlv::wrap(tlv::ENUMERATED, &[&[status as u8]])]),
        cacheable: None,
    }
}
