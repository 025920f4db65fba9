//! What this crate asks of a key: its public half and signatures in the form
//! that X.509 carries. The product's only implementation is a key in a
//! PKCS#11 token (`hufu_keys`).

use std::time::Duration;

use futures::future::BoxFuture;

use crate::algorithm::{PublicKey, SignatureAlgorithm};
use crate::form::FormError;

/// A key that signs certificates, CRLs and OCSP responses.
pub trait TbsSigner: Send + Sync + 'static {
    /// The SubjectPublicKeyInfo of the key, DER.
    fn spki_der(&self) -> &[u8];

    /// The algorithm it signs with.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// Signs `message`; the answer is what goes into the BIT STRING (ECDSA:
    /// DER `Ecdsa-Sig-Value`; Ed25519: 64 octets).
    fn sign(&self, message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, SignFault>>;
}

/// The token did not sign.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the token did not sign: {reason}")]
pub struct SignFault {
    /// What the custody layer said, for the log. Holds no secret.
    pub reason: String,
    /// When it makes sense to ask again.
    pub retry_after: Duration,
}

/// Signs and checks the signature with the public key before anything is done
/// with it: a token that returns a wrong signature (a bit flip, a wrong handle)
/// must not put a broken certificate into the world.
///
/// # Errors
/// The token did not sign, or not with the key that it says.
pub async fn sign_checked(
    signer: &dyn TbsSigner,
    key: &PublicKey,
    message: &[u8],
) -> Result<Vec<u8>, SignFault> {
    let signature = signer.sign(message.to_vec()).await?;
    if key.verify(signer.algorithm(), message, &signature) {
        Ok(signature)
    } else {
        Err(SignFault {
            reason: "the signature it returned does not verify with its own public key".to_owned(),
            retry_after: Duration::from_secs(30),
        })
    }
}

/// A key in a PKCS#11 token.
pub struct TokenSigner {
    key: hufu_keys::Key,
    spki: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

impl TokenSigner {
    /// Signs with `key`.
    ///
    /// # Errors
    /// The key's algorithm is not one that this crate certifies with.
    pub fn new(key: hufu_keys::Key) -> Result<TokenSigner, FormError> {
        let spki = key.spki_der();
        let algorithm = PublicKey::from_spki_der(&spki)?.algorithm().signature();
        Ok(TokenSigner { key, spki, algorithm })
    }
}

impl TbsSigner for TokenSigner {
    fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, SignFault>> {
        let signature = self.key.sign_der_async(&message);
        Box::pin(async move {
            signature.await.map_err(|error| SignFault {
                reason: format!("{}: {error}", error.code()),
                retry_after: error.retry_after().unwrap_or(Duration::from_secs(30)),
            })
        })
    }
}
