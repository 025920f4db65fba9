//! What an EST client reads (RFC 7030 §4.1.3): certs-only CMS in base64.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use x509_cert::der::{Decode as _, Encode as _};

/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// The certificates of an answer, DER, the first as it stands.
///
/// # Errors
/// A sentence that says what does not fit.
pub fn certificates(answer: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    anyhow::ensure!(answer.len() <= MAX_ANSWER, "an answer over {MAX_ANSWER} bytes");
    let text: Vec<u8> = answer.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(text).context("base64")?;
    let info = ContentInfo::from_der(&der).context("CMS")?;
    let signed: SignedData = info.content.decode_as().context("CMS SignedData")?;
    let set = signed.certificates.context("no certificates in it")?;
    set.0
        .iter()
        .map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => Ok(certificate.to_der()?),
            CertificateChoices::Other(_) => anyhow::bail!("a certificate that is not X.509"),
        })
        .collect()
}
