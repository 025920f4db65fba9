//! What is asked of who has a snapshot, and what is answered. Encoded as borsh;
//! the numbers of the variants are fixed.

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::codec::{self, DecodeError, MAX_BLOCK};
use hufu_proof::{Digest, FinalityCertificate, Header, Height};

use super::offer::Offer;
use crate::log::Run;

/// Largest question in bytes: two state keys.
pub const MAX_QUESTION: usize = 24 * 1024;

/// Largest answer in bytes: a block.
pub const MAX_ANSWER: usize = MAX_BLOCK;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Question {
    /// The snapshot's height; of no matter for [`Of::Offer`].
    pub height: Height,
    /// Whether the digest of the answer is enough.
    pub brief: bool,
    /// About what.
    pub of: Of,
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Of {
    /// What can be taken: as of this height, or else of the newest that can be.
    Offer(Option<Height>) = 0,
    /// Headers `begin..end`.
    Headers {
        /// The first.
        begin: Height,
        /// After the last.
        end: Height,
    } = 1,
    /// Certificates of finality of heights `begin..end`, one in every 64.
    Certificates {
        /// The first height.
        begin: Height,
        /// After the last.
        end: Height,
    } = 2,
    /// Entries `begin..end` of the log.
    Log {
        /// The first.
        begin: u64,
        /// After the last.
        end: u64,
    } = 3,
    /// What is below the node of the state tree that these nibbles lead to.
    Tree(Vec<u8>) = 4,
    /// Rows of the state.
    State(Range) = 5,
    /// Where transactions are.
    Places(Range) = 6,
    /// What accounts have used on the day of the snapshot's block.
    Usage(Range) = 7,
    /// A contract package.
    Package(Digest) = 8,
    /// A proposal.
    Proposal(Digest) = 9,
    /// The snapshot's block, from this byte on.
    Block(u32) = 10,
}

/// Rows whose keys begin at `start` and are before `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Range {
    /// The first key.
    pub start: Vec<u8>,
    /// The key after the last; `None` is the end of all.
    pub end: Option<Vec<u8>>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Answer {
    /// That it is not here.
    None = 0,
    /// What can be taken, if anything can.
    Offer {
        /// The earliest height that is whole here.
        kept_from: Height,
        /// The last executed one.
        applied: Height,
        /// What can be taken.
        offer: Option<Box<Offer>>,
    } = 1,
    /// Of what was asked: its digest.
    Digest(Digest) = 2,
    /// Headers.
    Headers(Vec<Header>) = 3,
    /// Certificates, each with its height.
    Certificates(Vec<(Height, FinalityCertificate)>) = 4,
    /// The log.
    Log(Vec<Run>) = 5,
    /// All leaves below, in their order: hash of the key, hash of the value.
    Leaves(Vec<([u8; 32], [u8; 32])>) = 6,
    /// The children of a node, by nibble, where there are too many leaves.
    Children(Box<[Option<Child>; 16]>) = 7,
    /// Rows in the order of their keys.
    Rows {
        /// Keys and values.
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        /// Where the range goes on, if it does.
        next: Option<Vec<u8>>,
    } = 8,
    /// Bytes of something, and how many it has in all.
    Bytes {
        /// A part.
        part: Vec<u8>,
        /// Bytes in all.
        all: u32,
    } = 9,
}

/// A child of a node of the state tree.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Child {
    /// Its hash.
    pub hash: [u8; 32],
    /// Leaves below it; `None` when it is one. Not verified: of use to whoever
    /// shows how far it is.
    pub leaves: Option<u64>,
}

impl Question {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// From at most [`MAX_QUESTION`] bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode("question about a snapshot", bytes, MAX_QUESTION)
    }
}

impl Answer {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// From at most [`MAX_ANSWER`] bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode("part of a snapshot", bytes, MAX_ANSWER)
    }

    /// What a brief answer says of this one.
    pub fn digest(&self) -> Digest {
        codec::digest("hufu snapshot part v1", self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wire_is_pinned() {
        let range = Range { start: b"a".to_vec(), end: Some(b"b".to_vec()) };
        let asked = |of| Question { height: Height(258), brief: true, of }.encode();
        let head = "020100000000000001";
        for (question, expected) in [
            (Of::Offer(None), "0000"),
            (Of::Tree(vec![1, 15]), "0402000000010f"),
            (Of::State(range.clone()), "050100000061010100000062"),
            (Of::Log { begin: 1, end: 2 }, "0301000000000000000200000000000000"),
            (Of::Block(7), "0a07000000"),
        ] {
            let bytes = asked(question.clone());
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text, format!("{head}{expected}"));
            assert_eq!(Question::decode(&bytes).unwrap().of, question);
        }
        let rows = Answer::Rows { rows: vec![(b"a".to_vec(), vec![])], next: Some(vec![b'b']) };
        assert_eq!(
            rows.encode(),
            [8, 1, 0, 0, 0, 1, 0, 0, 0, b'a', 0, 0, 0, 0, 1, 1, 0, 0, 0, b'b']
        );
        assert_eq!(Answer::decode(&rows.encode()).unwrap(), rows);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Question::decode(&bytes);
            if let Ok(answer) = Answer::decode(&bytes) {
                prop_assert_eq!(answer.encode(), bytes);
            }
        }
    }
}
