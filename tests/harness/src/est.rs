//! EST (RFC 7030) as a client, and the little X.509 that it needs.

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use hufu_proof::{Algorithm, IdentityId, PublicKey};
use x509_cert::Certificate;

use crate::http::Http;

/// id-Ed25519 (RFC 8410 §3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// id-ecPublicKey (RFC 5480 §2.1.1).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// An EST server and who we are to it.
#[derive(Clone, Debug)]
pub struct Est {
    http: Http,
    url: String,
}

/// An enrolled certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The certificate, DER.
    pub der: Vec<u8>,
}

/// Why there is no certificate.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// What the server said.
    pub reason: String,
    /// When to ask again, in seconds, if the server said so.
    pub retry_after: Option<u64>,
}

impl Enrolled {
    /// PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// The serial number in lower-case hexadecimal, without DER's sign octet.
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn serial(&self) -> anyhow::Result<String> {
        let certificate = Certificate::from_der(&self.der)?;
        let octets = certificate.tbs_certificate().serial_number().as_bytes();
        let octets = octets.strip_prefix(&[0]).unwrap_or(octets);
        Ok(hex::encode(octets))
    }

    /// Who signs with its key on the ledger.
    ///
    /// # Errors
    /// For keys of other algorithms than devices have.
    pub fn identity(&self) -> anyhow::Result<IdentityId> {
        let certificate = Certificate::from_der(&self.der)?;
        let info = certificate.tbs_certificate().subject_public_key_info();
        let bits = info.subject_public_key.raw_bytes();
        let key = match info.algorithm.oid {
            ED25519 => PublicKey::new(Algorithm::Ed25519, bits)?,
            EC_PUBLIC_KEY => PublicKey::new(Algorithm::EcdsaP256, &compressed(bits)?)?,
            other => bail!("devices with {other} keys are not simulated"),
        };
        Ok(key.identity())
    }
}

/// SEC 1 §2.3.3: the compressed form of an uncompressed P-256 point.
///
/// # Errors
/// When it is none.
pub fn compressed(point: &[u8]) -> anyhow::Result<Vec<u8>> {
    ensure!(point.len() == 65 && point[0] == 4, "not an uncompressed P-256 point");
    let mut bytes = vec![2 + (point[64] & 1)];
    bytes.extend_from_slice(&point[1..33]);
    Ok(bytes)
}

impl Est {
    /// The server at `url` (`https://HOST:PORT`).
    pub fn new(http: Http, url: &str) -> Self {
        Self { http, url: url.to_owned() }
    }

    /// Asks for a certificate under `profile` for the request `csr`, DER.
    ///
    /// # Errors
    /// When there is no answer or one that is not EST's; a refusal is the
    /// inner error.
    pub fn enrol(&self, profile: &str, csr: &[u8]) -> anyhow::Result<Result<Enrolled, Refused>> {
        self.post(&format!("{profile}/simpleenroll"), csr)
    }

    /// Asks to renew, authenticated by the certificate to be renewed.
    ///
    /// # Errors
    /// As for [`Est::enrol`].
    pub fn renew(&self, profile: &str, csr: &[u8]) -> anyhow::Result<Result<Enrolled, Refused>> {
        self.post(&format!("{profile}/simplereenroll"), csr)
    }

    fn post(&self, operation: &str, csr: &[u8]) -> anyhow::Result<Result<Enrolled, Refused>> {
        let url = format!("{}/.well-known/est/{operation}", self.url);
        let answer = self.http.post(&url, "application/pkcs10", STANDARD.encode(csr).as_bytes())?;
        if answer.status != 200 {
            return Ok(Err(Refused {
                status: answer.status,
                reason: answer.text(),
                retry_after: answer.retry_after,
            }));
        }
        ensure!(
            answer.content_type.starts_with("application/pkcs7-mime"),
            "the EST server answered with `{}`",
            answer.content_type
        );
        let certificates = certificates_of(&answer.text())?;
        let [der] = certificates.as_slice() else {
            bail!("the EST server answered with {} certificates", certificates.len());
        };
        Ok(Ok(Enrolled { der: der.clone() }))
    }
}

/// The certificates of a certs-only CMS message in base64 (RFC 7030 §4.2.3).
///
/// # Errors
/// When it is none.
pub fn certificates_of(base64: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let text: String = base64.split_whitespace().collect();
    let der = STANDARD.decode(text).context("the EST answer is not base64")?;
    let message = ContentInfo::from_der(&der).context("the EST answer is not CMS")?;
    let signed: SignedData =
        message.content.decode_as().context("the EST answer is not SignedData")?;
    let mut certificates = Vec::new();
    for choice in signed.certificates.map(|set| set.0).into_iter().flat_map(|set| set.into_vec()) {
        if let CertificateChoices::Certificate(certificate) = choice {
            certificates.push(certificate.to_der()?);
        }
    }
    Ok(certificates)
}

/// PEM with lines of 64 characters.
pub fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let encoded = STANDARD.encode(der);
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// The DER of every PEM block in `text`, whatever its label.
///
/// # Errors
/// When a block is not PEM.
pub fn der_of_pem(text: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN ") {
        let block = &rest[start..];
        let end = block.find("-----END ").context("a PEM block has no end")?;
        let body = block[..end].split_once("-----\n").context("a PEM block has no body")?.1;
        let base64: String = body.split_whitespace().collect();
        blocks.push(STANDARD.decode(base64).context("a PEM block is not base64")?);
        rest = &block[end + 9..];
    }
    ensure!(!blocks.is_empty(), "there is no PEM block");
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_comes_back() -> anyhow::Result<()> {
        let der: Vec<u8> = (0..=255).collect();
        let text = pem("X", &der) + &pem("Y", &der[..7]);
        assert_eq!(der_of_pem(&text)?, [der.clone(), der[..7].to_vec()]);
        assert!(der_of_pem("nothing").is_err());
        Ok(())
    }
}
