//! The node's keys in its token, by what they are for.

use anyhow::Context as _;
use hufu_keys::{Custody, Key, KeyAlgorithm};
use hufu_proof::{Algorithm, PublicKey, Signature, Signer, SignerFault};

use crate::Config;
use crate::unavailable;

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
/// [`crate::Exit::Unavailable`] when the token does not answer; a
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

/// A key of a certificate as the ledger writes it.
///
/// # Errors
/// When it is not a point of its curve's form.
pub fn ledger_key(key: &hufu_issuance::PublicKey) -> anyhow::Result<PublicKey> {
    let raw = key.raw();
    let compressed = |half: usize| -> anyhow::Result<Vec<u8>> {
        // SEC 1 §2.3.3: 04 ‖ x ‖ y becomes 02 or 03 ‖ x by the parity of y.
        let x = raw.get(1..=half).context("a public key that is too short")?;
        let odd = raw.last().context("an empty public key")? & 1;
        Ok([&[2 + odd], x].concat())
    };
    let (algorithm, bytes) = match key.algorithm() {
        hufu_issuance::KeyAlgorithm::Ed25519 => (Algorithm::Ed25519, raw.to_vec()),
        hufu_issuance::KeyAlgorithm::P256 => (Algorithm::EcdsaP256, compressed(32)?),
        hufu_issuance::KeyAlgorithm::P384 => (Algorithm::EcdsaP384, compressed(48)?),
        other => anyhow::bail!("the ledger has no keys of algorithm {other}"),
    };
    Ok(PublicKey::new(algorithm, &bytes)?)
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
