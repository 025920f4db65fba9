//! Who asks: a member with roles, or a device for itself; and how that is
//! told from the certificate of a TLS client.
//!
//! Order of the checks: signed by our issuing key, issuer's name, use,
//! validity at this moment, status on the ledger, and only then roles. The
//! verdict on the signature is remembered by the certificate's digest, the
//! others never are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::algorithm::sha256;
use crate::certificate::Certificate;
use crate::error::CaError;
use crate::form::FormError;
use crate::issuer::Issuer;
use crate::ledger::{CertificateStatus, IssuanceLedger};
use crate::member::{MEMBER_URN, Role};
use crate::names::AlternativeName;
use crate::oid;
use crate::record::Token;
use crate::serial::Serial;
use crate::time::UnixTime;

/// For whom the ceremony or command line asks.
#[derive(Clone, Copy, Debug)]
pub struct OnBehalf<'a> {
    /// The member that the certificate belongs to.
    pub member: &'a str,
    /// Roles for a client certificate.
    pub roles: &'a [Role],
    /// Whether a new certificate is wished for where the same request got one
    /// before that would do.
    pub renew: bool,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// The appliance itself: ceremony and command line.
    Ceremony,
    /// A person or company with a client certificate.
    Member {
        /// The member's name.
        member: String,
        /// Roles, sorted.
        roles: Vec<Role>,
        /// The client certificate's serial.
        serial: Serial,
    },
    /// A device with a certificate of this authority.
    Device {
        /// Its certificate.
        certificate: Arc<Certificate>,
    },
    /// Whoever holds an enrolment token of a registration authority.
    Token(Token),
}

impl Requester {
    /// A short name for the audit log.
    pub fn describe(&self) -> String {
        match self {
            Self::Ceremony => "ceremony".to_owned(),
            Self::Member { member, serial, .. } => {
                format!("member {member} (certificate {serial})")
            }
            Self::Device { certificate } => format!("device certificate {}", certificate.serial()),
            Self::Token(token) => format!("enrolment token of member {}", token.member),
        }
    }
}

/// Tells requesters from TLS client certificates.
pub struct Authenticator {
    issuer: Arc<Issuer>,
    ledger: Arc<dyn IssuanceLedger>,
    /// Certificates whose signature held, by SHA-256 of their DER.
    verified: Mutex<HashMap<[u8; 32], Arc<Certificate>>>,
}

/// Certificates remembered; when full, all are forgotten, which costs one
/// verification each.
const REMEMBERED: usize = 10_000;

impl Authenticator {
    /// For certificates of `issuer`, with their status from `ledger`.
    pub fn new(issuer: Arc<Issuer>, ledger: Arc<dyn IssuanceLedger>) -> Authenticator {
        Authenticator { issuer, ledger, verified: Mutex::new(HashMap::new()) }
    }

    /// The certificate in `der`, if it is one of ours, valid `now` and not
    /// revoked.
    ///
    /// # Errors
    /// One of the `certificate-*` codes, or `ledger-unavailable`.
    pub async fn certificate(
        &self,
        der: &[u8],
        now: UnixTime,
    ) -> Result<Arc<Certificate>, CaError> {
        let certificate = self.verified(der)?;
        if now < certificate.not_before() || now > certificate.not_after() {
            return Err(CaError::ClientCertificateExpired {
                not_before: certificate.not_before(),
                not_after: certificate.not_after(),
            });
        }
        let status =
            self.ledger.status(certificate.serial().clone()).await.map_err(CaError::Ledger)?;
        match status {
            CertificateStatus::Good => Ok(certificate),
            CertificateStatus::Revoked { reason, .. } => {
                Err(CaError::ClientCertificateRevoked { reason: reason.name() })
            }
            CertificateStatus::Unknown => Err(CaError::ClientCertificate(
                "the ledger has no entry for it, so it was not issued by rule".to_owned(),
            )),
        }
    }

    /// Who presents the certificate in `der`.
    pub async fn requester(&self, der: &[u8], now: UnixTime) -> Result<Requester, CaError> {
        let certificate = self.certificate(der, now).await?;
        match member_and_roles(&certificate)? {
            Some((member, roles)) => {
                let usages = certificate.extended_key_usages()?;
                if !usages.is_empty() && !usages.contains(&oid::CLIENT_AUTH) {
                    return Err(CaError::ClientCertificate(
                        "its extended key usage is not clientAuth".to_owned(),
                    ));
                }
                let serial = certificate.serial().clone();
                let named = roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
                let roles = self.ledger.counts(&serial, roles).map_err(CaError::Ledger)?;
                if roles.is_empty() && !named.is_empty() {
                    return Err(CaError::ClientCertificate(format!(
                        "member {member} has not approved its key for what it says ({named}): on \
                         its node, `hufu member approve`"
                    )));
                }
                Ok(Requester::Member { member, roles, serial })
            }
            None => Ok(Requester::Device { certificate }),
        }
    }

    fn verified(&self, der: &[u8]) -> Result<Arc<Certificate>, CaError> {
        let digest = sha256(der);
        let remembered = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(certificate) = remembered.get(&digest) {
            return Ok(certificate.clone());
        }
        drop(remembered);
        let certificate = Certificate::from_der(der)
            .map_err(|error| CaError::ClientCertificate(error.to_string()))?;
        self.issuer
            .check_issued(&certificate)
            .map_err(|error| CaError::ClientCertificate(error.to_string()))?;
        if certificate.is_authority()? {
            return Err(CaError::ClientCertificate("it is an authority's".to_owned()));
        }
        let certificate = Arc::new(certificate);
        let mut remembered = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(digest, certificate.clone());
        Ok(certificate)
    }
}

/// Member and roles in the alternative name; `None` if it names no member.
pub fn member_and_roles(
    certificate: &Certificate,
) -> Result<Option<(String, Vec<Role>)>, FormError> {
    let mut member = None;
    let mut roles = Vec::new();
    for name in certificate.alternative_names()? {
        let AlternativeName::Uri(uri) = name else { continue };
        if let Some(name) = uri.strip_prefix(MEMBER_URN) {
            if member.replace(name.to_owned()).is_some() {
                return Err(FormError::Certificate("it names two members".to_owned()));
            }
        } else if let Some(role) = Role::ALL.into_iter().find(|role| role.urn() == uri) {
            roles.push(role);
        }
    }
    roles.sort_unstable();
    Ok(member.map(|member| (member, roles)))
}
