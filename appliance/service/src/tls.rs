//! TLS as a server, with the node's key in its token (DESIGN decision 4): 1.3 only
//! unless the configuration allows 1.2, hybrid key exchange preferred, clients
//! authenticated against the consortium's root.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use hufu_client::tls::provider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

static VERSIONS_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static VERSIONS_12_13: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

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
