//! Identifiers: digests, names, identities, certificate serial numbers.

use std::fmt;
use std::io::{Error, ErrorKind, Read};
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use sha2::{Digest as _, Sha256};

use crate::as_text::{debug_as_text, serde_as_text};

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of the concatenation of `parts`.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Read models write two of these for every transaction.
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        formatter.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Digest {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(IdentifierError::Digest);
        }
        hex::decode_to_slice(text, &mut bytes).map_err(|_| IdentifierError::Digest)?;
        Ok(Self(bytes))
    }
}

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifierError {
    /// Not 64 lower-case hexadecimal digits.
    #[error("a digest is 64 lower-case hexadecimal digits")]
    Digest,
    /// Not a name.
    #[error(
        "`{0}` is not a name: 1 to {max} characters, lower-case letters, digits, `-` and `_`, \
         beginning with a letter",
        max = Name::MAX
    )]
    Name(String),
    /// Not a certificate serial number.
    #[error(
        "a serial number is 1 to 20 octets, positive and without a leading zero octet (RFC 5280 §4.1.2.2)"
    )]
    Serial,
}

/// The name of a member, contract, asset type, action, field, state or role.
///
/// 1 to 64 characters: lower-case letters, digits, `-` and `_`, beginning with
/// a letter; so that it is the same in a path, in SQL, in Cedar and in a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Name(String);

impl Name {
    /// Longest name, in characters.
    pub const MAX: usize = 64;

    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`IdentifierError::Name`] when a character or the length is not allowed.
    pub fn new(text: &str) -> Result<Self, IdentifierError> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        let ok = text.len() <= Self::MAX
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
            && text.bytes().all(allowed);
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdentifierError::Name(text.chars().take(Self::MAX + 1).collect()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl BorshDeserialize for Name {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let text = bounded_text(reader, Self::MAX)?;
        Self::new(&text).map_err(|error| Error::new(ErrorKind::InvalidData, error))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl FromStr for Name {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Who signs: SHA-256 over the algorithm's code and the public key
/// ([`crate::PublicKey::identity`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct IdentityId(pub Digest);

impl fmt::Display for IdentityId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl FromStr for IdentityId {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A certificate's serial number (RFC 5280 §4.1.2.2): 1 to 20 octets,
/// big-endian, positive, no leading zero octet. Written in hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Most octets a serial number may have.
    pub const MAX: usize = 20;

    /// Checks and wraps big-endian octets (without DER's sign octet).
    ///
    /// # Errors
    /// [`IdentifierError::Serial`].
    pub fn new(octets: &[u8]) -> Result<Self, IdentifierError> {
        match octets.first() {
            Some(first) if *first != 0 && octets.len() <= Self::MAX => Ok(Self(octets.to_vec())),
            _ => Err(IdentifierError::Serial),
        }
    }

    /// The octets, big-endian.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl BorshDeserialize for Serial {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let octets = bounded_bytes(reader, Self::MAX)?;
        Self::new(&octets).map_err(|error| Error::new(ErrorKind::InvalidData, error))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Serial {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octets = hex::decode(text).map_err(|_| IdentifierError::Serial)?;
        Self::new(&octets)
    }
}

debug_as_text!(Digest, IdentityId, Serial);
serde_as_text!(Digest, IdentityId, Serial, Name);

/// Reads a borsh byte vector without believing a declared length over `limit`.
pub(crate) fn bounded_bytes<R: Read>(reader: &mut R, limit: usize) -> std::io::Result<Vec<u8>> {
    let length = u32::deserialize_reader(reader)? as usize;
    if length > limit {
        return Err(Error::new(
            ErrorKind::InvalidData,
            format!("length {length} is over the limit of {limit}"),
        ));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads a borsh string of at most `limit` bytes.
pub(crate) fn bounded_text<R: Read>(reader: &mut R, limit: usize) -> std::io::Result<String> {
    String::from_utf8(bounded_bytes(reader, limit)?)
        .map_err(|error| Error::new(ErrorKind::InvalidData, error))
}
