//! TLS with keys that stay in a token or TPM (DESIGN decision 4): 1.3 only
//! unless the configuration allows 1.2, hybrid key exchange preferred, mutual
//! authentication against the consortium's root.

use std::path::Path;
use std::sync::{Arc, RwLock};

use anyhow::Context as _;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
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

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The node's certificate, which can be replaced while it serves.
#[derive(Debug, Default)]
pub struct NodeCertificate(RwLock<Option<Arc<CertifiedKey>>>);

impl NodeCertificate {
    /// Serves and authenticates with `certified` from now on.
    pub fn install(&self, certified: Arc<CertifiedKey>) {
        // A poisoned lock holds a whole value: storing is one assignment.
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(certified);
    }

    /// The certificate in use.
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
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
