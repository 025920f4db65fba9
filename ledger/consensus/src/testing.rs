//! What tests need, and the product does not: a software vote key, repeatable
//! randomness, the simulated network.

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

/// SplitMix64, for schedules of faults: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)] // It has no end.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Says which seed it was when the test panics.
pub struct Seed(pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the failing seed is {}", self.0);
        }
    }
}
