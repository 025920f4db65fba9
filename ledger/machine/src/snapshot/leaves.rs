//! The state tree of a snapshot, from its leaves: its nodes, and their hashes.
//!
//! A node's hash says nothing of the height that made it, so whoever takes a
//! snapshot writes every node as of the snapshot's height, and takes nobody's word
//! for it.

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::{Height, codec};
use hufu_store::{Space, Write};
use jmt::storage::{LeafNode, Node};
use jmt::{KeyHash, ValueHash};
use jmt_sha256::Sha256;

use super::wire::Child;
use crate::error::MachineError;
use crate::tree::{MAX_NIBBLES, MAX_NODE, row_key};

/// Leaves that are answered at once.
pub(super) const MOST: usize = 2_048;

/// Hash of a key and hash of its value.
pub(super) type Leaf = ([u8; 32], [u8; 32]);

/// The library's encoding of a node, whose parts it does not let others name.
#[derive(BorshSerialize, BorshDeserialize)]
enum Encoded {
    Null,
    Internal { children: Box<[Option<EncodedChild>; 16]>, count: u64, leaves: u64 },
    Leaf(Leaf),
}

#[derive(Clone, BorshSerialize, BorshDeserialize)]
struct EncodedChild {
    hash: [u8; 32],
    version: u64,
    kind: EncodedKind,
}

#[derive(Clone, BorshSerialize, BorshDeserialize)]
enum EncodedKind {
    Leaf,
    Internal { leaves: u64 },
}

/// What a node is, read from its row.
pub(super) enum Read {
    /// A leaf.
    Leaf(Leaf),
    /// Children by nibble, each with the height that made it.
    Internal(Box<[Option<(Child, u64)>; 16]>),
}

/// Reads a row of the tree.
pub(super) fn read(row: &[u8]) -> Result<Read, MachineError> {
    let damaged = |error| MachineError::undecodable("state tree", error);
    match codec::decode("state tree node", row, MAX_NODE).map_err(damaged)? {
        Encoded::Null => Err(MachineError::damaged("state tree")),
        Encoded::Leaf(leaf) => Ok(Read::Leaf(leaf)),
        Encoded::Internal { children, .. } => {
            let child = |child: EncodedChild| {
                let EncodedChild { hash, version, kind } = child;
                let leaves = match kind {
                    EncodedKind::Leaf => None,
                    EncodedKind::Internal { leaves } => Some(leaves),
                };
                (Child { hash, leaves }, version)
            };
            Ok(Read::Internal(Box::new((*children).map(|one| one.map(child)))))
        }
    }
}

/// A node that was made.
pub(super) struct Made {
    /// What its parent says of it.
    pub(super) child: Child,
    /// Its row.
    row: Vec<u8>,
}

impl Made {
    fn leaf((key, value): Leaf) -> Self {
        let hash = LeafNode::new(KeyHash(key), ValueHash(value)).hash::<Sha256>();
        let row = codec::encode(&Encoded::Leaf((key, value)));
        Self { child: Child { hash, leaves: None }, row }
    }

    /// `None` for what is no node: none or one leaf below it.
    fn internal(children: &[Option<Child>; 16], height: Height) -> Option<Self> {
        let (mut count, mut below) = (0, 0u64);
        for child in children.iter().flatten() {
            count += 1;
            below = below.checked_add(child.leaves.unwrap_or(1)).filter(|sum| *sum < 1 << 48)?;
        }
        if below < 2 {
            return None;
        }
        let encoded = children.clone().map(|child| {
            child.map(|Child { hash, leaves }| EncodedChild {
                hash,
                version: height.get(),
                kind: match leaves {
                    None => EncodedKind::Leaf,
                    Some(leaves) => EncodedKind::Internal { leaves },
                },
            })
        });
        let encoded = Encoded::Internal { children: Box::new(encoded), count, leaves: below };
        let row = codec::encode(&encoded);
        let Ok(Node::Internal(node)) = codec::decode("state tree node", &row, MAX_NODE) else {
            return None;
        };
        Some(Self { child: Child { hash: node.hash::<Sha256>(), leaves: Some(below) }, row })
    }

    /// Its row, where `path` leads to it.
    pub(super) fn write(self, path: &[u8], height: Height) -> Write {
        Write::put(Space::Tree, row_key(height.get(), path.len(), &packed(path)), self.row)
    }
}

/// A node from its children; `None` when it cannot be one.
pub(super) fn from_children(children: &[Option<Child>; 16], height: Height) -> Option<Made> {
    Made::internal(children, height)
}

/// The node that `path` leads to, with everything below it written to `writes`;
/// `None` when the leaves are none, not in their order, or not below it.
pub(super) fn from_leaves(
    path: &[u8],
    leaves: &[Leaf],
    height: Height,
    writes: &mut Vec<Write>,
) -> Option<Made> {
    let ascending = leaves.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let below = |(key, _): &Leaf| path.iter().enumerate().all(|(at, one)| nibble(key, at) == *one);
    if path.len() > MAX_NIBBLES || !ascending || !leaves.iter().all(below) || leaves.is_empty() {
        return None;
    }
    build(path, leaves, height, writes)
}

/// As [`from_leaves`], of leaves that were checked. It ends: two different keys
/// differ in one of 64 nibbles.
fn build(path: &[u8], leaves: &[Leaf], height: Height, writes: &mut Vec<Write>) -> Option<Made> {
    if let [leaf] = leaves {
        return Some(Made::leaf(*leaf));
    }
    let mut children: [Option<Child>; 16] = std::array::from_fn(|_| None);
    for of_child in
        leaves.chunk_by(|(one, _), (other, _)| nibble(one, path.len()) == nibble(other, path.len()))
    {
        let at = nibble(&of_child.first()?.0, path.len());
        let path = [path, &[at]].concat();
        let made = build(&path, of_child, height, writes)?;
        children[usize::from(at)] = Some(made.child.clone());
        writes.push(made.write(&path, height));
    }
    Made::internal(&children, height)
}

/// Nibble number `at` of a key's hash.
pub(super) fn nibble(key: &[u8; 32], at: usize) -> u8 {
    let byte = key[at / 2];
    if at.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f }
}

/// Nibbles, two in a byte.
pub(super) fn packed(path: &[u8]) -> Vec<u8> {
    path.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hufu_store::{Applied, EmbeddedStore, KeyRange, Store as _};

    use super::*;
    use crate::tree::{node_cache, update};

    /// What is made of leaves is what the library makes of the same writes.
    #[test]
    fn nodes_are_those_of_the_library() {
        for count in [2_u64, 3, 17, 40, 700] {
            let directory = tempfile::tempdir().unwrap();
            let store = EmbeddedStore::open(directory.path()).unwrap();
            let height = Height::ZERO;
            let keys: Vec<[u8; 8]> = (0..count).map(u64::to_be_bytes).collect();
            let writes: Vec<(&[u8], &[u8])> =
                keys.iter().map(|key| (key.as_slice(), &b"value"[..])).collect();
            let update = update(&store, &node_cache(), height, &writes).unwrap();
            store.stage(0, update.writes().collect()).unwrap();
            store.flip(Applied { height: 0, block: [0; 32], commitment: Vec::new() }).unwrap();
            let value = hufu_proof::Digest::of(b"value").0;
            let leaves: BTreeMap<[u8; 32], [u8; 32]> =
                keys.iter().map(|key| (hufu_proof::Digest::of(key).0, value)).collect();
            let leaves: Vec<Leaf> = leaves.into_iter().collect();
            let mut made = Vec::new();
            let root = from_leaves(&[], &leaves, height, &mut made).unwrap();
            assert_eq!(root.child.hash, update.root.0, "{count}");
            made.push(root.write(&[], height));
            let made: BTreeMap<_, _> =
                made.into_iter().map(|write| (write.key, write.value.unwrap())).collect();
            let stored = store.scan(Space::Tree, &KeyRange::all(), u64::MAX, usize::MAX).unwrap();
            assert_eq!(made, stored.into_iter().collect(), "{count}");
        }
    }

    #[test]
    fn leaves_that_are_not_there_are_no_node() {
        let leaf = |first: u8| ([first; 32], [1; 32]);
        let (ordered, swapped) = ([leaf(0x11), leaf(0x12)], [leaf(0x12), leaf(0x11)]);
        let made = |path: &[u8], leaves: &[Leaf]| {
            from_leaves(path, leaves, Height::ZERO, &mut Vec::new()).is_some()
        };
        assert!(made(&[], &ordered) && made(&[1], &ordered) && made(&[1, 1], &ordered[..1]));
        assert!(!made(&[], &swapped) && !made(&[], &[leaf(3), leaf(3)]) && !made(&[], &[]));
        assert!(!made(&[2], &ordered) && !made(&[1; 65], &ordered[..1]));
    }
}
