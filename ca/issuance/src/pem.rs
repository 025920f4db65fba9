//! Certificates as text: strict PEM (RFC 7468 section 3), label `CERTIFICATE`,
//! 64 columns, nothing between the blocks.

use pem_rfc7468::LineEnding;

use crate::form::FormError;
use crate::limits;

const LABEL: &str = "CERTIFICATE";

/// One certificate (DER) as PEM.
pub fn encode(der: &[u8]) -> Result<String, FormError> {
    pem_rfc7468::encode_string(LABEL, LineEnding::LF, der)
        .map_err(|_| FormError::malformed("certificate", "does not encode as PEM"))
}

/// Certificates (DER), one after the other.
pub fn encode_bundle<C: AsRef<[u8]>>(certificates: &[C]) -> Result<String, FormError> {
    certificates.iter().map(|certificate| encode(certificate.as_ref())).collect()
}

/// The certificates in a bundle, DER. Text of which [`encode_bundle`] would
/// make anything else is refused, but for CRLF line ends.
///
/// # Errors
/// Empty, too long, another label, text between blocks, wrong line length.
pub fn decode_bundle(text: &str) -> Result<Vec<Vec<u8>>, FormError> {
    if text.len() > limits::PEM_BUNDLE {
        return Err(FormError::TooLarge { what: "PEM bundle", limit: limits::PEM_BUNDLE });
    }
    let wrong = |detail: String| FormError::malformed("PEM bundle", detail);
    let text = text.replace("\r\n", "\n");
    let mut rest = text.as_str();
    let mut certificates = Vec::new();
    const END: &str = "-----END CERTIFICATE-----\n";
    while !rest.is_empty() {
        let block_end = rest.find(END).map(|position| position + END.len()).ok_or_else(|| {
            wrong(format!(
                "block {} has no \"-----END CERTIFICATE-----\" line",
                certificates.len() + 1
            ))
        })?;
        let (block, after) = rest.split_at(block_end);
        if certificates.len() == limits::PEM_CERTIFICATES {
            return Err(wrong(format!("more than {} certificates", limits::PEM_CERTIFICATES)));
        }
        let (label, der) = pem_rfc7468::decode_vec(block.as_bytes())
            .map_err(|error| wrong(format!("block {}: {error}", certificates.len() + 1)))?;
        if label != LABEL || encode(&der)? != block {
            return Err(wrong(format!(
                "block {} is not a certificate in 64 columns",
                certificates.len() + 1
            )));
        }
        certificates.push(der);
        rest = after;
    }
    if certificates.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bundles_round_trip(
            certificates in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..5)
        ) {
            let text = encode_bundle(&certificates).unwrap();
            prop_assert_eq!(&decode_bundle(&text).unwrap(), &certificates);
            prop_assert_eq!(&decode_bundle(&text.replace('\n', "\r\n")).unwrap(), &certificates);
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in "\\PC{0,200}") {
            let _ = decode_bundle(&text);
        }
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        let text = encode(&[0x30; 100]).unwrap();
        assert!(decode_bundle("").is_err());
        assert!(decode_bundle(&format!("{text}trailing")).is_err());
        assert!(decode_bundle(&format!("comment\n{text}")).is_err());
        assert!(decode_bundle(&text.replace("CERTIFICATE", "X509 CRL")).is_err());
        assert!(decode_bundle(&text.repeat(17)).is_err());
        assert!(decode_bundle(&" ".repeat(limits::PEM_BUNDLE + 1)).is_err());
    }
}
