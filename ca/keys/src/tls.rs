//! TLS with keys that stay in the token (rustls).

use std::sync::Arc;

use rustls::{
    SignatureAlgorithm, SignatureScheme,
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer},
    sign::{CertifiedKey, Signer, SigningKey},
};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::{algorithm::KeyAlgorithm, custody::Key, error::Result};

/// A [`Key`] as rustls wants it, for server and client side.
///
/// rustls signs synchronously inside the handshake. On a multi-threaded tokio
/// runtime the thread is given up for the while (`block_in_place`), so that a
/// slow token holds up its own handshakes only; on a current-thread runtime
/// everything on it waits.
#[derive(Clone, Debug)]
pub struct TlsKey(Key);

impl TlsKey {
    /// Wraps a key.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self(key)
    }

    fn scheme(&self) -> SignatureScheme {
        match self.0.algorithm() {
            KeyAlgorithm::P256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            KeyAlgorithm::P384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            KeyAlgorithm::Ed25519 => SignatureScheme::ED25519,
        }
    }
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.0.spki_der()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.algorithm() {
            KeyAlgorithm::P256 | KeyAlgorithm::P384 => SignatureAlgorithm::ECDSA,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::ED25519,
        }
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, rustls::Error> {
        let multi_threaded = Handle::try_current()
            .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
        let signed = if multi_threaded {
            tokio::task::block_in_place(|| self.0.sign_der(message))
        } else {
            self.0.sign_der(message)
        };
        signed.map_err(|error| rustls::Error::Other(rustls::OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        TlsKey::scheme(self)
    }
}

/// A certificate chain (leaf first) with its key in the token, for a
/// `ResolvesServerCert` or `ResolvesClientCert`.
///
/// # Errors
/// [`rustls::Error`] if the leaf cannot be parsed or is not for this key.
pub fn certified_key(
    key: &Key,
    chain: Vec<CertificateDer<'static>>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let certified = CertifiedKey::new(chain, Arc::new(TlsKey::new(key.clone())));
    certified.keys_match()?;
    Ok(Arc::new(certified))
}
