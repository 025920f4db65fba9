//! The rows of the authority's own durable record, as [`crate::Store`] keeps
//! them.

use crate::algorithm::SignatureAlgorithm;
use crate::serial::Serial;
use crate::time::UnixTime;

/// One issuance, pending or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Serial number.
    pub serial: Serial,
    /// Digest of the request: profile, owner, key, names.
    pub request: [u8; 32],
    /// SHA-256 of the SubjectPublicKeyInfo, DER.
    pub key: [u8; 32],
    /// Profile.
    pub profile: String,
    /// Member that it belongs to.
    pub owner: String,
    /// Subject, RFC 4514 text.
    pub subject: String,
    /// The serialNumber of a device's subject.
    pub device: Option<String>,
    /// Digest of the enrolment token that it was asked for with.
    pub enrolment_token: Option<[u8; 32]>,
    /// End of validity.
    pub not_after: UnixTime,
    /// Digest of the attestation's evidence.
    pub attestation: Option<[u8; 32]>,
    /// When the request was accepted.
    pub created: UnixTime,
    /// TBSCertificate, DER.
    pub tbs: Vec<u8>,
    /// Where it stands on the ledger, once that is final.
    pub recorded: Option<(u64, [u8; 32])>,
    /// The certificate, DER, once signed.
    pub certificate: Option<Vec<u8>>,
}

/// What completes a row.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) serial: Serial,
    pub(crate) height: u64,
    pub(crate) transaction: [u8; 32],
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) signature: Vec<u8>,
}

/// How much a member issued under a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub(crate) owner: String,
    pub(crate) profile: String,
    pub(crate) total: u64,
    pub(crate) since: u64,
}

/// A stored enrolment token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub(crate) digest: [u8; 32],
    /// The member it enrols for.
    pub member: String,
    /// The only profile it enrols under.
    pub profile: String,
    /// How many keys it may enrol.
    pub keys: u32,
    /// Until when.
    pub expires: UnixTime,
    /// The serialNumber that the subject must have; any when absent.
    pub device: Option<String>,
}
