//! Certificates of finality: the votes that make a block irreversible.
//!
//! A block is final when a quorum of the validators has signed *finalize* for
//! it. The votes are ECDSA P-256 with SHA-256 (FIPS 186-5), made in the
//! validators' tokens while they run the simplex consensus protocol. This
//! module verifies them without any part of the consensus engine.
//!
//! # The bytes a validator signs
//!
//! ```text
//! message  = varint(len(tag)) ‖ tag ‖ proposal
//! tag      = namespace ‖ "_FINALIZE"
//! proposal = varint(epoch) ‖ varint(view) ‖ varint(parent view) ‖ block digest (32)
//! varint   = unsigned LEB128, seven bits a byte, least significant first, no padding
//! ```
//!
//! `namespace` is [`vote_namespace`] of the consortium, so that a vote in one
//! consortium says nothing in another. Only the vote itself is signed: the
//! number of the signer is where its key stands among the validators.
//!
//! # Who signs, and how many
//!
//! Validators are counted from 0 in ascending order of their compressed SEC 1
//! public keys ([`Membership::validators`]). With `n` validators, up to
//! `f = (n - 1) / 3` (rounded down) may be faulty, and a quorum is `n - f`
//! (which is `2f + 1` for `n = 3f + 1`). Signatures are low-S, so that nobody
//! can make a second certificate out of a first without a validator's key.

use borsh::{BorshDeserialize, BorshSerialize};
use p256::ecdsa::signature::Verifier as _;
use serde::{Deserialize, Serialize};

use crate::genesis::MAX_MEMBERS;
use crate::identifier::Digest;
use crate::membership::Membership;

/// Length of a vote key: a compressed SEC 1 point of P-256.
pub const VOTE_KEY_LENGTH: usize = 33;

/// Length of a vote signature: `r ‖ s`, big-endian.
pub const VOTE_SIGNATURE_LENGTH: usize = 64;

/// Proof that a block is final.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, Serialize, Deserialize)]
pub struct FinalityCertificate {
    /// The epoch: the period in which one set of validators votes.
    pub epoch: u64,
    /// The view of the epoch in which the block was voted on.
    pub view: u64,
    /// The view of the block's parent.
    pub parent_view: u64,
    /// Digest of the block's header.
    pub block: Digest,
    /// The votes, in ascending order of their validators' numbers.
    pub votes: Vec<Vote>,
}

/// One validator's signature on a [`FinalityCertificate`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Vote {
    /// The validator's number.
    pub validator: u16,
    /// ECDSA P-256, `r ‖ s`, low-S.
    #[serde(with = "hexadecimal")]
    pub signature: [u8; VOTE_SIGNATURE_LENGTH],
}

/// The votes of a certificate are bounded, so that decoding does not allocate
/// by a length that a stranger wrote.
impl BorshDeserialize for FinalityCertificate {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let epoch = u64::deserialize_reader(reader)?;
        let view = u64::deserialize_reader(reader)?;
        let parent_view = u64::deserialize_reader(reader)?;
        let block = Digest::deserialize_reader(reader)?;
        let count = u32::deserialize_reader(reader)?;
        if usize::try_from(count).map_or(true, |count| count > MAX_MEMBERS) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("votes: {count}, at most {MAX_MEMBERS} are accepted"),
            ));
        }
        let votes = (0..count)
            .map(|_| Vote::deserialize_reader(reader))
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { epoch, view, parent_view, block, votes })
    }
}

/// Why a certificate does not prove a block final.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FinalityError {
    /// It is of another block.
    #[error("it finalizes block {found}, not {expected}")]
    OtherBlock {
        /// The block it names.
        found: Digest,
        /// The block it was checked against.
        expected: Digest,
    },
    /// A vote names a validator that does not exist.
    #[error("vote of validator {validator}, but there are {validators}")]
    UnknownValidator {
        /// The number in the vote.
        validator: u16,
        /// How many validators there are.
        validators: usize,
    },
    /// It is of another epoch.
    #[error("it is of epoch {found}, not {expected}")]
    OtherEpoch {
        /// The epoch it names.
        found: u64,
        /// The epoch it was checked against.
        expected: u64,
    },
    /// Each epoch before the certificate's has one handover, and there are not
    /// more than [`crate::ancestry::MAX_HANDOVERS`].
    #[error("{found} handovers, but the certificate is of epoch {epoch}")]
    Handovers {
        /// The certificate's epoch.
        epoch: u64,
        /// How many there are.
        found: usize,
    },
    /// A handover does not lead from its epoch to the next.
    #[error("the handover of epoch {epoch} does not hold: its {link} does not fit")]
    Handover {
        /// The epoch that ended.
        epoch: u64,
        /// What does not fit.
        link: &'static str,
    },
    /// The last header of an epoch is not final.
    #[error("the last header of epoch {epoch} is not final: {error}")]
    Ended {
        /// The epoch that ended.
        epoch: u64,
        /// Why not.
        error: Box<FinalityError>,
    },
    /// The headers up to the one voted on are too many or do not follow from
    /// one another.
    #[error("the headers up to the one voted on do not follow from one another")]
    Descendants,
    /// Votes are not in ascending order, or one validator votes twice.
    #[error("the votes are not in the order of their validators, each once, at validator {0}")]
    Order(u16),
    /// Too few votes.
    #[error("{found} votes, but a quorum is {required}")]
    BelowQuorum {
        /// Votes needed.
        required: usize,
        /// Votes there are.
        found: usize,
    },
    /// A validator's key is not a point of P-256.
    #[error("the key of validator {0} is not a compressed point of P-256")]
    Key(u16),
    /// A signature does not verify.
    #[error("the signature of validator {0} does not verify")]
    Signature(u16),
}

impl FinalityCertificate {
    /// Verifies that a quorum of the members of `epoch` finalized `block` of
    /// the consortium `chain`.
    ///
    /// # Errors
    /// [`FinalityError`].
    pub fn verify(
        &self,
        chain: &Digest,
        epoch: u64,
        membership: &Membership,
        block: &Digest,
    ) -> Result<(), FinalityError> {
        if self.block != *block {
            return Err(FinalityError::OtherBlock { found: self.block, expected: *block });
        }
        if self.epoch != epoch {
            return Err(FinalityError::OtherEpoch { found: self.epoch, expected: epoch });
        }
        let validators: Vec<&[u8]> =
            membership.validators().iter().map(|seat| seat.vote_key.as_bytes()).collect();
        self.verify_votes(&validators, &vote_namespace(chain))
    }

    /// Verifies the votes against the validators' keys (compressed SEC 1
    /// points in ascending order) and the consortium's [`vote_namespace`].
    ///
    /// # Errors
    /// [`FinalityError`], of those about votes.
    pub fn verify_votes(
        &self,
        validators: &[impl AsRef<[u8]>],
        namespace: &[u8],
    ) -> Result<(), FinalityError> {
        let mut previous = None;
        for vote in &self.votes {
            if usize::from(vote.validator) >= validators.len() {
                return Err(FinalityError::UnknownValidator {
                    validator: vote.validator,
                    validators: validators.len(),
                });
            }
            if previous.is_some_and(|previous| previous >= vote.validator) {
                return Err(FinalityError::Order(vote.validator));
            }
            previous = Some(vote.validator);
        }
        let required = quorum(validators.len());
        if self.votes.len() < required {
            return Err(FinalityError::BelowQuorum { required, found: self.votes.len() });
        }
        let message =
            finalize_message(namespace, self.epoch, self.view, self.parent_view, &self.block);
        for vote in &self.votes {
            let key = validators[usize::from(vote.validator)].as_ref();
            if key.len() != VOTE_KEY_LENGTH {
                return Err(FinalityError::Key(vote.validator));
            }
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key)
                .map_err(|_| FinalityError::Key(vote.validator))?;
            let refused = FinalityError::Signature(vote.validator);
            let signature =
                p256::ecdsa::Signature::from_slice(&vote.signature).map_err(|_| refused.clone())?;
            if signature.normalize_s() != signature {
                return Err(refused);
            }
            key.verify(&message, &signature).map_err(|_| refused)?;
        }
        Ok(())
    }
}

/// A signature as hexadecimal digits in JSON.
mod hexadecimal {
    use super::VOTE_SIGNATURE_LENGTH;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(
        bytes: &[u8; VOTE_SIGNATURE_LENGTH],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; VOTE_SIGNATURE_LENGTH], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; VOTE_SIGNATURE_LENGTH];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|error| D::Error::custom(format!("signature: {error}")))?;
        Ok(bytes)
    }
}

/// How many of `validators` make a quorum. At least 1, also of none.
pub fn quorum(validators: usize) -> usize {
    let faulty = validators.saturating_sub(1) / 3;
    (validators - faulty).max(1)
}

/// What separates the votes of this consortium from those of every other, and
/// from everything else that a vote key signs.
pub fn vote_namespace(chain: &Digest) -> Vec<u8> {
    [b"hufu vote v1 ".as_slice(), chain.as_bytes()].concat()
}

/// The bytes a validator signs to finalize a block: see the module's
/// documentation.
pub fn finalize_message(
    namespace: &[u8],
    epoch: u64,
    view: u64,
    parent_view: u64,
    block: &Digest,
) -> Vec<u8> {
    const SUFFIX: &[u8] = b"_FINALIZE";
    let mut message = Vec::with_capacity(namespace.len() + SUFFIX.len() + 72);
    put_varint(&mut message, (namespace.len() + SUFFIX.len()) as u64);
    message.extend_from_slice(namespace);
    message.extend_from_slice(SUFFIX);
    put_varint(&mut message, epoch);
    put_varint(&mut message, view);
    put_varint(&mut message, parent_view);
    message.extend_from_slice(block.as_bytes());
    message
}

/// Appends unsigned LEB128.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
    use proptest::prelude::*;

    const NAMESPACE: &[u8] = b"test";

    fn keys(count: u8) -> Vec<SigningKey> {
        let mut keys: Vec<SigningKey> = (1..=count)
            .map(|seed| SigningKey::from_slice(&[seed; 32]).expect("in range"))
            .collect();
        keys.sort_by_key(public);
        keys
    }

    fn public(key: &SigningKey) -> Vec<u8> {
        key.verifying_key().to_sec1_point(true).as_bytes().to_vec()
    }

    fn publics(keys: &[SigningKey]) -> Vec<Vec<u8>> {
        keys.iter().map(public).collect()
    }

    fn certificate(keys: &[SigningKey], signers: &[u16]) -> FinalityCertificate {
        let block = Digest([7; 32]);
        let message = finalize_message(NAMESPACE, 0, 300, 299, &block);
        let votes = signers
            .iter()
            .map(|&validator| {
                let signature: Signature = keys[usize::from(validator)].sign(&message);
                let signature = signature.normalize_s();
                Vote { validator, signature: signature.to_bytes().into() }
            })
            .collect();
        FinalityCertificate { epoch: 0, view: 300, parent_view: 299, block, votes }
    }

    #[test]
    fn a_quorum_of_good_votes_verifies() {
        let keys = keys(4);
        for signers in [&[0, 1, 2][..], &[1, 2, 3], &[0, 1, 2, 3]] {
            certificate(&keys, signers).verify_votes(&publics(&keys), NAMESPACE).unwrap();
        }
    }

    #[test]
    fn what_falls_short_is_refused() {
        let keys = keys(4);
        let publics = publics(&keys);
        let verify = |certificate: &FinalityCertificate| {
            certificate.verify_votes(&publics, NAMESPACE).unwrap_err()
        };
        assert_eq!(
            verify(&certificate(&keys, &[0, 1])),
            FinalityError::BelowQuorum { required: 3, found: 2 }
        );
        assert_eq!(verify(&certificate(&keys, &[0, 1, 1])), FinalityError::Order(1));
        assert_eq!(verify(&certificate(&keys, &[0, 2, 1])), FinalityError::Order(1));
        let mut outside = certificate(&keys, &[0, 1, 2]);
        outside.votes[2].validator = 4;
        assert_eq!(
            verify(&outside),
            FinalityError::UnknownValidator { validator: 4, validators: 4 }
        );
        let mut borrowed = certificate(&keys, &[0, 1, 2]);
        borrowed.votes[2].validator = 3;
        assert_eq!(verify(&borrowed), FinalityError::Signature(3));
        assert_eq!(
            certificate(&keys, &[0, 1, 2]).verify_votes(&publics, b"other"),
            Err(FinalityError::Signature(0))
        );
        let mut high = certificate(&keys, &[0, 1, 2]);
        let signature = Signature::from_slice(&high.votes[0].signature).unwrap();
        let (r, s) = signature.split_scalars();
        let flipped = Signature::from_scalars(r, -s).unwrap();
        high.votes[0].signature = flipped.to_bytes().into();
        assert_eq!(verify(&high), FinalityError::Signature(0));
        let mut short = publics.clone();
        short[1].truncate(32);
        assert_eq!(
            certificate(&keys, &[0, 1, 2]).verify_votes(&short, NAMESPACE),
            Err(FinalityError::Key(1))
        );
    }

    #[test]
    fn quorums_are_n_minus_f() {
        let expected = [1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7];
        for (validators, quorum_size) in expected.into_iter().enumerate() {
            assert_eq!(quorum(validators), quorum_size, "{validators} validators");
        }
    }

    #[test]
    fn the_signed_bytes_are_pinned() {
        let message = finalize_message(b"n", 1, 300, 128, &Digest([0xab; 32]));
        let expected =
            [&[10][..], b"n_FINALIZE", &[1, 0xac, 0x02, 0x80, 0x01], &[0xab; 32]].concat();
        assert_eq!(message, expected);
    }

    proptest! {
        #[test]
        fn certificates_round_trip(
            epoch: u64, view: u64, parent_view: u64, block: [u8; 32],
            votes in prop::collection::vec((any::<u16>(), prop::array::uniform32(any::<u8>())), 0..8),
        ) {
            let votes = votes
                .into_iter()
                .map(|(validator, half)| Vote {
                    validator,
                    signature: [half, half].concat().try_into().expect("twice 32"),
                })
                .collect();
            let certificate =
                FinalityCertificate { epoch, view, parent_view, block: Digest(block), votes };
            let bytes = borsh::to_vec(&certificate).unwrap();
            prop_assert_eq!(&borsh::from_slice::<FinalityCertificate>(&bytes).unwrap(), &certificate);
            let json = serde_json::to_string(&certificate).unwrap();
            prop_assert_eq!(serde_json::from_str::<FinalityCertificate>(&json).unwrap(), certificate);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = borsh::from_slice::<FinalityCertificate>(&bytes);
        }

        #[test]
        fn one_changed_byte_is_refused(position in 0usize..200, bit in 0u8..8) {
            let keys = keys(4);
            let mut bytes = borsh::to_vec(&certificate(&keys, &[0, 1, 2])).unwrap();
            let position = position % bytes.len();
            bytes[position] ^= 1 << bit;
            let accepted = borsh::from_slice::<FinalityCertificate>(&bytes)
                .is_ok_and(|changed| changed.verify_votes(&publics(&keys), NAMESPACE).is_ok());
            prop_assert!(!accepted);
        }
    }
}
