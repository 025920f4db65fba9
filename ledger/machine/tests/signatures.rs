//! Batches of signatures are judged as single ones are.

mod support;

use hufu_machine::signatures::{verify, verify_batch, verify_batch_on};
use hufu_proof::transaction::{Body, Look};
use hufu_proof::{
    Algorithm, Digest, Height, Payload, PublicKey, Signature, Signer, SignerFault, Transaction,
};
use p256::ecdsa::signature::Signer as _;
use proptest::prelude::*;

struct P256(p256::ecdsa::SigningKey);
struct P384(p384::ecdsa::SigningKey);

impl Signer for P256 {
    fn public_key(&self) -> PublicKey {
        let key = p256::ecdsa::VerifyingKey::from(&self.0);
        PublicKey::new(Algorithm::EcdsaP256, key.to_sec1_point(true).as_bytes()).unwrap()
    }
    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        Ok(Signature::new(Algorithm::EcdsaP256, &signature.to_bytes()).unwrap())
    }
}

impl Signer for P384 {
    fn public_key(&self) -> PublicKey {
        let key = p384::ecdsa::VerifyingKey::from(&self.0);
        PublicKey::new(Algorithm::EcdsaP384, key.to_sec1_point(true).as_bytes()).unwrap()
    }
    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let signature: p384::ecdsa::Signature = self.0.sign(message);
        Ok(Signature::new(Algorithm::EcdsaP384, &signature.to_bytes()).unwrap())
    }
}

fn transaction(number: u64, algorithm: u8) -> Transaction {
    let seed = Digest::of(&number.to_be_bytes());
    let look = Look { subject: format!("{number}"), height: Height(0), answer: seed };
    let ed25519 = support::key(&number.to_string());
    let p256 = P256(p256::ecdsa::SigningKey::from_slice(&seed.0).unwrap());
    let wide = [[0; 16].as_slice(), &seed.0].concat();
    let p384 = P384(p384::ecdsa::SigningKey::from_slice(&wide).unwrap());
    let signer: &dyn Signer = match algorithm % 3 {
        0 => &ed25519,
        1 => &p256,
        _ => &p384,
    };
    let (chain, signer_key) = (Digest::of(b"chain"), signer.public_key());
    Body {
        chain,
        signer: signer_key,
        nonce: number,
        expires: Height(9),
        payload: Payload::Look(look),
    }
    .sign(signer)
    .unwrap()
}

/// Changes one bit of the signature, the key or the message.
fn spoil(transaction: &mut Transaction, what: u8, at: usize) {
    let flip = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << (at % 8);
        bytes
    };
    match what % 4 {
        0 => {
            let signature = &transaction.signature;
            let bytes = flip(signature.as_bytes());
            transaction.signature = Signature::new(signature.algorithm(), &bytes).unwrap();
        }
        1 => {
            let key = &transaction.body.signer;
            transaction.body.signer =
                PublicKey::new(key.algorithm(), &flip(key.as_bytes())).unwrap();
        }
        2 => transaction.body.nonce ^= 1 << (at % 64),
        // A signature of another algorithm than the key.
        _ => {
            let other = match transaction.body.signer.algorithm() {
                Algorithm::Ed25519 => Algorithm::EcdsaP256,
                _ => Algorithm::Ed25519,
            };
            transaction.signature =
                Signature::new(other, &vec![1; other.signature_length()]).unwrap();
        }
    }
}

/// What the verifying crate says, which receipts are checked by.
fn portable(transaction: &Transaction) -> bool {
    let body = &transaction.body;
    body.signer.verify(&body.message(), &transaction.signature).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_agree_with_single_and_portable_verification(
        kinds in prop::collection::vec((any::<u8>(), prop::option::weighted(0.1, (any::<u8>(), any::<usize>()))), 0..40),
        threads in 1usize..5,
    ) {
        let mut transactions = Vec::new();
        let mut expected = Vec::new();
        for (number, (algorithm, spoiled)) in kinds.into_iter().enumerate() {
            let mut one = transaction(number as u64, algorithm);
            if let Some((what, at)) = spoiled {
                spoil(&mut one, what, at);
            }
            expected.push(spoiled.is_none());
            transactions.push(one);
        }
        let references: Vec<&Transaction> = transactions.iter().collect();
        prop_assert_eq!(verify_batch_on(&references, threads), expected.clone());
        for (one, good) in transactions.iter().zip(expected) {
            prop_assert_eq!(verify(one), good);
            prop_assert_eq!(portable(one), good);
        }
    }
}

#[test]
fn one_bad_signature_in_a_large_batch_is_found() {
    let mut transactions: Vec<Transaction> =
        (0..600).map(|number| transaction(number, 0)).collect();
    let references: Vec<&Transaction> = transactions.iter().collect();
    assert_eq!(verify_batch(&references), vec![true; 600]);
    spoil(&mut transactions[300], 0, 5);
    let references: Vec<&Transaction> = transactions.iter().collect();
    for threads in [1, 2, 7] {
        let verdicts = verify_batch_on(&references, threads);
        let bad: Vec<usize> = (0..600).filter(|index| !verdicts[*index]).collect();
        assert_eq!(bad, [300], "{threads} threads");
    }
}

#[test]
fn nothing_is_verified_as_nothing() {
    assert_eq!(verify_batch(&[]), Vec::<bool>::new());
}
