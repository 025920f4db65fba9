//! Issuance: from a certification request to a certificate on the ledger.
//!
//! What it does: takes a certification request, checks it against a
//! [`Profile`] and against who asks, writes the certificate's TBS to the ledger,
//! and only when that is final has the token sign it ([`Issuance`]). It revokes,
//! knows the status of certificates, and makes revocation lists and the
//! certificates of a ceremony.
//!
//! What it is not: it knows no protocol (`hufu_protocols` stands on it: EST,
//! attestation, OCSP, lists over HTTP), holds no key (`hufu_keys` does), runs no
//! ledger (the appliance gives it an [`IssuanceLedger`]), and reads no
//! configuration.
//!
//! Rules it keeps:
//!
//! 1. No certificate is signed before its entry is final on the ledger.
//! 2. Durable before visible: serial, pending row, certificate, list number.
//! 3. The same request gets the first certificate again, until that is due for
//!    renewal or a new one is wished for.
//! 4. What reaches a certificate was taken apart, checked and encoded again
//!    here, and linted as bytes.
//! 5. Whether a certificate is revoked is asked of the ledger each time, never
//!    remembered beyond an answer's own stated life.
//! 6. What a request took on its way (quota, token, attestation) it gives back
//!    when it comes to nothing.
//!
//! From the bottom: forms of data ([`FormError`]), profiles and lint, the store,
//! the decision who may ask for what, the pipeline, the service. Start reading
//! at [`Issuance`].

mod algorithm;
pub mod armour;
mod attested;
mod build;
mod certificate;
mod check;
mod csr;
mod decision;
mod error;
mod form;
mod hierarchy;
mod issuance;
mod issuer;
mod ledger;
pub mod limits;
mod lint;
mod member;
mod names;
pub mod oid;
pub mod pem;
mod pipeline;
mod profile;
mod queue;
mod quota;
mod record;
mod requester;
mod reservation;
mod revocation_list;
mod serial;
mod signer;
mod store;
mod subject;
mod time;
pub mod tlv;
mod tokens;

pub use crate::algorithm::{KeyAlgorithm, PublicKey, SignatureAlgorithm, sha1, sha256};
pub use crate::attested::{Attestations, AttestedKey};
pub use crate::build::StatusAddresses;
pub use crate::certificate::Certificate;
pub use crate::check::{CertificateSummary, check_certificate, public_key_of};
pub use crate::csr::CertificationRequest;
pub use crate::error::CaError;
pub use crate::form::FormError;
pub use crate::hierarchy::{
    AuthorityParameters, MemberParameters, ROOT_LIST_LIFE, issue_issuing, issue_member,
    renew_issuing, root_list, self_signed_root,
};
pub use crate::issuance::{AGAIN, Issuance, IssuanceState, Parts};
pub use crate::issuer::Issuer;
pub use crate::ledger::{
    CertificateStatus, IssuanceEntry, IssuanceLedger, LedgerFault, Recorded, Revocation,
    RevocationReason,
};
pub use crate::lint::Finding;
pub use crate::member::{check_member, member_urn};
pub use crate::names::AlternativeName;
pub use crate::profile::{
    AttestationLevel, ExtendedUsage, ExtensionRules, MemberRule, NameKind, Profile, Profiles,
    Purpose, Requesters, SubjectRules, Usage, Validity,
};
pub use crate::quota::{Quota, Quotas};
pub use crate::record::{Issued, Token};
pub use crate::requester::{OnBehalf, Requester, member_and_roles};
pub use crate::revocation_list::{BACKDATE, RevocationList, this_update};
pub use crate::serial::Serial;
pub use crate::signer::{SignFault, TbsSigner, TokenSigner, sign_checked};
pub use crate::store::{Store, StoreError, blocking};
pub use crate::subject::{Attribute, Subject};
pub use crate::time::{Clock, SystemClock, UnixTime};
pub use crate::tokens::{NewToken, Tokens};
pub use hufu_proof::Role;
