//! Transactions that this member signs with its statement key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hufu_configuration::time::now_ms;
use hufu_node::{Error, Ledger};
use hufu_proof::transaction::{MAX_LIFETIME, Payload};
use hufu_proof::{Body, Digest, LogEntry, Name, Outcome, Receipt, Signature, Signer, cose};
use serde_json::{Value, json};

/// How long a caller waits for finality.
const PATIENCE: Duration = Duration::from_secs(20);

/// Signs and submits.
#[derive(Clone)]
pub struct Submitter {
    ledger: Ledger,
    signer: Arc<dyn Signer>,
    chain: Digest,
    nonce: Arc<AtomicU64>,
}

impl Submitter {
    /// Signs with `signer`.
    pub fn new(ledger: Ledger, signer: Arc<dyn Signer>, chain: Digest) -> Self {
        // Nonces only make equal transactions different; the clock keeps those
        // of two runs apart.
        let nonce = Arc::new(AtomicU64::new(now_ms().get().saturating_mul(1000)));
        Self { ledger, signer, chain, nonce }
    }

    /// The ledger it submits to.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Signs `message`, which is no transaction, with the statement key.
    ///
    /// # Errors
    /// [`Error::Token`] when the token does not sign.
    pub async fn sign(&self, message: Vec<u8>) -> Result<Signature, Error> {
        let signer = self.signer.clone();
        tokio::task::spawn_blocking(move || signer.sign(&message))
            .await
            .map_err(|_| Error::Stopped)?
            .map_err(|fault| Error::Token(fault.to_string()))
    }

    /// A receipt as COSE, signed with the statement key of `member`, which is ours.
    ///
    /// # Errors
    /// [`Error::Token`] when the token does not sign.
    pub async fn cose(&self, receipt: Receipt, member: Name) -> Result<Vec<u8>, Error> {
        let submitter = self.clone();
        let signed = tokio::task::spawn_blocking(move || {
            let genesis = submitter.ledger.reader().genesis();
            cose::receipt(&receipt, genesis, &member, &*submitter.signer)
        });
        let signed = signed.await.map_err(|_| Error::Stopped)?;
        signed.map_err(|fault| Error::Token(fault.to_string()))
    }

    /// Submits a payload and waits until it took effect.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] also when the ledger recorded a refusal.
    pub async fn submit(&self, payload: Payload) -> Result<LogEntry, Error> {
        let entry = self.submit_any(payload).await?;
        match entry.outcome {
            Outcome::Accepted => Ok(entry),
            outcome => Err(Error::Refused(outcome)),
        }
    }

    /// Submits a payload and waits for its outcome, whatever it is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn submit_any(&self, payload: Payload) -> Result<LogEntry, Error> {
        let body = Body {
            chain: self.chain,
            signer: self.signer.public_key(),
            nonce: self.nonce.fetch_add(1, Ordering::Relaxed),
            expires: self.ledger.committed().height.plus(MAX_LIFETIME / 2),
            payload,
        };
        let signer = self.signer.clone();
        let signed = tokio::task::spawn_blocking(move || body.sign(&*signer))
            .await
            .map_err(|_| Error::Stopped)?;
        let transaction = signed.map_err(|fault| Error::Token(fault.to_string()))?;
        let mut answers = self.ledger.submit(vec![transaction], PATIENCE).await;
        Ok(answers.pop().unwrap_or(Err(Error::Stopped))?.entry)
    }
}

/// What became of a transaction, for who asked for it.
pub fn outcome(entry: &LogEntry) -> Value {
    json!({
        "id": entry.transaction, "outcome": entry.outcome,
        "height": entry.height, "index": entry.index,
    })
}
