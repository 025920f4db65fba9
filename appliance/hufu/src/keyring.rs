//! The node's keys in its token, by what they are for.

use anyhow::Context as _;
use hufu_keys::{Custody, Key, KeyAlgorithm};
use hufu_proof::{Algorithm, PublicKey, Signature, Signer, SignerFault};

use crate::config::Config;
use crate::output::unavailable;

/// Labels of keys in the token.
pub mod label {
    /// Votes in consensus; names the validator on the network.
    pub const VOTE: &str = "vote";
    /// TLS, as server and as client.
    pub const TLS: &str = "tls";
    /// Transactions, receipts, reports and transcripts.
    pub const STATEMENT: &str = "statement";
    /// The root CA.
    pub const ROOT: &str = "root-ca";
    /// The issuing CA.
    pub const ISSUING: &str = "issuing-ca";
}

/// Opens the node's token.
///
/// # Errors
/// [`crate::output::Exit::Unavailable`] when the token does not answer; a
/// sentence when the PIN is wrong (it is tried once).
pub fn open(config: &Config, pin: hufu_keys::Pin) -> anyhow::Result<Custody> {
    Custody::open(config.token.clone(), pin).map_err(|error| match error.retry_after() {
        Some(_) => unavailable(format!("token `{}`: {error}", config.token.label)),
        None => anyhow::Error::new(error).context(format!("token `{}`", config.token.label)),
    })
}

/// A key that the ceremony made.
///
/// # Errors
/// A sentence that points to `hufu init`.
pub fn key(custody: &Custody, label: &str) -> anyhow::Result<Key> {
    custody.key(label).with_context(|| format!("key `{label}` of the token; `hufu init` makes it"))
}

/// The public key as the ledger writes it.
///
/// # Errors
/// When the ledger does not have the key's algorithm.
pub fn public(key: &Key) -> anyhow::Result<PublicKey> {
    Ok(PublicKey::new(algorithm(key.algorithm())?, key.public_key())?)
}

fn algorithm(algorithm: KeyAlgorithm) -> anyhow::Result<Algorithm> {
    match algorithm {
        KeyAlgorithm::P256 => Ok(Algorithm::EcdsaP256),
        KeyAlgorithm::P384 => Ok(Algorithm::EcdsaP384),
        KeyAlgorithm::Ed25519 => Ok(Algorithm::Ed25519),
        other => anyhow::bail!("the ledger has no signatures of algorithm {}", other.name()),
    }
}

/// A token key as the ledger's signer.
#[derive(Clone)]
pub struct TokenSigner {
    key: Key,
    public: PublicKey,
}

impl TokenSigner {
    /// Signs with `key`.
    ///
    /// # Errors
    /// As [`public`].
    pub fn new(key: Key) -> anyhow::Result<Self> {
        let public = public(&key)?;
        Ok(Self { key, public })
    }
}

impl Signer for TokenSigner {
    fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let bytes = self.key.sign(message).map_err(|error| SignerFault(error.to_string()))?;
        Signature::new(self.public.algorithm(), &bytes)
            .map_err(|error| SignerFault(error.to_string()))
    }
}
