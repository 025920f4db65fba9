//! Certificates in files, and what is trusted because of them.

use std::path::Path;

use anyhow::Context as _;
use hufu_proof::Digest;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Largest certificate file, in bytes.
const MAX_PEM: u64 = 256 * 1024;

/// Reads the certificates of a PEM file.
///
/// # Errors
/// A sentence with the path.
pub fn read(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let what = || format!("certificates in {}", path.display());
    let size = std::fs::metadata(path).with_context(what)?.len();
    anyhow::ensure!(size <= MAX_PEM, "{} is over {MAX_PEM} bytes", path.display());
    in_pem(&std::fs::read(path).with_context(what)?).with_context(what)
}

/// The certificates of a PEM text.
///
/// # Errors
/// When there is none or one is malformed.
pub fn in_pem(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!found.is_empty(), "no certificate in PEM");
    Ok(found)
}

/// A trust store of these roots.
///
/// # Errors
/// When a certificate is not one.
pub fn roots<'a>(
    certificates: impl IntoIterator<Item = CertificateDer<'a>>,
) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate).context("a root certificate")?;
    }
    Ok(store)
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` writes it.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = Digest::of(der).to_string().to_ascii_uppercase();
    let pairs: Vec<&str> = (0..digest.len()).step_by(2).map(|at| &digest[at..at + 2]).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_written_as_openssl_writes_it() {
        let text = fingerprint(b"");
        assert!(text.starts_with("E3:B0:C4:42:98:FC:1C:14"), "{text}");
        assert_eq!(text.len(), 64 + 31);
    }
}
