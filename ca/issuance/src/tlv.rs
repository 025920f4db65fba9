//! DER by hand, for the few structures that wrap bytes which must stay as
//! they are: certificates around a TBS, CMS around certificates, OCSP answers;
//! and for reading requests, where what others leave out has to be named.
//!
//! Only definite lengths and low tag numbers; what is inside is the caller's.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader};

use crate::form::FormError;

/// Tag of BOOLEAN.
pub const BOOLEAN: u8 = 0x01;
/// Tag of INTEGER.
pub const INTEGER: u8 = 0x02;
/// Tag of BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// Tag of OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// Tag of OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// Tag of ENUMERATED.
pub const ENUMERATED: u8 = 0x0a;
/// Tag of SEQUENCE, constructed.
pub const SEQUENCE: u8 = 0x30;
/// Tag of SET, constructed.
pub const SET: u8 = 0x31;

/// `[number]` constructed: an explicit tag, or an implicit one on a
/// constructed type.
pub const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element of `tag` around `parts`, one after the other.
pub fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut output = Vec::with_capacity(length + 6);
    output.push(tag);
    if let Ok(short @ 0..=0x7f) = u8::try_from(length) {
        output.push(short);
    } else {
        let octets = length.to_be_bytes();
        let first = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len() - 1);
        let significant = &octets[first..];
        output.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
        output.extend_from_slice(significant);
    }
    for part in parts {
        output.extend_from_slice(part);
    }
    output
}

/// A SEQUENCE of `parts`.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    wrap(SEQUENCE, parts)
}

/// An OCTET STRING.
pub fn octet_string(bytes: &[u8]) -> Vec<u8> {
    wrap(OCTET_STRING, &[bytes])
}

/// A BIT STRING of whole octets.
pub fn bit_string(bytes: &[u8]) -> Vec<u8> {
    wrap(BIT_STRING, &[&[0], bytes])
}

/// An OBJECT IDENTIFIER.
pub fn oid(identifier: &ObjectIdentifier) -> Vec<u8> {
    wrap(OID, &[identifier.as_bytes()])
}

/// A non-negative INTEGER.
pub fn unsigned(value: u64) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let first = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len() - 1);
    let significant = &octets[first..];
    if significant[0] & 0x80 == 0 {
        wrap(INTEGER, &[significant])
    } else {
        wrap(INTEGER, &[&[0], significant])
    }
}

/// An X.509 Extension (RFC 5280 section 4.2) around its value in DER.
pub fn extension(identifier: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = [BOOLEAN, 1, 0xff];
    let flag: &[u8] = if critical { &flag } else { &[] };
    sequence(&[&oid(identifier), flag, &octet_string(value)])
}

/// A signed X.509 object (certificate, CRL): `tbs` as it is, the algorithm,
/// the signature as a BIT STRING.
pub fn signed(tbs: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    sequence(&[tbs, algorithm, &bit_string(signature)])
}

/// One element of an encoding.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// Its first octet.
    pub tag: u8,
    /// What is in it.
    pub content: &'a [u8],
    /// All of it, with tag and length.
    pub whole: &'a [u8],
}

/// The elements that `content` consists of, one after the other. `what` and
/// `field` name it in errors.
///
/// # Errors
/// A length that is not DER's, or that goes beyond the end.
pub fn elements<'a>(
    what: &'static str,
    field: &str,
    content: &'a [u8],
) -> Result<Vec<Element<'a>>, FormError> {
    let wrong =
        |error: der::Error| FormError::malformed(what, format!("{field} is not in DER: {error}"));
    let mut reader = SliceReader::new(content).map_err(wrong)?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        let whole = reader.tlv_bytes().map_err(wrong)?;
        let content = AnyRef::from_der(whole).map_err(wrong)?.value();
        let tag = whole.first().copied().unwrap_or_default();
        elements.push(Element { tag, content, whole });
    }
    Ok(elements)
}

/// The object identifier that an element is.
///
/// # Errors
/// It is none.
pub fn read_oid(
    what: &'static str,
    field: &str,
    element: Option<&Element<'_>>,
) -> Result<ObjectIdentifier, FormError> {
    element
        .filter(|element| element.tag == OID)
        .and_then(|element| ObjectIdentifier::from_bytes(element.content).ok())
        .ok_or_else(|| FormError::malformed(what, format!("{field} has no object identifier")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::{Encode, asn1::OctetString};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn elements_are_what_was_put_together(parts in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..300), 0..5
        )) {
            let parts: Vec<Vec<u8>> = parts.iter().map(|part| octet_string(part)).collect();
            let all = parts.concat();
            let read = elements("test", "all", &all).unwrap();
            let again: Vec<&[u8]> = read.iter().map(|element| element.whole).collect();
            prop_assert_eq!(again, parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            if !all.is_empty() {
                prop_assert!(elements("test", "all", &all[..all.len() - 1]).is_err());
            }
        }

        #[test]
        fn lengths_are_what_der_says(length in 0usize..70_000) {
            let bytes = vec![0x55; length];
            let expected = OctetString::new(bytes.clone()).unwrap().to_der().unwrap();
            prop_assert_eq!(octet_string(&bytes), expected);
        }

        #[test]
        fn integers_are_what_der_says(value in any::<u64>()) {
            prop_assert_eq!(unsigned(value), value.to_der().unwrap());
            prop_assert_eq!(u64::from_der(&unsigned(value)).unwrap(), value);
        }
    }
}
