//! What is known of tokens and keys: plain data, on which everything else here
//! stands.

use cryptoki::{object::ObjectHandle, slot::TokenInfo};
use serde::Serialize;

use crate::{algorithm::KeyAlgorithm, encoding::PublicPoint};

/// Who made a token, as it says itself; for the ceremony transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenDescription {
    /// Label by which it is found.
    pub label: String,
    /// Serial number.
    pub serial: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Firmware version, `major.minor`.
    pub firmware: String,
}

impl TokenDescription {
    pub(crate) fn of(info: &TokenInfo) -> Self {
        Self {
            label: unpadded(info.label()).to_owned(),
            serial: unpadded(info.serial_number()).to_owned(),
            manufacturer: unpadded(info.manufacturer_id()).to_owned(),
            model: unpadded(info.model()).to_owned(),
            firmware: info.firmware_version().to_string(),
        }
    }
}

/// A text of a token without what fills it up: blanks by PKCS#11 (section 3.1,
/// CK_TOKEN_INFO), a NUL and whatever follows it by modules that copy a C string.
pub(crate) fn unpadded(text: &str) -> &str {
    text.split('\0').next().unwrap_or_default().trim_end_matches(' ')
}

/// What the token says about a private key; for the ceremony transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyDescription {
    /// Label of the key.
    pub label: String,
    /// CKA_ID, in hexadecimal; empty if it has none.
    pub id: String,
    /// Its algorithm.
    pub algorithm: KeyAlgorithm,
    /// CKA_TOKEN: it outlives the session.
    pub token: bool,
    /// CKA_PRIVATE: it is out of sight without login.
    pub private: bool,
    /// CKA_SENSITIVE: its value cannot be read.
    pub sensitive: bool,
    /// CKA_ALWAYS_SENSITIVE: and never could.
    pub always_sensitive: bool,
    /// CKA_EXTRACTABLE: it could be wrapped and taken out.
    pub extractable: bool,
    /// CKA_NEVER_EXTRACTABLE: and it never could.
    pub never_extractable: bool,
    /// CKA_LOCAL: it was generated on this token.
    pub local: bool,
}

impl KeyDescription {
    /// The first attribute that makes this key unfit for custody: `None` for
    /// a key that was made on the token and never could leave it.
    #[must_use]
    pub fn weakness(&self) -> Option<&'static str> {
        [
            (self.token, "CKA_TOKEN"),
            (self.private, "CKA_PRIVATE"),
            (self.sensitive, "CKA_SENSITIVE"),
            (self.always_sensitive, "CKA_ALWAYS_SENSITIVE"),
            (!self.extractable, "CKA_EXTRACTABLE"),
            (self.never_extractable, "CKA_NEVER_EXTRACTABLE"),
            (self.local, "CKA_LOCAL"),
        ]
        .into_iter()
        .find_map(|(good, name)| (!good).then_some(name))
    }
}

/// A key as found on the token.
#[derive(Debug)]
pub(crate) struct FoundKey {
    pub handle: ObjectHandle,
    pub point: PublicPoint,
    pub description: KeyDescription,
}

/// What is known about a key of the token.
pub(crate) struct KeyRecord {
    pub label: String,
    pub algorithm: KeyAlgorithm,
    pub point: PublicPoint,
    pub description: KeyDescription,
}
