//! Verifying the signatures of many transactions, on all cores.
//!
//! Ed25519 is verified in batches of up to [`BATCH`] (about three times the
//! rate of one by one), by the rules of ZIP 215, under which a batch is good
//! exactly if each of its signatures is good by itself. A batch that is not good
//! is verified one by one. P-256 and P-384 are verified with AWS-LC.
//!
//! The result is a function of the transactions alone. The random coefficients
//! that batch verification needs are drawn from a hash of everything in the
//! batch, as a signer cannot choose them after it has signed.

use std::convert::Infallible;
use std::num::NonZeroUsize;

use aws_lc_rs::signature as aws;
use ed25519_zebra::{Signature, VerificationKeyBytes, batch};
use hufu_proof::{Algorithm, Digest, Transaction};
use rand_core::{TryCryptoRng, TryRng};

/// Most Ed25519 signatures in a batch. More make no difference to the rate.
pub const BATCH: usize = 256;

/// Fewest transactions that are worth a thread: less than a batch is verified
/// at a lower rate, and starting a thread takes as long as several signatures.
const PER_THREAD: usize = BATCH;

/// Whether each transaction carries a good signature by the key it names, in
/// the order given. It says nothing of who the key belongs to.
pub fn verify_batch(transactions: &[&Transaction]) -> Vec<bool> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    verify_batch_on(transactions, cores)
}

/// [`verify_batch`] on at most `threads` threads.
pub fn verify_batch_on(transactions: &[&Transaction], threads: usize) -> Vec<bool> {
    let threads = threads.min(transactions.len().div_ceil(PER_THREAD)).max(1);
    let mut verdicts = vec![false; transactions.len()];
    if threads == 1 {
        verify_part(transactions, &mut verdicts);
        return verdicts;
    }
    let part = transactions.len().div_ceil(threads);
    std::thread::scope(|scope| {
        for (transactions, verdicts) in transactions.chunks(part).zip(verdicts.chunks_mut(part)) {
            scope.spawn(move || verify_part(transactions, verdicts));
        }
    });
    verdicts
}

/// Whether one transaction carries a good signature by the key it names.
pub fn verify(transaction: &Transaction) -> bool {
    verify_message(transaction, &transaction.body.message())
}

fn verify_part(transactions: &[&Transaction], verdicts: &mut [bool]) {
    let mut ed25519 = Vec::new();
    for (index, transaction) in transactions.iter().enumerate() {
        let algorithm = transaction.body.signer.algorithm();
        if algorithm != transaction.signature.algorithm() {
            continue;
        }
        if algorithm == Algorithm::Ed25519 {
            ed25519.push(index);
        } else {
            verdicts[index] = verify(transaction);
        }
    }
    for indices in ed25519.chunks(BATCH) {
        verify_ed25519(transactions, indices, verdicts);
    }
}

/// Verifies the Ed25519 transactions at `indices` as one batch.
fn verify_ed25519(transactions: &[&Transaction], indices: &[usize], verdicts: &mut [bool]) {
    let messages: Vec<Vec<u8>> =
        indices.iter().map(|index| transactions[*index].body.message()).collect();
    let mut verifier = batch::Verifier::new();
    let mut seed = Vec::with_capacity(indices.len() * 96);
    let mut queued = 0;
    for (index, message) in indices.iter().zip(&messages) {
        let transaction = transactions[*index];
        let key = transaction.body.signer.as_bytes();
        let signature = transaction.signature.as_bytes();
        // Keys and signatures of a wrong length cannot be made.
        let (Ok(key_bytes), Ok(parsed)) =
            (VerificationKeyBytes::try_from(key), Signature::try_from(signature))
        else {
            continue;
        };
        seed.extend_from_slice(Digest::of(message).as_bytes());
        seed.extend_from_slice(key);
        seed.extend_from_slice(signature);
        verifier.queue((key_bytes, parsed, message));
        queued += 1;
    }
    if queued == indices.len() && verifier.verify(Transcript::new(&seed)).is_ok() {
        for index in indices {
            verdicts[*index] = true;
        }
        return;
    }
    for (index, message) in indices.iter().zip(&messages) {
        verdicts[*index] = verify_message(transactions[*index], message);
    }
}

fn verify_message(transaction: &Transaction, message: &[u8]) -> bool {
    let key = &transaction.body.signer;
    let signature = &transaction.signature;
    if key.algorithm() != signature.algorithm() {
        return false;
    }
    let algorithm = match key.algorithm() {
        Algorithm::EcdsaP256 => &aws::ECDSA_P256_SHA256_FIXED,
        Algorithm::EcdsaP384 => &aws::ECDSA_P384_SHA384_FIXED,
        // Ed25519, and whatever is added: in portable Rust.
        _ => return key.verify(message, signature).is_ok(),
    };
    aws::UnparsedPublicKey::new(algorithm, key.as_bytes())
        .verify(message, signature.as_bytes())
        .is_ok()
}

/// Numbers from a hash of what is verified.
struct Transcript {
    seed: Digest,
    counter: u64,
}

impl Transcript {
    fn new(content: &[u8]) -> Self {
        Self { seed: Digest::of_parts(&[b"hufu signature batch v1\0", content]), counter: 0 }
    }
}

impl TryRng for Transcript {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(32) {
            let counter = self.counter.to_be_bytes();
            let block = Digest::of_parts(&[self.seed.as_bytes(), &counter]);
            self.counter += 1;
            chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Transcript {}
