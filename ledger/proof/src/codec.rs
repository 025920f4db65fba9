//! Canonical bytes: borsh with a size limit and no bytes left over.

use borsh::{BorshDeserialize, BorshSerialize};

/// Largest encoded transaction, in bytes. A contract package in a governance
/// proposal is the largest thing a transaction carries.
pub const MAX_TRANSACTION: usize = 512 * 1024;

/// Largest encoded block, in bytes.
pub const MAX_BLOCK: usize = 2 * 1024 * 1024;

/// Largest receipt or state proof, in bytes, apart from the transaction in it.
/// Each epoch before the proof's adds a handover to it: about 2 kB with four
/// members, 15 kB with a hundred.
pub const MAX_PROOF: usize = 4 * 1024 * 1024;

/// Largest genesis file, in bytes.
pub const MAX_GENESIS: usize = 1024 * 1024;

/// Why bytes are not the canonical encoding of a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input is larger than its kind may be.
    #[error("{what} is {size} bytes; at most {limit} are accepted")]
    TooLarge {
        /// What was being decoded.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A list has more items than its kind may have.
    #[error("{what} has {count} items; at most {limit} are accepted")]
    TooMany {
        /// What was being decoded.
        what: &'static str,
        /// How many items it declares.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes do not decode.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
        /// What borsh said.
        reason: String,
    },
}

/// Decodes all of `bytes`, which may be at most `limit` long.
///
/// # Errors
/// When the input is over the limit, malformed, not canonical, or has bytes
/// left over.
pub fn decode<T: BorshDeserialize>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { what, size: bytes.len(), limit });
    }
    borsh::from_slice(bytes)
        .map_err(|error| DecodeError::Malformed { what, reason: error.to_string() })
}

/// Decodes a list of at most `most` items that fills `bytes`, which may be at
/// most `limit` long. Nothing is allocated by the declared count, and what does
/// not decode is named by its place.
///
/// # Errors
/// As [`decode`], and when there are too many items.
pub fn decode_list<T: BorshDeserialize>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
    most: usize,
) -> Result<Vec<T>, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { what, size: bytes.len(), limit });
    }
    let malformed = |reason: String| DecodeError::Malformed { what, reason };
    let mut rest = bytes;
    let count = u32::deserialize(&mut rest)
        .map_err(|_| malformed("the number of its items takes 4 bytes".to_owned()))?
        as usize;
    if count > most {
        return Err(DecodeError::TooMany { what, count, limit: most });
    }
    let mut items = Vec::new();
    for place in 0..count {
        let item = T::deserialize(&mut rest);
        items.push(item.map_err(|error| malformed(format!("{what}[{place}]: {error}")))?);
    }
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow its last item", rest.len())));
    }
    Ok(items)
}

/// Encodes `value` canonically.
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    // Writing to a Vec cannot fail, and no type here has a failing serializer.
    borsh::to_vec(value).expect("borsh into memory does not fail")
}

/// SHA-256 of a domain label, a zero byte, and the canonical bytes of `value`.
pub fn digest<T: BorshSerialize + ?Sized>(domain: &str, value: &T) -> crate::Digest {
    crate::Digest::of_parts(&[domain.as_bytes(), &[0], &encode(value)])
}

/// Bytes as standard base64 in JSON.
pub mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes base64 text.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads base64 text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_and_name_what_does_not_decode() {
        let list = vec!["one".to_owned(), "two".to_owned()];
        let bytes = encode(&list);
        let read = |bytes: &[u8], limit, most| decode_list::<String>("words", bytes, limit, most);
        assert_eq!(read(&bytes, 100, 2).unwrap(), list);
        assert_eq!(read(&encode(&Vec::<String>::new()), 100, 2).unwrap(), Vec::<String>::new());
        let what = "words";
        assert_eq!(
            read(&bytes, 17, 2).unwrap_err(),
            DecodeError::TooLarge { what, size: 18, limit: 17 }
        );
        assert_eq!(
            read(&bytes, 100, 1).unwrap_err(),
            DecodeError::TooMany { what, count: 2, limit: 1 }
        );
        // A declared count costs nothing.
        assert!(matches!(
            read(&[0xff; 4], 100, usize::MAX).unwrap_err(),
            DecodeError::Malformed { .. }
        ));
        for (bytes, says) in [
            (&bytes[..3], "4 bytes"),
            (&bytes[..bytes.len() - 1], "words[1]: "),
            (&[&bytes[..], &[0]].concat()[..], "1 bytes follow"),
        ] {
            let error = read(bytes, 100, 2).unwrap_err().to_string();
            assert!(error.starts_with("words is malformed: ") && error.contains(says), "{error}");
        }
    }
}
