//! Why an attestation is refused.

use super::wire::WireError;

/// Who can mend a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The device sent something wrong: answer 4xx, write it to the audit log.
    Device,
    /// The device may try again later: answer 503 with `Retry-After`.
    Busy,
    /// This machine failed: answer 500.
    System,
}

/// Why an attestation is refused. [`code`](Self::code) is stable and made for
/// audit logs and problem documents; the text says how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// The chain has no certificate, or too many, or one is too large or is
    /// not DER.
    #[error("the EK certificate chain is malformed: {reason}; send DER, EK certificate first")]
    EkCertificateMalformed {
        /// What is wrong.
        reason: String,
    },
    /// No path leads from the EK certificate to a known root.
    #[error(
        "the EK certificate issued by {issuer:?} does not chain to a known manufacturer's root; \
         send the intermediates, or have the authority's operator add the root"
    )]
    EkUntrusted {
        /// The issuer named by the EK certificate.
        issuer: String,
    },
    /// A certificate on the path is not yet, or no longer, valid.
    #[error("the certificate of {subject:?} on the EK's path is not valid now; check the clock")]
    EkExpired {
        /// The subject of that certificate.
        subject: String,
    },
    /// The EK certificate is made for something else.
    #[error("the EK certificate may not be used as one: {reason}")]
    EkUsage {
        /// What is wrong.
        reason: &'static str,
    },
    /// The EK's public area cannot be read.
    #[error("the EK public area is malformed: {0}; send a TPM2B_PUBLIC")]
    EkMalformed(WireError),
    /// The EK's public area is not that of a storage key as the TCG EK
    /// credential profile wants it.
    #[error("the EK public area is not that of an endorsement key: {reason}")]
    EkAttributes {
        /// What is wrong.
        reason: &'static str,
    },
    /// The EK's public area and certificate hold different keys.
    #[error("the EK public area holds another key than the EK certificate")]
    EkMismatch,
    /// The AK's public area cannot be read.
    #[error("the AK public area is malformed: {0}; send a TPM2B_PUBLIC")]
    AkMalformed(WireError),
    /// The AK could sign anything.
    #[error("the attestation key is not restricted; create it with restricted and sign set")]
    AkNotRestricted,
    /// The AK's public area lacks something else.
    #[error("the attestation key is not acceptable: {reason}")]
    AkAttributes {
        /// What is wrong.
        reason: &'static str,
    },
    /// The device key's public area cannot be read.
    #[error("the device key's public area is malformed: {0}; send a TPM2B_PUBLIC")]
    KeyMalformed(WireError),
    /// The device key can leave its TPM.
    #[error("the device key can be duplicated; create it with fixedTPM set")]
    KeyNotFixedTpm,
    /// The device key can get another parent.
    #[error("the device key can be given another parent; create it with fixedParent set")]
    KeyNotFixedParent,
    /// The device key came into the TPM from outside.
    #[error("the device key was imported; create it inside with sensitiveDataOrigin set")]
    KeyImported,
    /// The device key's public area lacks something else.
    #[error("the device key is not acceptable: {reason}")]
    KeyAttributes {
        /// What is wrong.
        reason: &'static str,
    },
    /// The AK spoke about another key, or the CSR is for another key.
    #[error("the attested key is another one than the key presented; certify the CSR's own key")]
    KeyMismatch,
    /// The AK's statement cannot be read.
    #[error("the attestation statement is malformed: {0}; send the TPMS_ATTEST of TPM2_Certify")]
    AttestMalformed(WireError),
    /// The signature cannot be read.
    #[error("the attestation signature is malformed: {0}; send a TPMT_SIGNATURE, ECDSA SHA-256")]
    SignatureMalformed(WireError),
    /// The statement is not signed by the AK of the challenge.
    #[error("the attestation statement is not signed by the attestation key of this challenge")]
    CertifySignature,
    /// The statement was made for another challenge.
    #[error("the attestation statement is for another challenge; pass its qualifying data")]
    CertifyNonce,
    /// The activated secret is wrong.
    #[error("the secret is not the one in the credential; begin a new challenge")]
    WrongSecret,
    /// The identifier is not that of a challenge.
    #[error("there is no such challenge; begin a new one")]
    ChallengeUnknown,
    /// The challenge was answered before, rightly or wrongly.
    #[error("the challenge is spent; begin a new one")]
    ChallengeSpent,
    /// The challenge was not answered in time.
    #[error("the challenge has expired; begin a new one")]
    ChallengeExpired,
    /// Too many challenges are open.
    #[error("{open} challenges are open; try again in a minute")]
    ChallengesFull {
        /// How many are open.
        open: usize,
    },
    /// The machine's random number generator failed.
    #[error("no randomness is to be had on this machine; see its system log")]
    Randomness,
    /// The cryptographic library refused an operation that should not fail.
    #[error("{operation} failed in the cryptographic library")]
    Cryptography {
        /// The operation.
        operation: &'static str,
    },
}

impl AttestationError {
    /// The stable reason code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::EkCertificateMalformed { .. } => "ek-certificate-malformed",
            Self::EkUntrusted { .. } => "ek-untrusted",
            Self::EkExpired { .. } => "ek-expired",
            Self::EkUsage { .. } => "ek-usage",
            Self::EkMalformed(_) => "ek-malformed",
            Self::EkAttributes { .. } => "ek-attributes",
            Self::EkMismatch => "ek-mismatch",
            Self::AkMalformed(_) => "ak-malformed",
            Self::AkNotRestricted => "ak-not-restricted",
            Self::AkAttributes { .. } => "ak-attributes",
            Self::KeyMalformed(_) => "key-malformed",
            Self::KeyNotFixedTpm => "key-not-fixed-tpm",
            Self::KeyNotFixedParent => "key-not-fixed-parent",
            Self::KeyImported => "key-imported",
            Self::KeyAttributes { .. } => "key-attributes",
            Self::KeyMismatch => "key-mismatch",
            Self::AttestMalformed(_) => "attest-malformed",
            Self::SignatureMalformed(_) => "signature-malformed",
            Self::CertifySignature => "certify-signature",
            Self::CertifyNonce => "certify-nonce",
            Self::WrongSecret => "wrong-secret",
            Self::ChallengeUnknown => "challenge-unknown",
            Self::ChallengeSpent => "challenge-spent",
            Self::ChallengeExpired => "challenge-expired",
            Self::ChallengesFull { .. } => "challenges-full",
            Self::Randomness => "randomness",
            Self::Cryptography { .. } => "cryptography",
        }
    }

    /// Who can mend it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::ChallengesFull { .. } => Fault::Busy,
            Self::Randomness | Self::Cryptography { .. } => Fault::System,
            _ => Fault::Device,
        }
    }
}
