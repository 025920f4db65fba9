//! Request bodies of EST as clients really send them.
//!
//! RFC 8951 section 3.1 settles that the body is base64 whatever
//! Content-Transfer-Encoding says. Besides, two forms that cannot be taken for
//! it are understood, because people at a prompt send them: PEM as `openssl
//! req` writes it, and plain DER.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::error::CaError;
use crate::limits;

/// Padding may be left out; bits beyond the last octet must be zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The certification request in a body, DER, not yet parsed.
///
/// # Errors
/// Empty, too large, not base64, more than one PEM block.
pub fn decode_request(body: &[u8]) -> Result<Vec<u8>, CaError> {
    const WHAT: &str = "request body";
    if body.len() > limits::EST_BODY {
        return Err(CaError::TooLarge { what: WHAT, limit: limits::EST_BODY });
    }
    // A SEQUENCE is 30 8x or 30 and a short length; base64 of one begins with M.
    if body.first() == Some(&0x30) && body.get(1).is_some_and(|length| !length.is_ascii_graphic()) {
        return Ok(body.to_vec());
    }
    let text = std::str::from_utf8(body)
        .map_err(|_| CaError::malformed(WHAT, "neither base64 nor PEM nor DER"))?
        .trim_start_matches('\u{feff}')
        .trim();
    let text = match text.strip_prefix("-----BEGIN ") {
        Some(rest) => pem_content(rest)?,
        None => text,
    };
    let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if compact.is_empty() {
        return Err(CaError::malformed(WHAT, "empty; send a PKCS#10 request in base64"));
    }
    BASE64.decode(&compact).map_err(|error| {
        CaError::malformed(WHAT, format!("not base64 ({error}); send a PKCS#10 request in base64"))
    })
}

/// What stands between the first BEGIN and END lines, which must be all.
fn pem_content(rest: &str) -> Result<&str, CaError> {
    let wrong = |detail: &str| CaError::malformed("PEM", detail);
    let (label, rest) =
        rest.split_once("-----").ok_or_else(|| wrong("the BEGIN line has no end"))?;
    if label != "CERTIFICATE REQUEST" && label != "NEW CERTIFICATE REQUEST" {
        return Err(wrong("the block is not a CERTIFICATE REQUEST"));
    }
    let end = format!("-----END {label}-----");
    let (content, after) = rest.split_once(&end).ok_or_else(|| wrong("there is no END line"))?;
    if !after.trim().is_empty() {
        return Err(wrong("something follows the END line; send one request"));
    }
    Ok(content)
}

/// `bytes` in base64, on one line: RFC 4648 section 3.1 has no line ends, and
/// strongSwan's decoder takes none.
pub(crate) fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_form_gives_the_same_bytes(content in proptest::collection::vec(any::<u8>(), 0..1000)) {
            let der = crate::tlv::octet_string(&content);
            let der = crate::tlv::sequence(&[&der]);
            let line = encode(&der);
            let lines: String = line
                .as_bytes()
                .chunks(64)
                .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
                .collect();
            let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n");
            prop_assert_eq!(&decode_request(lines.as_bytes()).unwrap(), &der);
            prop_assert_eq!(&decode_request(line.as_bytes()).unwrap(), &der);
            prop_assert_eq!(&decode_request(lines.replace('\n', "\r\n").as_bytes()).unwrap(), &der);
            prop_assert_eq!(&decode_request(lines.replace('=', "").as_bytes()).unwrap(), &der);
            prop_assert_eq!(&decode_request(pem.as_bytes()).unwrap(), &der);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = decode_request(&bytes);
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for body in [
            &b""[..],
            b" \r\n",
            b"this is not base64!",
            b"\xff\xfe",
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n",
            b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\nMIIB",
        ] {
            assert!(decode_request(body).is_err(), "{body:?}");
        }
        let error = decode_request(&vec![b'M'; limits::EST_BODY + 1]).unwrap_err();
        assert_eq!(error.code(), "request.too-large");
    }
}
