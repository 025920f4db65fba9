//! The certificate authority: profiles, issuance, enrolment and status.
//!
//! What it does: takes a certification request over EST ([`est`]) or from the
//! command line, checks it against a [`Profile`], writes the certificate's TBS
//! to the ledger, and only when that is final has the token sign it
//! ([`Issuance`]). It answers about certificates with CRL and OCSP
//! ([`status`]), and takes TPM attestations ([`attest`]).
//!
//! What it is not: it holds no key (that is `hufu_keys`), runs no ledger (the
//! appliance gives it an [`IssuanceLedger`]), ends no TLS (whoever does puts a
//! [`PeerCertificate`] into requests), and reads no configuration.
//!
//! Rules it keeps:
//!
//! 1. No certificate is signed before its entry is final on the ledger.
//! 2. Durable before visible: serial, pending row, certificate, CRL number.
//! 3. The same request gets the first certificate again.
//! 4. What reaches a certificate was taken apart, checked and encoded again
//!    here, and linted as bytes.
//! 5. Whether a certificate is revoked is asked of the ledger each time, never
//!    remembered beyond an answer's own stated life.
//!
//! Start reading at [`Issuance`], then [`est`].

mod algorithm;
pub mod attest;
mod attestation;
mod batch;
mod build;
mod certificate;
mod check;
mod cms;
mod crl;
mod csr;
mod error;
pub mod est;
mod hierarchy;
mod http;
mod issuance;
mod ledger;
pub mod limits;
mod lint;
mod names;
pub mod ocsp;
mod oid;
pub mod pem;
mod profile;
mod quota;
mod requester;
mod serial;
mod signer;
pub mod status;
mod store;
mod subject;
mod time;
mod tlv;
mod tokens;

pub use crate::algorithm::{KeyAlgorithm, PublicKey, SignatureAlgorithm};
pub use crate::attestation::{Attestations, AttestedKey};
pub use crate::build::StatusAddresses;
pub use crate::certificate::{Certificate, Issuer};
pub use crate::check::{CertificateSummary, check_certificate, public_key_of};
pub use crate::crl::{Crl, CrlPublisher};
pub use crate::csr::CertificationRequest;
pub use crate::error::{CODES, CaError};
pub use crate::hierarchy::{
    AuthorityParameters, MemberParameters, issue_issuing, issue_member, self_signed_root,
};
pub use crate::http::{PeerCertificate, Problem};
pub use crate::issuance::{Issuance, IssuanceState, OnBehalf, Parts};
pub use crate::ledger::{
    CertificateStatus, IssuanceEntry, IssuanceLedger, LedgerFault, Recorded, Revocation,
    RevocationReason,
};
pub use crate::lint::Finding;
pub use crate::names::AlternativeName;
pub use crate::profile::{
    AttestationLevel, ExtendedUsage, ExtensionRules, MemberRule, NameKind, Profile, Profiles,
    Purpose, Requesters, SubjectRules, Usage, Validity,
};
pub use crate::quota::{Quota, Quotas};
pub use crate::requester::{Authenticator, Requester, Role, member_and_roles, member_urn};
pub use crate::serial::Serial;
pub use crate::signer::{SignFault, TbsSigner, TokenSigner};
pub use crate::store::{Issued, Store};
pub use crate::subject::{Attribute, Subject};
pub use crate::time::{Clock, SystemClock, UnixTime};
pub use crate::tokens::{NewToken, Token, Tokens};
