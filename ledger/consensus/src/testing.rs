//! A software vote key for tests, and the simulated network. Not in the
//! product.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use hufu_proof::{Algorithm, PublicKey, Signature, Signer, SignerFault};
use p256::ecdsa::signature::Signer as _;

pub use crate::simulation::{Link, Simulation};

/// A vote key in memory. Its signatures are randomized like a token's.
pub struct SoftwareSigner {
    pair: EcdsaKeyPair,
    key: p256::ecdsa::SigningKey,
    repeatable: bool,
}

impl SoftwareSigner {
    /// The key of `seed`.
    ///
    /// # Panics
    /// When the seed's hash is not a scalar of P-256, which is so unlikely that
    /// no seed is known for which it happens.
    pub fn new(seed: u8) -> Self {
        let secret = crate::sha256(&[b'k', seed]);
        let key = p256::ecdsa::SigningKey::from_slice(&secret).expect("a scalar");
        let whole = key.verifying_key().to_sec1_point(false);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &secret,
            whole.as_bytes(),
        )
        .expect("the halves of one key");
        Self { pair, key, repeatable: false }
    }

    /// The key of `seed`, which signs one message always alike (RFC 6979).
    pub fn repeatable(seed: u8) -> Arc<dyn Signer> {
        Arc::new(Self { repeatable: true, ..Self::new(seed) })
    }

    /// The key of `seed`, as a node takes it.
    pub fn shared(seed: u8) -> Arc<dyn Signer> {
        Arc::new(Self::new(seed))
    }
}

impl Signer for SoftwareSigner {
    fn public_key(&self) -> PublicKey {
        let point = self.key.verifying_key().to_sec1_point(true);
        PublicKey::new(Algorithm::EcdsaP256, point.as_bytes()).expect("33 bytes")
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let fault = |error: hufu_proof::key::KeyError| SignerFault(error.to_string());
        if self.repeatable {
            let signature: p256::ecdsa::Signature = self.key.sign(message);
            return Signature::new(Algorithm::EcdsaP256, &signature.to_bytes()).map_err(fault);
        }
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| SignerFault("aws-lc-rs does not sign".to_owned()))?;
        Signature::new(Algorithm::EcdsaP256, signature.as_ref()).map_err(fault)
    }
}
