//! The append-only Merkle log (RFC 9162 §2.1).
//!
//! Nodes of perfect subtrees are addressed by `(level, index)`: level 0 are the
//! leaf hashes, and `(l, i)` covers leaves `i·2^l .. (i+1)·2^l`. Whoever stores
//! them (tiles of eight levels are 256 hashes) gives a reader; this module does
//! the arithmetic.

use crate::identifier::Digest;

/// Longest inclusion path: the log never has 2^63 entries.
pub const MAX_PATH: usize = 64;

/// Hash of a leaf: SHA-256(0x00 ‖ entry).
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], entry])
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// Root of a tree over `leaves` (already hashed). Empty: SHA-256 of nothing.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(split(many.len() as u64) as usize);
            node_hash(&root(left), &root(right))
        }
    }
}

/// The nodes that appending `leaf` as entry number `index` completes, lowest
/// level first. `node` reads nodes completed before.
///
/// # Errors
/// Whatever `node` returns.
pub fn append<E>(
    index: u64,
    leaf: Digest,
    mut node: impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Vec<(u8, u64, Digest)>, E> {
    let mut done = vec![(0, index, leaf)];
    let (mut level, mut at, mut hash) = (0u8, index, leaf);
    while at & 1 == 1 {
        let left = node(level, at - 1)?;
        hash = node_hash(&left, &hash);
        level += 1;
        at >>= 1;
        done.push((level, at, hash));
    }
    Ok(done)
}

/// Root of the first `size` entries, read from perfect subtrees.
///
/// # Errors
/// Whatever `node` returns.
pub fn stored_root<E>(
    size: u64,
    mut node: impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Digest, E> {
    if size == 0 {
        return Ok(root(&[]));
    }
    range_hash(0, size, &mut node)
}

/// Inclusion path of entry `index` in the tree of `size` entries, leaf's
/// sibling first (RFC 9162 §2.1.3.1).
///
/// # Errors
/// Whatever `node` returns.
///
/// # Panics
/// Never for `index < size`, which the caller ensures.
pub fn stored_path<E>(
    index: u64,
    size: u64,
    mut node: impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    assert!(index < size, "entry {index} is not in a log of {size}");
    let mut path = Vec::new();
    let (mut begin, mut end) = (0, size);
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            path.push(range_hash(middle, end, &mut node)?);
            end = middle;
        } else {
            path.push(range_hash(begin, middle, &mut node)?);
            begin = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The root that `path` leads to from `leaf` (RFC 9162 §2.1.3.2), or `None`
/// when the path has the wrong length or the index is outside.
pub fn root_from_path(index: u64, size: u64, leaf: Digest, path: &[Digest]) -> Option<Digest> {
    if index >= size {
        return None;
    }
    let (mut position, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if position & 1 == 1 || position == last {
            hash = node_hash(sibling, &hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Largest power of two smaller than `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

/// Hash over entries `begin..end`, where `begin` is a multiple of the largest
/// power of two that fits.
fn range_hash<E>(
    begin: u64,
    end: u64,
    node: &mut impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Digest, E> {
    let count = end - begin;
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return node(level as u8, begin >> level);
    }
    let middle = begin + split(count);
    let left = range_hash(begin, middle, node)?;
    let right = range_hash(middle, end, node)?;
    Ok(node_hash(&left, &right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    fn leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|one| leaf_hash(&one.to_be_bytes())).collect()
    }

    #[test]
    fn matches_the_empty_and_one_entry_vectors_of_certificate_transparency() {
        assert_eq!(
            root(&[]).to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            root(&[leaf_hash(&[])]).to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }

    proptest! {
        #[test]
        fn stored_nodes_give_the_root_and_every_path(size in 1u64..70) {
            let leaves = leaves(size);
            let mut nodes = BTreeMap::new();
            for (index, leaf) in leaves.iter().enumerate() {
                let new = append(index as u64, *leaf, |level, at| {
                    Ok::<_, Infallible>(nodes[&(level, at)])
                }).unwrap();
                nodes.extend(new.into_iter().map(|(level, at, hash)| ((level, at), hash)));
            }
            let node = |level, at| Ok::<_, Infallible>(nodes[&(level, at)]);
            let expected = root(&leaves);
            prop_assert_eq!(stored_root(size, node).unwrap(), expected);
            for index in 0..size {
                let path = stored_path(index, size, node).unwrap();
                let leaf = leaves[index as usize];
                prop_assert_eq!(root_from_path(index, size, leaf, &path), Some(expected));
                // A path does not serve another place, another leaf or another length.
                for other in 0..size {
                    if other != index {
                        prop_assert_ne!(
                            root_from_path(other, size, leaf, &path), Some(expected));
                    }
                }
                let mut longer = path.clone();
                longer.push(leaf);
                prop_assert_ne!(root_from_path(index, size, leaf, &longer), Some(expected));
            }
        }
    }
}
