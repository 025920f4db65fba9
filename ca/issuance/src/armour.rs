//! Certification requests as people and programs write them: one reader for
//! every door.
//!
//! | form | who sends it |
//! |---|---|
//! | DER | Java, .NET, strongSwan |
//! | base64 of DER, in lines of any length or none | EST clients (RFC 8951 section 3.1, whatever Content-Transfer-Encoding says) |
//! | PEM, also `NEW CERTIFICATE REQUEST`, in lines of any length | OpenSSL, Java's keytool, Windows' certreq |
//! | PEM behind a byte order mark, in UTF-16, behind or before text, with CRLF | editors, PowerShell, `openssl req -text` |
//! | base64 of PEM | scripts that encode what is encoded |
//!
//! What may be taken for two things is refused: two requests, or a private key
//! beside the request.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::form::FormError;
use crate::limits;

const WHAT: &str = "certification request";

/// Padding may be left out; bits beyond the last octet must be zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The certification request in `given`, DER, not yet parsed.
///
/// # Errors
/// Empty, too large, not base64, no request in it, more than one, or a private
/// key beside it.
pub fn decode_request(given: &[u8]) -> Result<Vec<u8>, FormError> {
    if given.len() > limits::REQUEST_TEXT {
        return Err(FormError::TooLarge { what: WHAT, limit: limits::REQUEST_TEXT });
    }
    if is_der(given) {
        return Ok(given.to_vec());
    }
    let text = text_of(given)?;
    if text.contains("-----BEGIN ") {
        return pem(&text);
    }
    let decoded = base64(&text)?;
    match std::str::from_utf8(&decoded) {
        Ok(inner) if inner.trim_start().starts_with("-----BEGIN ") => pem(inner),
        _ => Ok(decoded),
    }
}

/// A SEQUENCE is 30 8x, or 30 and a short length; base64 of one begins with M.
fn is_der(given: &[u8]) -> bool {
    given.first() == Some(&0x30) && given.get(1).is_some_and(|length| !length.is_ascii_graphic())
}

/// The text of `given`: UTF-8 with or without a byte order mark, or UTF-16 with
/// one.
fn text_of(given: &[u8]) -> Result<String, FormError> {
    let none = || FormError::malformed(WHAT, "it is neither DER, nor base64, nor PEM");
    let units = |from: fn([u8; 2]) -> u16| -> Vec<u16> {
        given[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect()
    };
    match given {
        [0xff, 0xfe, ..] => String::from_utf16(&units(u16::from_le_bytes)).map_err(|_| none()),
        [0xfe, 0xff, ..] => String::from_utf16(&units(u16::from_be_bytes)).map_err(|_| none()),
        _ => {
            let text = std::str::from_utf8(given).map_err(|_| none())?;
            Ok(text.trim_start_matches('\u{feff}').to_owned())
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>, FormError> {
    let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if compact.is_empty() {
        return Err(FormError::malformed(WHAT, "it is empty; send PKCS#10 in base64 or PEM"));
    }
    BASE64.decode(&compact).map_err(|error| {
        FormError::malformed(
            WHAT,
            format!("it is not base64 ({error}); send PKCS#10 in base64 or PEM"),
        )
    })
}

/// The one request among the blocks of `text`; what stands between them is for
/// people (RFC 7468 section 2).
fn pem(text: &str) -> Result<Vec<u8>, FormError> {
    let wrong = |detail: String| FormError::malformed(WHAT, detail);
    let mut rest = text;
    let mut found = None;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after
            .split_once("-----")
            .ok_or_else(|| wrong("the PEM block's BEGIN line has no end".to_owned()))?;
        let end = format!("-----END {label}-----");
        let (content, after) = after
            .split_once(&end)
            .ok_or_else(|| wrong(format!("the PEM block has no line {end}")))?;
        rest = after;
        match label {
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
                if content.contains(':') {
                    return Err(wrong("the PEM block has header lines; remove them".to_owned()));
                }
                if found.replace(base64(content)?).is_some() {
                    return Err(wrong("the text holds two requests; send one".to_owned()));
                }
            }
            "EC PARAMETERS" => {}
            other if other.ends_with("PRIVATE KEY") => {
                return Err(wrong(
                    "the text holds a private key, which nobody but its owner should have; \
                     make a new key and send its request alone"
                        .to_owned(),
                ));
            }
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(wrong(format!(
                    "the text holds a PEM block {other:?}; send CERTIFICATE REQUEST"
                )));
            }
        }
    }
    found.ok_or_else(|| wrong("the text holds no PEM block CERTIFICATE REQUEST".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(bytes: &[u8]) -> String {
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    fn in_lines(line: &str, length: usize) -> String {
        line.as_bytes()
            .chunks(length)
            .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
            .collect()
    }

    fn block(label: &str, lines: &str) -> String {
        format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
    }

    proptest! {
        #[test]
        fn every_form_gives_the_same_bytes(
            content in proptest::collection::vec(any::<u8>(), 0..1000), length in 1usize..100
        ) {
            let der = crate::tlv::octet_string(&content);
            let der = crate::tlv::sequence(&[&der]);
            let line = encode(&der);
            let lines = in_lines(&line, length);
            let pem = block("CERTIFICATE REQUEST", &lines);
            let utf16 = |mark: u16, to: fn(u16) -> [u8; 2]| -> Vec<u8> {
                std::iter::once(mark).chain(pem.encode_utf16()).flat_map(to).collect()
            };
            for form in [
                lines.clone().into_bytes(),
                line.clone().into_bytes(),
                lines.replace('\n', "\r\n").into_bytes(),
                lines.replace('=', "").into_bytes(),
                lines.replace('\n', " \t\r\n").into_bytes(),
                pem.clone().into_bytes(),
                pem.replace('\n', "\r\n").into_bytes(),
                block("NEW CERTIFICATE REQUEST", &lines).into_bytes(),
                format!("\u{feff}{pem}").into_bytes(),
                format!("Certificate Request:\n    Data:\n{pem}").into_bytes(),
                format!("{pem}\nsent by the line at 7\n").into_bytes(),
                format!("{}{pem}", block("EC PARAMETERS", "BggqhkjOPQMBBw==\n")).into_bytes(),
                encode(pem.as_bytes()).into_bytes(),
                utf16(0xfeff, u16::to_le_bytes),
                utf16(0xfeff, u16::to_be_bytes),
            ] {
                prop_assert_eq!(&decode_request(&form).unwrap(), &der);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = decode_request(&bytes);
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in "(-----BEGIN |-----END |-----|CERTIFICATE REQUEST|\\PC){0,30}") {
            let _ = decode_request(text.as_bytes());
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused_by_name() {
        let request = block("CERTIFICATE REQUEST", "MAA=\n");
        for (body, reason) in [
            (String::new(), "empty"),
            (" \r\n".to_owned(), "empty"),
            ("this is not base64!".to_owned(), "not base64"),
            (block("CERTIFICATE", "MIIB\n"), "CERTIFICATE"),
            ("-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n".to_owned(), "END CERTIFICATE REQUEST"),
            ("-----BEGIN CERTIFICATE REQUEST".to_owned(), "BEGIN line"),
            (format!("{request}{request}"), "two requests"),
            (format!("{}{request}", block("EC PRIVATE KEY", "MAA=\n")), "private key"),
            (format!("{request}{}", block("PRIVATE KEY", "MAA=\n")), "private key"),
            (block("CERTIFICATE REQUEST", "Proc-Type: 4,ENCRYPTED\n\nMAA=\n"), "header lines"),
            (block("EC PARAMETERS", "MAA=\n"), "no PEM block"),
        ] {
            let error = decode_request(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{body:?}: {error}");
        }
        assert!(decode_request(b"\xff\xfe\xff").is_err());
        let error = decode_request(&vec![b'M'; limits::REQUEST_TEXT + 1]).unwrap_err();
        assert_eq!(error.code(), "request-too-large");
    }
}
