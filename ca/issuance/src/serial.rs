//! Certificate serial numbers (RFC 5280 section 4.1.2.2).

use std::fmt;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::form::FormError;
use crate::tlv;

/// A positive serial number of at most 20 octets, in its shortest form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Most octets of the INTEGER's content.
    pub const MAX_LEN: usize = 20;

    /// A new random serial: 17 octets, of which 16 are random and the first
    /// is `01` to `7f`, so that it is positive and never shorter.
    pub fn random() -> Result<Serial, FormError> {
        let mut octets = [0u8; 17];
        SystemRandom::new().fill(&mut octets).map_err(|_| FormError::Random)?;
        octets[0] = (octets[0] & 0x7f).max(1);
        Ok(Serial(octets.to_vec()))
    }

    /// From the octets of a positive INTEGER; leading zeros are dropped.
    pub fn from_bytes(bytes: &[u8]) -> Result<Serial, FormError> {
        let significant: &[u8] = match bytes.iter().position(|octet| *octet != 0) {
            Some(first) => &bytes[first..],
            None => return Err(FormError::malformed("serial number", "zero; it must be positive")),
        };
        // A first bit set costs one more octet in DER.
        if significant.len() + usize::from(significant[0] >> 7) > Self::MAX_LEN {
            return Err(FormError::malformed("serial number", "longer than 20 octets"));
        }
        Ok(Serial(significant.to_vec()))
    }

    /// From hexadecimal digits, with or without colons.
    pub fn from_hex(text: &str) -> Result<Serial, FormError> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        if digits.len() > 2 * Self::MAX_LEN {
            return Err(FormError::malformed("serial number", "longer than 20 octets"));
        }
        let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
        let bytes = hex::decode(padded)
            .map_err(|_| FormError::malformed("serial number", "not hexadecimal digits"))?;
        Self::from_bytes(&bytes)
    }

    /// The octets, without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The INTEGER in DER.
    pub fn to_der(&self) -> Vec<u8> {
        let pad: &[u8] =
            if self.0.first().is_some_and(|first| first & 0x80 != 0) { &[0] } else { &[] };
        tlv::wrap(tlv::INTEGER, &[pad, &self.0])
    }
}

impl fmt::Display for Serial {
    /// Lower-case hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_serials_are_positive_distinct_and_short_enough() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2000 {
            let serial = Serial::random().unwrap();
            assert_eq!(serial.as_bytes().len(), 17);
            assert!((1..0x80).contains(&serial.as_bytes()[0]));
            assert!(seen.insert(serial.clone()));
            assert_eq!(Serial::from_hex(&serial.to_string()).unwrap(), serial);
        }
    }

    #[test]
    fn zero_and_overlong_are_refused() {
        assert!(Serial::from_bytes(&[0, 0]).is_err());
        assert!(Serial::from_bytes(&[]).is_err());
        assert!(Serial::from_bytes(&[0x7f; 20]).is_ok());
        assert!(Serial::from_bytes(&[0x80; 20]).is_err());
        assert!(Serial::from_hex(&"1".repeat(100_000)).is_err());
        assert_eq!(Serial::from_bytes(&[0, 0x80]).unwrap().to_der(), [2, 2, 0, 0x80]);
    }
}
