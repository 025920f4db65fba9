//! TLS with keys that stay in a token or TPM (DESIGN decision 4): 1.3 only
//! unless the configuration allows 1.2, hybrid key exchange preferred, mutual
//! authentication against the consortium's root.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::Context as _;
use hufu_proof::Digest;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

/// Largest certificate file, in bytes.
const MAX_PEM: u64 = 256 * 1024;

static VERSIONS_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static VERSIONS_12_13: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Reads the certificates of a PEM file.
///
/// # Errors
/// A sentence with the path.
pub fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let what = || format!("certificates in {}", path.display());
    let size = std::fs::metadata(path).with_context(what)?.len();
    anyhow::ensure!(size <= MAX_PEM, "{} is over {MAX_PEM} bytes", path.display());
    certificates_in(&std::fs::read(path).with_context(what)?).with_context(what)
}

/// The certificates of a PEM text.
///
/// # Errors
/// When there is none or one is malformed.
pub fn certificates_in(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
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

/// The cryptography that TLS uses everywhere here.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The node's certificate, which can be replaced while it serves.
#[derive(Debug, Default)]
pub struct NodeCertificate(RwLock<Option<Arc<CertifiedKey>>>);

impl NodeCertificate {
    /// Serves and authenticates with `certified` from now on.
    pub fn install(&self, certified: Arc<CertifiedKey>) {
        // A poisoned lock holds a whole value: storing is one assignment.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(certified);
    }

    /// The certificate in use.
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for NodeCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
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

/// A server that asks its clients for a certificate under `roots`. A client
/// without one gets through to the public parts of the service, which is what
/// EST's `/cacerts` needs (RFC 7030 §4.1.1); each route decides.
///
/// # Errors
/// When `roots` is empty.
pub fn server(
    certificate: Arc<NodeCertificate>,
    roots: RootCertStore,
    tls12: bool,
) -> anyhow::Result<Arc<ServerConfig>> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .context("trust store for clients")?;
    let versions = if tls12 { VERSIONS_12_13 } else { VERSIONS_13 };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A server that asks nobody for a certificate: TLS 1.3 only.
///
/// # Errors
/// When the provider has no TLS 1.3, which is a fault of the build.
pub fn public_server(certificate: Arc<NodeCertificate>) -> anyhow::Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS_13)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
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
        let shown = crate::appliance::fingerprint(end_entity);
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
        let colons = crate::appliance::fingerprint(b"x");
        for text in [&digest, &digest.to_ascii_uppercase(), &colons, &colons.replace(':', " ")] {
            assert_eq!(Pinned::new(text).unwrap().wanted, Digest::of(b"x"));
        }
        for text in ["", "AB:CD", &digest[1..], &format!("{digest}0"), &digest.replace('a', "g")] {
            assert!(Pinned::new(text).is_err(), "{text}");
        }
    }
}
