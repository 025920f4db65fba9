//! The log's checkpoint as a signed note, for clients that are not ours
//! (c2sp.org/tlog-checkpoint, c2sp.org/signed-note).
//!
//! There is one log, so that its origin is the same at every member:
//! `CONSORTIUM/GENESIS DIGEST`. Each member signs with its statement key, under the
//! name `ORIGIN/MEMBER`; a client that wants several members' word puts their
//! signatures under one text.
//!
//! A note's text has no zero byte, and whatever else a statement key signs begins
//! with a label and one: neither is ever taken for the other.
//!
//! Where it departs: *SHOULD use Ed25519* (tlog-checkpoint, Signatures) holds only where
//! the statement key is one; P-256 keys sign as type `0x02`. A log that speaks to
//! the public witness network MUST have an Ed25519 signature (tlog-tiles,
//! Checkpoints): that is the member's choice of key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::block::Commitment;
use crate::genesis::Genesis;
use crate::identifier::{Digest, Name};
use crate::key::{Algorithm, KeyError, PublicKey, Signature, Signer, SignerFault};

/// Type of an Ed25519 signature (signed-note, Signature types).
const ED25519: u8 = 0x01;
/// Type of an ECDSA signature with SHA-256, in DER.
const ECDSA: u8 = 0x02;

/// What stands before an uncompressed point in a P-256 SubjectPublicKeyInfo
/// (RFC 5480 §2): both algorithm identifiers and the lengths.
const P256_INFO: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Why there is no note.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Signed notes have no type for the key.
    #[error("signed notes have no type for an {0} key; Ed25519 and ECDSA P-256 have one")]
    Algorithm(Algorithm),
    /// The key or the signature is not what its algorithm says.
    #[error("the key or its signature is malformed")]
    Key(#[from] KeyError),
    /// The token did not sign.
    #[error(transparent)]
    Signer(#[from] SignerFault),
}

/// The log of a consortium at a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Entries in it.
    pub size: u64,
    /// Its root (RFC 9162 §2.1.1).
    pub root: Digest,
}

/// What a consortium's log is called.
pub fn origin(genesis: &Genesis) -> String {
    format!("{}/{}", genesis.consortium, genesis.digest())
}

impl Checkpoint {
    /// The log that a header commits to.
    pub fn of(genesis: &Genesis, executed: &Commitment) -> Self {
        Self { origin: origin(genesis), size: executed.log_size, root: executed.log_root }
    }

    /// What is signed (tlog-checkpoint, Note text): three lines, none of them an
    /// extension.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// The note with the member's signature.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn signed(&self, member: &Name, signer: &dyn Signer) -> Result<String, NoteError> {
        let (name, key) = (key_name(&self.origin, member), signer.public_key());
        // Before the token is asked, so that a key of no type costs it nothing.
        let id = key_id(&name, &key)?;
        let text = self.text();
        let signature = of_note(&signer.sign(text.as_bytes())?)?;
        let signature = STANDARD.encode([&id[..], &signature].concat());
        Ok(format!("{text}\n\u{2014} {name} {signature}\n"))
    }
}

/// The key with which clients verify a member's checkpoints: `NAME+ID+KEY`, as
/// `golang.org/x/mod/sumdb/note` writes it.
///
/// # Errors
/// [`NoteError::Algorithm`], [`NoteError::Key`].
pub fn verifier_key(origin: &str, member: &Name, key: &PublicKey) -> Result<String, NoteError> {
    let name = key_name(origin, member);
    let id = u32::from_be_bytes(key_id(&name, key)?);
    Ok(format!("{name}+{id:08x}+{}", STANDARD.encode(typed(key)?)))
}

fn key_name(origin: &str, member: &Name) -> String {
    format!("{origin}/{member}")
}

/// The key with its type in front.
fn typed(key: &PublicKey) -> Result<Vec<u8>, NoteError> {
    match key.algorithm() {
        Algorithm::Ed25519 => Ok([&[ED25519], key.as_bytes()].concat()),
        Algorithm::EcdsaP256 => {
            let point = p256::ecdsa::VerifyingKey::from_sec1_bytes(key.as_bytes())
                .map_err(|_| KeyError::Point(key.algorithm()))?
                .to_sec1_point(false);
            Ok([&[ECDSA], P256_INFO, point.as_bytes()].concat())
        }
        other => Err(NoteError::Algorithm(other)),
    }
}

/// signed-note, Signatures; of an ECDSA key, the hash of its SubjectPublicKeyInfo
/// alone.
fn key_id(name: &str, key: &PublicKey) -> Result<[u8; 4], NoteError> {
    let typed = typed(key)?;
    let hash = match key.algorithm() {
        Algorithm::EcdsaP256 => Digest::of(&typed[1..]),
        _ => Digest::of_parts(&[name.as_bytes(), b"\n", &typed]),
    };
    let [a, b, c, d, ..] = hash.0;
    Ok([a, b, c, d])
}

/// A signature in the form of its type.
fn of_note(signature: &Signature) -> Result<Vec<u8>, NoteError> {
    match signature.algorithm() {
        Algorithm::Ed25519 => Ok(signature.as_bytes().to_vec()),
        Algorithm::EcdsaP256 => {
            let parsed = p256::ecdsa::Signature::from_slice(signature.as_bytes())
                .map_err(|_| KeyError::Signature(signature.algorithm()))?;
            Ok(parsed.to_der().as_bytes().to_vec())
        }
        other => Err(NoteError::Algorithm(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the example in `golang.org/x/mod/sumdb/note`'s documentation.
    #[test]
    fn an_ed25519_key_has_the_id_that_others_give_it() {
        let pinned = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let key = PublicKey::new(Algorithm::Ed25519, &key[1..]).unwrap();
        let id = u32::from_be_bytes(key_id("PeterNeumann", &key).unwrap());
        assert_eq!(
            format!("PeterNeumann+{id:08x}+{}", STANDARD.encode(typed(&key).unwrap())),
            pinned
        );
    }

    /// The key of Sigstore's public log, in the documentation of
    /// `github.com/transparency-dev/formats`.
    #[test]
    fn a_p256_key_is_written_as_others_write_it() {
        let pinned = "AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5AW5i0hrZLOC96l\
                      +smGNM7nwZ4QvFK/4sueRoVj//QP22Ni4Qt9DPfkWLc=";
        let bytes = STANDARD.decode(pinned).unwrap();
        let point = p256::ecdsa::VerifyingKey::from_sec1_bytes(&bytes[27..]).unwrap();
        let point = point.to_sec1_point(true);
        let key = PublicKey::new(Algorithm::EcdsaP256, point.as_bytes()).unwrap();
        assert_eq!(STANDARD.encode(typed(&key).unwrap()), pinned);
        let id = key_id("rekor.sigstore.dev", &key).unwrap();
        assert_eq!(id, Digest::of(&bytes[1..]).0[..4]);
    }

    #[test]
    fn a_p384_key_has_no_type() {
        let key = PublicKey::new(Algorithm::EcdsaP384, &[2; 49]).unwrap();
        let error = verifier_key("a/b", &Name::new("maker").unwrap(), &key).unwrap_err();
        assert!(matches!(error, NoteError::Algorithm(Algorithm::EcdsaP384)), "{error}");
    }
}
