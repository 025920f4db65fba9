//! Looks at the outcome with programs that we did not write.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::{self, Answer};

/// What OCSP or CRL say of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not revoked.
    Good,
    /// Revoked.
    Revoked,
}

/// `openssl` with `arguments`.
///
/// # Errors
/// When it does not start.
pub fn openssl(arguments: &[&str]) -> anyhow::Result<Answer> {
    process::run(Command::new("openssl").args(arguments))
}

/// What the responder at `url` says of the certificate in `certificate`; the
/// response's signature is checked against `root`.
///
/// # Errors
/// When there is no response, or one that does not verify.
pub fn ocsp(
    url: &str,
    root: &Path,
    issuing: &Path,
    certificate: &Path,
) -> anyhow::Result<Standing> {
    let [root, issuing, file] = [text(root)?, text(issuing)?, text(certificate)?];
    let answer = openssl(&[
        "ocsp",
        "-url",
        url,
        "-issuer",
        issuing,
        "-cert",
        file,
        "-CAfile",
        root,
        "-verify_other",
        issuing,
        "-no_nonce",
    ])?
    .success()?;
    let said = format!("{}{}", answer.stdout, answer.stderr);
    if !said.contains("Response verify OK") {
        bail!("openssl does not verify the OCSP response:\n{said}");
    }
    if said.contains(&format!("{file}: good")) {
        Ok(Standing::Good)
    } else if said.contains(&format!("{file}: revoked")) {
        Ok(Standing::Revoked)
    } else {
        bail!("openssl does not say good or revoked:\n{said}")
    }
}

/// Whether the CRL in `crl` (DER) names `certificate`; its signature is
/// checked against the issuing certificate by `openssl verify -crl_check`.
///
/// # Errors
/// When the CRL does not verify.
pub fn crl(
    crl: &Path,
    root: &Path,
    issuing: &Path,
    certificate: &Path,
) -> anyhow::Result<Standing> {
    let crl_pem = crl.with_extension("crl.pem");
    openssl(&["crl", "-inform", "DER", "-in", text(crl)?, "-out", text(&crl_pem)?])?.success()?;
    let answer = openssl(&[
        "verify",
        "-crl_check",
        "-CRLfile",
        text(&crl_pem)?,
        "-CAfile",
        text(root)?,
        "-untrusted",
        text(issuing)?,
        text(certificate)?,
    ])?;
    let said = format!("{}{}", answer.stdout, answer.stderr);
    if answer.status.success() {
        Ok(Standing::Good)
    } else if said.contains("certificate revoked") {
        Ok(Standing::Revoked)
    } else {
        bail!("openssl does not check the certificate against the CRL:\n{said}")
    }
}

/// `path` as text.
///
/// # Errors
/// When it is not UTF-8.
pub fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
