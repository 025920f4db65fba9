//! Keys in a token, as the rest of the product sees them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    algorithm::KeyAlgorithm,
    config::TokenConfig,
    description::{FoundKey, KeyDescription, KeyRecord, TokenDescription},
    encoding,
    error::{Error, Result},
    pin::Pin,
    pool::{Output, Pool, Work},
    status::{Counters, Status},
    token,
};

/// Longest message that is signed, in bytes. Ed25519 messages go to the token
/// whole; ECDSA messages are hashed here and share the limit for simplicity.
pub const MAX_MESSAGE_LEN: usize = 16 * 1024 * 1024;

/// An open token. Clones share it; it closes when the last clone and the last
/// [`Key`] are gone, or at [`Custody::close`].
#[derive(Clone)]
pub struct Custody(Arc<Inner>);

struct Inner {
    pool: Pool,
    /// Keys already looked up, by label: asking for a key again costs nothing.
    known: Mutex<HashMap<String, Arc<KeyRecord>>>,
}

impl Custody {
    /// Opens the token: loads the module, finds the token by label, logs in.
    /// Blocks for as long as that takes.
    ///
    /// The PIN is shown to the token at most once. If the token refuses it,
    /// this process never shows it that PIN again, however often this is
    /// called.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Module`], [`Error::NoSuchToken`],
    /// [`Error::AmbiguousToken`], [`Error::WrongPin`], [`Error::PinLocked`],
    /// [`Error::Token`], [`Error::Thread`].
    pub fn open(config: TokenConfig, pin: Pin) -> Result<Self> {
        Ok(Self(Arc::new(Inner { pool: Pool::open(config, pin)?, known: Mutex::default() })))
    }

    /// The configuration it was opened with.
    #[must_use]
    pub fn config(&self) -> &TokenConfig {
        self.0.pool.config()
    }

    /// What the token says about itself.
    #[must_use]
    pub fn token(&self) -> &TokenDescription {
        self.0.pool.description()
    }

    /// Makes a key that cannot leave the token. Blocks.
    ///
    /// The token is asked for CKA_TOKEN, CKA_PRIVATE, CKA_SENSITIVE and not
    /// CKA_EXTRACTABLE; the attributes are read back, a signature is made and
    /// verified, and a key that is not as asked is destroyed.
    ///
    /// # Errors
    /// [`Error::KeyExists`] if the label is taken; [`Error::NotHonoured`];
    /// [`Error::Unsupported`] if the token does not have the algorithm;
    /// [`Error::Config`] for an empty or overlong label; those of
    /// [`Key::sign`]. After [`Error::TimedOut`] or [`Error::Token`] the key may
    /// exist: look with [`Self::key`].
    pub fn generate(&self, label: &str, algorithm: KeyAlgorithm) -> Result<Key> {
        token::check_key_label(label)?;
        self.fetch(label, Work::Generate { label: label.to_owned(), algorithm })
    }

    /// The key of that label. Looked up once; after that it costs nothing.
    /// Blocks the first time.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], [`Error::AmbiguousKey`], [`Error::KeyMismatch`] if
    /// the public key on the token is not that of the private key,
    /// [`Error::Unsupported`] for a key of another kind, those of
    /// [`Key::sign`].
    pub fn key(&self, label: &str) -> Result<Key> {
        token::check_key_label(label)?;
        let known = {
            let keys = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
            keys.get(label).cloned()
        };
        match known {
            Some(record) => Ok(Key { custody: self.clone(), record }),
            None => self.fetch(label, Work::Find { label: label.to_owned() }),
        }
    }

    fn fetch(&self, label: &str, work: Work) -> Result<Key> {
        let Output::Key(found) = self.0.pool.call(work)? else {
            return Err(Error::Malformed("a key was asked for"));
        };
        let FoundKey { point, description, .. } = *found;
        let record = Arc::new(KeyRecord {
            label: label.to_owned(),
            algorithm: description.algorithm,
            point,
            description,
        });
        self.0
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(label.to_owned(), Arc::clone(&record));
        Ok(Key { custody: self.clone(), record })
    }

    /// How the token is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.pool.status()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.pool.counters()
    }

    /// Stops: requests inside the token finish, those waiting and those to
    /// come get [`Error::Closed`]; logs out if no other custody of this
    /// process has the token open. Blocks for at most six seconds.
    ///
    /// The module is finalised when the last [`Custody`] and [`Key`] of all
    /// its tokens are dropped; do that before the process exits.
    pub fn close(&self) {
        self.0.pool.close();
    }
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custody")
            .field("token", &self.config().label)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A private key in the token. Cheap to clone; signs from any thread.
#[derive(Clone)]
pub struct Key {
    custody: Custody,
    record: Arc<KeyRecord>,
}

impl Key {
    /// Its label on the token.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.record.label
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.record.algorithm
    }

    /// What the token says about it, as of when it was found or made.
    #[must_use]
    pub fn description(&self) -> &KeyDescription {
        &self.record.description
    }

    /// The custody it belongs to.
    #[must_use]
    pub fn custody(&self) -> &Custody {
        &self.custody
    }

    /// Public key: SEC 1 compressed (33 bytes for P-256, 49 for P-384), or the
    /// 32 bytes of Ed25519.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.record.point.compressed
    }

    /// Public key: SEC 1 uncompressed (65, 97 bytes), or the 32 bytes of
    /// Ed25519.
    #[must_use]
    pub fn public_key_uncompressed(&self) -> &[u8] {
        &self.record.point.full
    }

    /// Public key as DER `SubjectPublicKeyInfo` (RFC 5480, RFC 8410).
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        self.record.algorithm.spki_der(&self.record.point.full)
    }

    /// DER of the X.509 `AlgorithmIdentifier` of [`Self::sign_der`].
    #[must_use]
    pub fn signature_algorithm_der(&self) -> &'static [u8] {
        self.record.algorithm.signature_algorithm_der()
    }

    /// Signs `message` and waits for it. ECDSA messages are hashed here, with
    /// the hash of the algorithm.
    ///
    /// Returns r‖s of fixed size (64 or 96 bytes; s in the lower half of the
    /// group for P-256), or the 64 bytes of Ed25519. Waits, recovery of a lost
    /// session included, at most the configured request timeout. Blocks the
    /// thread: on an async runtime use [`Self::sign_async`].
    ///
    /// # Errors
    /// [`Error::Busy`] and [`Error::Unavailable`] at once, with the time after
    /// which to try again; [`Error::TimedOut`]; [`Error::WrongPin`] or
    /// [`Error::PinLocked`] if the token refused the PIN while recovering;
    /// [`Error::NoSuchKey`] or [`Error::KeyMismatch`] if the token came back
    /// without this key; [`Error::Closed`]; [`Error::Token`],
    /// [`Error::Malformed`] if it fails all the same.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.call(self.input(message)?)
    }

    /// Signs a digest made by the caller: 32 bytes for P-256 (SHA-256), 48 for
    /// P-384 (SHA-384).
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another length or an Ed25519 key; otherwise
    /// as [`Self::sign`].
    pub fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>> {
        let wanted = self.algorithm().digest_len();
        if wanted != Some(digest.len()) {
            return Err(Error::Unsupported(format!(
                "a {} key does not sign a digest of {} bytes",
                self.algorithm(),
                digest.len()
            )));
        }
        self.call(digest.to_vec())
    }

    /// Like [`Self::sign`], without blocking. Needs no particular runtime;
    /// dropping the future abandons the answer, not the signature.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_async(
        &self,
        message: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>>> + Send + use<> {
        let submitted = self.input(message).and_then(|input| {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            self.custody.0.pool.submit(
                self.work(input),
                Box::new(move |outcome| {
                    // A caller that gave up is no matter.
                    let _ = sender.send(outcome);
                }),
            )?;
            Ok(receiver)
        });
        async move { signature(submitted?.await.unwrap_or(Err(Error::Closed))?) }
    }

    /// Signs `message` in the form that X.509 and TLS want: DER
    /// `ECDSA-Sig-Value` (RFC 3279 §2.2.3), or the 64 bytes of Ed25519.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.sign(message).map(|fixed| self.to_der(fixed))
    }

    /// Like [`Self::sign_der`], without blocking.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_der_async(
        &self,
        message: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>>> + Send + use<> {
        let signed = self.sign_async(message);
        let algorithm = self.algorithm();
        async move { signed.await.map(|fixed| to_der(algorithm, fixed)) }
    }

    /// Whether `signature`, as returned by [`Self::sign`], is this key's over
    /// `message`. Computed here, not in the token.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm().verify(&self.record.point.full, message, signature)
    }

    fn to_der(&self, fixed: Vec<u8>) -> Vec<u8> {
        to_der(self.algorithm(), fixed)
    }

    fn input(&self, message: &[u8]) -> Result<Vec<u8>> {
        if message.len() > MAX_MESSAGE_LEN {
            return Err(Error::Unsupported(format!(
                "messages longer than {MAX_MESSAGE_LEN} bytes are not signed"
            )));
        }
        Ok(self.algorithm().digest(message).unwrap_or_else(|| message.to_vec()))
    }

    fn work(&self, input: Vec<u8>) -> Work {
        Work::Sign { key: Arc::clone(&self.record), input }
    }

    fn call(&self, input: Vec<u8>) -> Result<Vec<u8>> {
        signature(self.custody.0.pool.call(self.work(input))?)
    }
}

fn signature(output: Output) -> Result<Vec<u8>> {
    match output {
        Output::Signature(signature) => Ok(signature),
        Output::Key(_) => Err(Error::Malformed("a signature was asked for")),
    }
}

fn to_der(algorithm: KeyAlgorithm, fixed: Vec<u8>) -> Vec<u8> {
    match algorithm {
        KeyAlgorithm::P256 | KeyAlgorithm::P384 => encoding::ecdsa_der(&fixed),
        KeyAlgorithm::Ed25519 => fixed,
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("token", &self.custody.config().label)
            .field("label", &self.record.label)
            .field("algorithm", &self.record.algorithm)
            .finish_non_exhaustive()
    }
}
