//! JSON bodies of the attestation exchange, shared by device and authority.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /v1/attestation/challenge` | [`ChallengeRequest`] | 201, [`ChallengeResponse`] |
//! | `POST /v1/attestation/{id}` | [`CompletionRequest`] | 200, [`CompletionResponse`] |
//!
//! Bytes are base64 (RFC 4648 §4, padded), identifiers and digests lower-case
//! hexadecimal. TPM structures are those that tpm2-tools read and write, so
//! that a device without our agent can take part with a shell script. Unknown
//! members are refused. A refusal is a problem document (RFC 9457) whose
//! `code` is that of [`AttestationError::code`].
//!
//! [`AttestationError::code`]: crate::attest::AttestationError::code

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::attest::limits::{
    MAX_ATTEST, MAX_CERTIFICATE, MAX_CHAIN, MAX_CREDENTIAL_BLOB, MAX_ENCRYPTED_SECRET, MAX_PUBLIC,
    MAX_SIGNATURE, NONCE, SECRET,
};

/// Path of the first request.
pub const CHALLENGE_PATH: &str = "/v1/attestation/challenge";
/// What comes before the identifier in the path of the second request.
pub const COMPLETION_PATH_PREFIX: &str = "/v1/attestation/";

/// At most `MOST` bytes, as base64. Longer text is refused before it is
/// decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64<const MOST: usize>(pub Vec<u8>);

impl<const MOST: usize> Serialize for Base64<MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

struct Base64Visitor<const MOST: usize>;

impl<const MOST: usize> Visitor<'_> for Base64Visitor<MOST> {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "base64 of at most {MOST} bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let too_long = || E::invalid_length(text.len(), &self);
        if text.len() > MOST.div_ceil(3) * 4 {
            return Err(too_long());
        }
        // The text itself may be secret: it is not repeated in the error.
        let bytes =
            STANDARD.decode(text).map_err(|_| E::custom("not base64 (RFC 4648 §4, padded)"))?;
        if bytes.len() > MOST {
            return Err(too_long());
        }
        Ok(bytes)
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Base64<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Base64Visitor::<MOST>).map(Self)
    }
}

/// Bytes of a secret as base64: wiped when dropped, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretBytes(..)")
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_str(Base64Visitor::<SECRET>)
            .map(|bytes| Self(Zeroizing::new(bytes)))
    }
}

/// What a device sends first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// X.509 certificates in DER, the EK's first, then intermediates in any
    /// order.
    #[serde(deserialize_with = "bounded_chain")]
    pub ek_certificates: Vec<Base64<MAX_CERTIFICATE>>,
    /// `TPM2B_PUBLIC` of the EK.
    pub ek_public: Base64<MAX_PUBLIC>,
    /// `TPM2B_PUBLIC` of the AK.
    pub ak_public: Base64<MAX_PUBLIC>,
}

/// What the authority answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeResponse {
    /// Identifier, 32 hexadecimal digits; the last segment of the next
    /// request's path.
    pub id: String,
    /// `TPM2B_ID_OBJECT` for `TPM2_ActivateCredential`.
    pub credential_blob: Base64<MAX_CREDENTIAL_BLOB>,
    /// `TPM2B_ENCRYPTED_SECRET` for `TPM2_ActivateCredential`.
    pub encrypted_secret: Base64<MAX_ENCRYPTED_SECRET>,
    /// Nonce, 32 bytes; enters the qualifying data, see
    /// [`qualifying_data`](crate::attest::qualifying_data).
    pub nonce: Base64<NONCE>,
    /// When the challenge expires, in seconds since 1970 (UTC).
    pub expires: u64,
}

/// What a device sends second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompletionRequest {
    /// The secret that `TPM2_ActivateCredential` gave up.
    pub secret: SecretBytes,
    /// `TPM2B_PUBLIC` of the device key.
    pub key_public: Base64<MAX_PUBLIC>,
    /// `TPMS_ATTEST` of `TPM2_Certify` on the device key.
    pub attest: Base64<MAX_ATTEST>,
    /// `TPMT_SIGNATURE` of the AK over it.
    pub signature: Base64<MAX_SIGNATURE>,
}

/// What the authority has established. All members are hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionResponse {
    /// SHA-256 of the device key's `SubjectPublicKeyInfo`: a CSR for this key
    /// may now be enrolled.
    pub spki_sha256: String,
    /// SHA-256 of the EK certificate: which TPM it is.
    pub ek_certificate_sha256: String,
    /// Name of the AK.
    pub ak_name: String,
    /// SHA-256 over all evidence, as it goes to the record.
    pub digest: String,
}

/// Stops at the first certificate too many.
fn bounded_chain<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Base64<MAX_CERTIFICATE>>, D::Error> {
    struct Chain;
    impl<'de> Visitor<'de> for Chain {
        type Value = Vec<Base64<MAX_CERTIFICATE>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "one to {MAX_CHAIN} certificates")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut chain = Vec::new();
            while let Some(certificate) = items.next_element()? {
                if chain.len() == MAX_CHAIN {
                    return Err(A::Error::invalid_length(MAX_CHAIN + 1, &self));
                }
                chain.push(certificate);
            }
            if chain.is_empty() {
                return Err(A::Error::invalid_length(0, &self));
            }
            Ok(chain)
        }
    }
    deserializer.deserialize_seq(Chain)
}
