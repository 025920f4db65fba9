//! PEM files that leave the appliance: receipts, state proofs, and certificates
//! with their issuance receipts. There is one way to write each, so that any changed byte
//! is noticed.

use anyhow::Context as _;
use hufu_proof::{Receipt, StateProof, codec};
use pem_rfc7468::LineEnding;

const CERTIFICATE: &str = "CERTIFICATE";

/// What is wrong with a file that begins as it should and is no PEM.
const CUT: &str = "the PEM is cut off or altered, or something follows it";

/// What is wrong with a file of the right content in another form.
const OTHER_FORM: &str = "the file is not exactly as the appliance wrote it";

/// A PEM block.
///
/// # Errors
/// When the content is empty or too large to encode.
pub fn pem(label: &str, der: &[u8]) -> anyhow::Result<String> {
    pem_rfc7468::encode_string(label, LineEnding::LF, der).context("PEM")
}

/// A receipt's file.
///
/// # Errors
/// As [`pem`].
pub fn receipt(receipt: &Receipt) -> anyhow::Result<String> {
    pem(Receipt::PEM_LABEL, &codec::encode(receipt))
}

/// A state proof's file.
///
/// # Errors
/// As [`pem`].
pub fn state_proof(proof: &StateProof) -> anyhow::Result<String> {
    pem(StateProof::PEM_LABEL, &codec::encode(proof))
}

/// A certificate with its issuance receipt.
///
/// # Errors
/// As [`pem`].
pub fn certificate(der: &[u8], issuance: &Receipt) -> anyhow::Result<String> {
    Ok(pem(CERTIFICATE, der)? + &receipt(issuance)?)
}

/// Reads what [`receipt`] wrote, and nothing else.
///
/// # Errors
/// A sentence that says what does not fit.
pub fn parse_receipt(bytes: &[u8]) -> anyhow::Result<Receipt> {
    let (label, der) = pem_rfc7468::decode_vec(bytes).context(CUT)?;
    anyhow::ensure!(label == Receipt::PEM_LABEL, "a PEM block `{label}` instead of a receipt");
    let parsed = Receipt::decode(&der)?;
    anyhow::ensure!(receipt(&parsed)?.as_bytes() == bytes, OTHER_FORM);
    Ok(parsed)
}

/// Reads what [`state_proof`] wrote, and nothing else.
///
/// # Errors
/// A sentence that says what does not fit.
pub fn parse_state_proof(bytes: &[u8]) -> anyhow::Result<StateProof> {
    let (label, der) = pem_rfc7468::decode_vec(bytes).context(CUT)?;
    anyhow::ensure!(
        label == StateProof::PEM_LABEL,
        "a PEM block `{label}` instead of a state proof"
    );
    let parsed = StateProof::decode(&der)?;
    anyhow::ensure!(state_proof(&parsed)?.as_bytes() == bytes, OTHER_FORM);
    Ok(parsed)
}

/// Reads what [`certificate`] wrote, and nothing else: the certificate's DER
/// and the issuance receipt.
///
/// # Errors
/// A sentence that says what does not fit.
pub fn parse_certificate(bytes: &[u8]) -> anyhow::Result<(Vec<u8>, Receipt)> {
    let begin = format!("-----BEGIN {}-----", Receipt::PEM_LABEL);
    let at = bytes
        .windows(begin.len())
        .position(|window| window == begin.as_bytes())
        .context("a certificate without its issuance receipt; `hufu cert bundle` writes both")?;
    let (first, second) = bytes.split_at(at);
    let (label, der) = pem_rfc7468::decode_vec(first).context(CUT)?;
    anyhow::ensure!(label == CERTIFICATE, "a PEM block `{label}` instead of a certificate");
    anyhow::ensure!(pem(CERTIFICATE, &der)?.as_bytes() == first, OTHER_FORM);
    Ok((der, parse_receipt(second)?))
}
