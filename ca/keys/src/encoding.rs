//! Points and signatures between PKCS#11, SEC 1 and DER.
//!
//! What a token returns is input from outside: lengths are exact, points are
//! checked to be on the curve, nothing panics.

use p256::elliptic_curve::sec1::ToSec1Point;

use crate::{
    algorithm::KeyAlgorithm,
    error::{Error, Result},
};

/// A public key in the two forms that are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicPoint {
    /// SEC 1 §2.3.3 compressed (33, 49 bytes), or the 32 bytes of Ed25519.
    pub compressed: Vec<u8>,
    /// SEC 1 uncompressed (65, 97 bytes), or the 32 bytes of Ed25519.
    pub full: Vec<u8>,
}

/// Reads CKA_EC_POINT.
///
/// The specification wants a DER OCTET STRING around the point; tokens are met
/// that return the bare point, or (Ed25519, PKCS#11 3.0 drafts) a BIT STRING.
/// The lengths of the three never coincide, so the form is decided by length.
pub(crate) fn parse_ec_point(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<PublicPoint> {
    const OFF_CURVE: Error = Error::Malformed("CKA_EC_POINT is not a point on its curve");
    match algorithm {
        KeyAlgorithm::P256 => {
            let point = unwrap_point(bytes, &[65, 33])?;
            let key = p256::PublicKey::from_sec1_bytes(point).map_err(|_| OFF_CURVE)?;
            Ok(PublicPoint {
                compressed: key.to_sec1_point(true).as_bytes().to_vec(),
                full: key.to_sec1_point(false).as_bytes().to_vec(),
            })
        }
        KeyAlgorithm::P384 => {
            let point = unwrap_point(bytes, &[97, 49])?;
            let key = p384::PublicKey::from_sec1_bytes(point).map_err(|_| OFF_CURVE)?;
            Ok(PublicPoint {
                compressed: key.to_sec1_point(true).as_bytes().to_vec(),
                full: key.to_sec1_point(false).as_bytes().to_vec(),
            })
        }
        KeyAlgorithm::Ed25519 => {
            let point = unwrap_point(bytes, &[32])?;
            Ok(PublicPoint { compressed: point.to_vec(), full: point.to_vec() })
        }
    }
}

fn unwrap_point<'a>(bytes: &'a [u8], lengths: &[usize]) -> Result<&'a [u8]> {
    let content = match bytes {
        [0x04, length, content @ ..]
            if usize::from(*length) == content.len() && lengths.contains(&content.len()) =>
        {
            content
        }
        [0x03, length, 0, content @ ..]
            if usize::from(*length) == content.len() + 1 && lengths.contains(&content.len()) =>
        {
            content
        }
        bare => bare,
    };
    if lengths.contains(&content.len()) {
        Ok(content)
    } else {
        Err(Error::Malformed("CKA_EC_POINT has a length of no known form"))
    }
}

/// Checks what C_Sign returned and brings it into the canonical fixed form:
/// r‖s with both in range, and s in the lower half for P-256 (so that a
/// signature has one form only).
pub(crate) fn canonical_signature(algorithm: KeyAlgorithm, raw: Vec<u8>) -> Result<Vec<u8>> {
    const BAD: Error = Error::Malformed("C_Sign returned no signature of the key's algorithm");
    if raw.len() != algorithm.signature_len() {
        return Err(if is_ecdsa_der(algorithm, &raw) { IN_DER } else { BAD });
    }
    match algorithm {
        KeyAlgorithm::P256 => {
            let signature = p256::ecdsa::Signature::from_slice(&raw).map_err(|_| BAD)?;
            Ok(signature.normalize_s().to_bytes().to_vec())
        }
        KeyAlgorithm::P384 => {
            p384::ecdsa::Signature::from_slice(&raw).map_err(|_| BAD)?;
            Ok(raw)
        }
        KeyAlgorithm::Ed25519 => Ok(raw),
    }
}

/// What a module that departs from the standard is called.
const IN_DER: Error = Error::Malformed(
    "C_Sign returned the ECDSA signature in DER; PKCS#11 (section 6.3.1) asks for r and s side by side, so this token's module cannot be used: ask its maker for one that keeps to it",
);

fn is_ecdsa_der(algorithm: KeyAlgorithm, raw: &[u8]) -> bool {
    match algorithm {
        KeyAlgorithm::P256 => p256::ecdsa::Signature::from_der(raw).is_ok(),
        KeyAlgorithm::P384 => p384::ecdsa::Signature::from_der(raw).is_ok(),
        KeyAlgorithm::Ed25519 => false,
    }
}

/// DER `ECDSA-Sig-Value` (RFC 3279 §2.2.3) of r‖s. `fixed` is 64 or 96 bytes.
pub(crate) fn ecdsa_der(fixed: &[u8]) -> Vec<u8> {
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let mut body = Vec::with_capacity(fixed.len() + 6);
    for integer in [r, s] {
        let zeros = integer.iter().take_while(|byte| **byte == 0).count();
        // INTEGER has at least one byte, and a leading zero where the top bit
        // would make it negative.
        let digits = &integer[zeros.min(integer.len().saturating_sub(1))..];
        let pad = digits.first().is_some_and(|byte| byte & 0x80 != 0);
        body.push(0x02);
        // At most 49 bytes: short-form lengths throughout.
        body.push((digits.len() + usize::from(pad)) as u8);
        if pad {
            body.push(0);
        }
        body.extend_from_slice(digits);
    }
    let mut der = Vec::with_capacity(body.len() + 2);
    der.push(0x30);
    der.push(body.len() as u8);
    der.extend_from_slice(&body);
    der
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p256_point(seed: [u8; 32], compress: bool) -> Option<Vec<u8>> {
        let secret = p256::SecretKey::from_slice(&seed).ok()?;
        let point = secret.public_key().to_sec1_point(compress);
        Some(point.as_bytes().to_vec())
    }

    fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
        let unused: &[u8] = if tag == 3 { &[0] } else { &[] };
        let length = (content.len() + unused.len()) as u8;
        [&[tag, length], unused, content].concat()
    }

    proptest! {
        #[test]
        fn every_form_of_a_point_is_the_same_point(seed: [u8; 32]) {
            let Some(full) = p256_point(seed, false) else { return Ok(()) };
            let compressed = p256_point(seed, true).unwrap();
            let expected = PublicPoint { compressed: compressed.clone(), full: full.clone() };
            for bare in [&full, &compressed] {
                for form in [bare.clone(), wrapped(4, bare), wrapped(3, bare)] {
                    prop_assert_eq!(&parse_ec_point(KeyAlgorithm::P256, &form).unwrap(), &expected);
                }
            }
        }

        #[test]
        fn every_form_of_a_p384_point_is_the_same_point(seed: [u8; 32]) {
            let Ok(secret) = p384::SecretKey::from_slice(&[&[0; 16][..], &seed].concat()) else {
                return Ok(());
            };
            let full = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
            let compressed = secret.public_key().to_sec1_point(true).as_bytes().to_vec();
            let expected = PublicPoint { compressed: compressed.clone(), full: full.clone() };
            for bare in [&full, &compressed] {
                for form in [bare.clone(), wrapped(4, bare), wrapped(3, bare)] {
                    prop_assert_eq!(&parse_ec_point(KeyAlgorithm::P384, &form).unwrap(), &expected);
                }
            }
        }

        #[test]
        fn an_ed25519_key_is_32_bytes_in_any_form(key: [u8; 32]) {
            for form in [key.to_vec(), wrapped(4, &key), wrapped(3, &key)] {
                prop_assert_eq!(parse_ec_point(KeyAlgorithm::Ed25519, &form).unwrap().full, &key);
            }
        }

        #[test]
        fn a_changed_point_is_refused_or_another_point(
            seed: [u8; 32], at in 0usize..67, change in 1u8..,
        ) {
            let Some(full) = p256_point(seed, false) else { return Ok(()) };
            let mut form = wrapped(4, &full);
            form[at] ^= change;
            if let Ok(point) = parse_ec_point(KeyAlgorithm::P256, &form) {
                prop_assert_ne!(point.full, full);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..140)) {
            for algorithm in KeyAlgorithm::ALL {
                if let Ok(point) = parse_ec_point(algorithm, &bytes) {
                    prop_assert_eq!(point.compressed.len(), algorithm.public_key_len());
                }
                if let Ok(signature) = canonical_signature(algorithm, bytes.clone()) {
                    prop_assert_eq!(signature.len(), algorithm.signature_len());
                }
            }
        }

        #[test]
        fn der_is_what_rustcrypto_writes(r: [u8; 32], s: [u8; 32], zeros in 0usize..31) {
            let mut fixed = [r, s].concat();
            fixed[..zeros].fill(0);
            let Ok(signature) = p256::ecdsa::Signature::from_slice(&fixed) else { return Ok(()) };
            let expected = signature.to_der();
            prop_assert_eq!(ecdsa_der(&fixed), expected.as_bytes());
        }

        #[test]
        fn p384_der_is_what_rustcrypto_writes(r: [u8; 32], s: [u8; 32]) {
            let fixed = [&[0x7f; 16][..], &r, &[0x01; 16], &s].concat();
            let signature = p384::ecdsa::Signature::from_slice(&fixed).unwrap();
            let expected = signature.to_der();
            prop_assert_eq!(ecdsa_der(&fixed), expected.as_bytes());
        }

        #[test]
        fn s_ends_up_in_the_lower_half(r: [u8; 32], s: [u8; 32]) {
            let Ok(canonical) = canonical_signature(KeyAlgorithm::P256, [r, s].concat()) else {
                return Ok(());
            };
            // Half the group order, rounded down.
            let half = [
                0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xff, 0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61,
                0x7e, 0x31, 0x92, 0xa8,
            ];
            prop_assert!(canonical[32..] <= half[..]);
            prop_assert_eq!(&canonical[..32], &r[..]);
        }
    }

    #[test]
    fn a_signature_in_der_is_named() {
        for (algorithm, half) in [(KeyAlgorithm::P256, 32), (KeyAlgorithm::P384, 48)] {
            for first in [0x01, 0x81] {
                let mut fixed = vec![0x11; 2 * half];
                fixed[0] = first;
                let error = canonical_signature(algorithm, ecdsa_der(&fixed)).unwrap_err();
                assert!(error.to_string().contains("in DER"), "{error}");
            }
        }
    }

    #[test]
    fn zero_and_wrong_lengths_are_no_signatures() {
        for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384] {
            let length = algorithm.signature_len();
            for raw in
                [vec![0; length], vec![0xff; length], vec![1; length - 1], vec![1; length + 1]]
            {
                assert!(canonical_signature(algorithm, raw).is_err());
            }
        }
        assert!(canonical_signature(KeyAlgorithm::Ed25519, vec![1; 63]).is_err());
    }
}
