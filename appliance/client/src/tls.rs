//! TLS as a client, with keys that stay in a token or TPM (DESIGN decision 4):
//! hybrid key exchange preferred, mutual authentication against the consortium's
//! root, or one certificate whose fingerprint somebody read.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use hufu_proof::Digest;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};

static VERSIONS_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static VERSIONS_12_13: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The cryptography that TLS uses everywhere here.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// One certificate for every server that asks.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for OneCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Trusts one certificate, whose fingerprint somebody read, whatever it says of
/// itself. That the server has its key is checked as for any other.
#[derive(Debug)]
pub struct Pinned {
    wanted: Digest,
    provider: Arc<CryptoProvider>,
    other: Mutex<Option<String>>,
}

impl Pinned {
    /// Trusts the certificate with this SHA-256 fingerprint: 64 hexadecimal
    /// digits, with or without colons and blanks.
    ///
    /// # Errors
    /// When it is not a fingerprint.
    pub fn new(fingerprint: &str) -> anyhow::Result<Self> {
        let digits: String = fingerprint.chars().filter(|one| !matches!(one, ':' | ' ')).collect();
        let wanted = digits.to_ascii_lowercase().parse().ok().with_context(|| {
            format!(
                "`{fingerprint}` is not a SHA-256 fingerprint: give the 64 hexadecimal digits that \
                 the console shows"
            )
        })?;
        Ok(Self { wanted, provider: provider(), other: Mutex::default() })
    }

    /// The fingerprint of another certificate that was shown instead.
    pub fn other(&self) -> Option<String> {
        self.other.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Digest::of(end_entity) == self.wanted {
            return Ok(ServerCertVerified::assertion());
        }
        let shown = hufu_configuration::certificates::fingerprint(end_entity);
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A client that trusts one certificate and shows none: TLS 1.3 only.
///
/// # Errors
/// When the provider has no TLS 1.3, which is a fault of the build.
pub fn pinned_client(pinned: Arc<Pinned>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS_13)?
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client that trusts `roots` and, given a certificate, shows it.
///
/// # Errors
/// When the provider has no protocol version, which is a fault of the build.
pub fn client(
    roots: RootCertStore,
    certified: Option<Arc<CertifiedKey>>,
) -> anyhow::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS_12_13)?
        .with_root_certificates(roots);
    let mut config = match certified {
        Some(certified) => builder.with_client_cert_resolver(Arc::new(OneCertificate(certified))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_write_it() {
        let digest = Digest::of(b"x").to_string();
        let colons = hufu_configuration::certificates::fingerprint(b"x");
        for text in [&digest, &digest.to_ascii_uppercase(), &colons, &colons.replace(':', " ")] {
            assert_eq!(Pinned::new(text).unwrap().wanted, Digest::of(b"x"));
        }
        for text in ["", "AB:CD", &digest[1..], &format!("{digest}0"), &digest.replace('a', "g")] {
            assert!(Pinned::new(text).is_err(), "{text}");
        }
    }
}
