//! The log as a partition has it: hashes of the complete subtrees before its first
//! entry, and the entries.

use hufu_proof::{Digest, merkle};

/// A node that is not there.
#[derive(Debug)]
pub(crate) struct Missing;

/// The log up to the end of a partition.
pub(crate) struct Tree<'a> {
    begin: u64,
    left: &'a [Digest],
    leaves: Vec<Digest>,
}

impl<'a> Tree<'a> {
    /// `left` are the subtrees that a log of `begin` entries consists of, the largest
    /// first.
    pub(crate) fn new(begin: u64, left: &'a [Digest]) -> Self {
        Self { begin, left, leaves: Vec::new() }
    }

    pub(crate) fn push(&mut self, leaf: Digest) {
        self.leaves.push(leaf);
    }

    /// Entries in the log.
    pub(crate) fn size(&self) -> u64 {
        self.begin + self.leaves.len() as u64
    }

    pub(crate) fn root(&self) -> Result<Digest, Missing> {
        merkle::stored_root(self.size(), |level, at| self.node(level, at))
    }

    /// The inclusion path of the entry `index`, which is of the partition.
    pub(crate) fn path(&self, index: u64) -> Result<Vec<Digest>, Missing> {
        if index < self.begin || index >= self.size() {
            return Err(Missing);
        }
        merkle::stored_path(index, self.size(), |level, at| self.node(level, at))
    }

    /// A complete node. One that lies before the partition is one of the subtrees that
    /// the log consisted of there: a larger one around it reaches into the partition.
    fn node(&self, level: u8, at: u64) -> Result<Digest, Missing> {
        let start = at.checked_shl(u32::from(level)).ok_or(Missing)?;
        let end = start.checked_add(1u64.checked_shl(u32::from(level)).ok_or(Missing)?);
        let end = end.filter(|end| *end <= self.size()).ok_or(Missing)?;
        if end <= self.begin {
            return self.before(level, at);
        }
        if let Some(within) = start.checked_sub(self.begin) {
            let within = within as usize..(end - self.begin) as usize;
            return self.leaves.get(within).map(merkle::root).ok_or(Missing);
        }
        let below = level.checked_sub(1).ok_or(Missing)?;
        Ok(merkle::node_hash(&self.node(below, 2 * at)?, &self.node(below, 2 * at + 1)?))
    }

    fn before(&self, level: u8, at: u64) -> Result<Digest, Missing> {
        let present = self.begin >> level;
        if present & 1 == 0 || at != present - 1 {
            return Err(Missing);
        }
        let larger = (present >> 1).count_ones() as usize;
        self.left.get(larger).copied().ok_or(Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The subtrees of the first `size` leaves.
    fn subtrees(leaves: &[Digest], size: u64) -> Vec<Digest> {
        let mut rest = &leaves[..size as usize];
        let mut left = Vec::new();
        while !rest.is_empty() {
            let (first, others) = rest.split_at(1 << rest.len().ilog2());
            left.push(merkle::root(first));
            rest = others;
        }
        left
    }

    proptest! {
        #[test]
        fn any_partition_gives_the_root_and_every_path(size in 1u64..90, begin in 0u64..90) {
            prop_assume!(begin <= size);
            let leaves: Vec<Digest> =
                (0..size).map(|one| merkle::leaf_hash(&one.to_be_bytes())).collect();
            let left = subtrees(&leaves, begin);
            prop_assert_eq!(left.len(), begin.count_ones() as usize);
            let mut tree = Tree::new(begin, &left);
            leaves[begin as usize..].iter().for_each(|leaf| tree.push(*leaf));
            let root = merkle::root(&leaves);
            prop_assert_eq!(tree.root().unwrap(), root);
            for index in 0..size {
                let path = tree.path(index);
                match path {
                    Err(Missing) => prop_assert!(index < begin),
                    Ok(path) => prop_assert_eq!(
                        merkle::root_from_path(index, size, leaves[index as usize], &path),
                        Some(root)
                    ),
                }
            }
        }
    }
}
