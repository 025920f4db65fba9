//! DER by hand, for the few structures that wrap bytes which must stay as
//! they are: certificates around a TBS, CMS around certificates, OCSP answers.
//!
//! Only definite lengths and low tag numbers; what is inside is the caller's.

use der::asn1::ObjectIdentifier;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// `[number]` constructed: an explicit tag, or an implicit one on a
/// constructed type.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element of `tag` around `parts`, one after the other.
pub(crate) fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
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

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    wrap(SEQUENCE, parts)
}

pub(crate) fn octet_string(bytes: &[u8]) -> Vec<u8> {
    wrap(OCTET_STRING, &[bytes])
}

/// A BIT STRING of whole octets.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    wrap(BIT_STRING, &[&[0], bytes])
}

pub(crate) fn oid(identifier: &ObjectIdentifier) -> Vec<u8> {
    wrap(OID, &[identifier.as_bytes()])
}

/// A non-negative INTEGER.
pub(crate) fn unsigned(value: u64) -> Vec<u8> {
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
pub(crate) fn extension(identifier: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = [BOOLEAN, 1, 0xff];
    let flag: &[u8] = if critical { &flag } else { &[] };
    sequence(&[&oid(identifier), flag, &octet_string(value)])
}

/// A signed X.509 object (certificate, CRL): `tbs` as it is, the algorithm,
/// the signature as a BIT STRING.
pub(crate) fn signed(tbs: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    sequence(&[tbs, algorithm, &bit_string(signature)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::{Decode, Encode, asn1::OctetString};
    use proptest::prelude::*;

    proptest! {
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
