//! The certificate that a door shows, and servers that ask for none.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};

static VERSIONS_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A node's certificate, which can be replaced while it serves; its key is where
/// it is, in a token.
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

/// A server that asks nobody for a certificate: TLS 1.3 only.
///
/// # Errors
/// When the provider has no TLS 1.3, which is a fault of the build.
pub fn public_server(
    certificate: Arc<NodeCertificate>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS_13)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
