//! The log in tiles, for clients that are not ours (c2sp.org/tlog-tiles): what is
//! in one.
//!
//! Hashes tell nobody anything, so tiles and checkpoint are anyone's; entries say
//! when how much was recorded by which identifiers, and are for members' clients,
//! who get the same from blocks. Entries are those of `docs/formats.md`: what a
//! transaction contains is in none of them.
//!
//! Where it departs: entry bundles are not compressed (*SHOULD*, Log entries): there
//! is little in them but hashes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hufu_proof::note::{Checkpoint, NoteError};
use hufu_proof::{Digest, Name, Signer};

/// How long a checkpoint is the newest: anyone may ask for it, and the token has votes
/// to sign.
const FRESH: Duration = Duration::from_secs(1);

/// The bytes of a tile of hashes.
pub fn of_hashes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The bytes of a bundle of entries: each with its length before it, 16 bits
/// big-endian; `None` when one is longer than that says, which none is.
pub fn of_entries(entries: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut bundle = Vec::new();
    for entry in entries {
        bundle.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Some(bundle)
}

/// The checkpoint that was signed last. The token signs each once, and at most one a
/// second.
#[derive(Debug, Default)]
pub struct Signed(Mutex<Option<(Instant, Checkpoint, String)>>);

impl Signed {
    /// The checkpoint as a note, or the one before while it is fresh. Whoever asks
    /// meanwhile waits for the same signature.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn note(
        &self,
        now: Instant,
        checkpoint: Checkpoint,
        member: &Name,
        signer: &dyn Signer,
    ) -> Result<String, NoteError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, signed, note)) = &*last
            && (*signed == checkpoint || now.saturating_duration_since(*at) < FRESH)
        {
            return Ok(note.clone());
        }
        let note = checkpoint.signed(member, signer)?;
        *last = Some((now, checkpoint, note.clone()));
        Ok(note)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hufu_proof::{Algorithm, PublicKey, Signature, SignerFault};

    use super::*;

    #[test]
    fn the_token_signs_a_checkpoint_once() {
        struct Counts(AtomicUsize);
        impl Signer for Counts {
            fn public_key(&self) -> PublicKey {
                PublicKey::new(Algorithm::Ed25519, &[7; 32]).unwrap()
            }
            fn sign(&self, _: &[u8]) -> Result<Signature, SignerFault> {
                match self.0.fetch_add(1, Ordering::Relaxed) {
                    0 => Err(SignerFault("it is busy".into())),
                    _ => Ok(Signature::new(Algorithm::Ed25519, &[1; 64]).unwrap()),
                }
            }
        }
        let (signer, member) = (Counts(AtomicUsize::new(0)), Name::new("maker").unwrap());
        let (signed, at) = (Signed::default(), |size| Checkpoint {
            origin: "a/b".into(),
            size,
            root: Digest([0; 32]),
        });
        let (begin, note) =
            (Instant::now(), |now, size| signed.note(now, at(size), &member, &signer));
        assert!(note(begin, 1).is_err());
        let first = note(begin, 1).unwrap();
        assert_eq!(note(begin + FRESH * 9, 1).unwrap(), first);
        assert_eq!(note(begin + FRESH / 2, 2).unwrap(), first);
        assert_ne!(note(begin + FRESH, 2).unwrap(), first);
        assert_eq!(signer.0.load(Ordering::Relaxed), 3);
    }
}
