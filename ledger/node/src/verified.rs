//! Blocks whose signatures this node has verified and that may become final, so
//! that no signature is verified twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hufu_proof::{Block, Digest, Height, Transaction};

/// Most blocks that are remembered.
const REMEMBERED: usize = 256;

/// A block whose signatures have been verified.
#[derive(Clone)]
pub struct Verified {
    /// The block.
    pub block: Arc<Block>,
    /// The identifiers of its transactions, in their order.
    pub ids: Arc<[Digest]>,
}

/// Verified blocks by digest, the oldest heights forgotten first.
#[derive(Default)]
pub(crate) struct VerifiedBlocks {
    blocks: HashMap<Digest, Verified>,
    heights: BTreeMap<Height, Vec<Digest>>,
    /// Where their transactions are, by identifier: block and place in it.
    places: HashMap<Digest, (Digest, usize)>,
}

impl VerifiedBlocks {
    /// Remembers a block.
    pub fn insert(&mut self, verified: Verified) {
        let digest = verified.block.digest();
        for (place, id) in verified.ids.iter().enumerate() {
            self.places.insert(*id, (digest, place));
        }
        let height = verified.block.header.height;
        if self.blocks.insert(digest, verified).is_none() {
            self.heights.entry(height).or_default().push(digest);
        }
        while self.blocks.len() > REMEMBERED {
            let Some((_, digests)) = self.heights.pop_first() else { break };
            self.forget(&digests);
        }
    }

    /// Forgets the blocks at executed heights: none of them is wanted again.
    pub fn executed(&mut self, height: Height) {
        let later = self.heights.split_off(&height.next());
        for digests in std::mem::replace(&mut self.heights, later).into_values() {
            self.forget(&digests);
        }
    }

    fn forget(&mut self, digests: &[Digest]) {
        for digest in digests {
            let Some(forgotten) = self.blocks.remove(digest) else { continue };
            for id in &*forgotten.ids {
                if self.places.get(id).is_some_and(|(block, _)| block == digest) {
                    self.places.remove(id);
                }
            }
        }
    }

    /// Whether the block of this digest is here.
    pub fn has(&self, digest: &Digest) -> bool {
        self.blocks.contains_key(digest)
    }

    /// Whether `transaction`, as it is signed, is in one of the blocks.
    pub fn contains(&self, id: &Digest, transaction: &Transaction) -> bool {
        // The identifier is a digest of the body.
        self.places
            .get(id)
            .and_then(|(block, place)| self.blocks.get(block)?.block.transactions.get(*place))
            .is_some_and(|known| known.signature == transaction.signature)
    }

    /// `block` and its ancestors after height `applied`, as far as they are here.
    pub fn line(&self, block: &Arc<Block>, applied: Height) -> Vec<Verified> {
        let mut line: Vec<Verified> = Vec::new();
        let mut next = self.blocks.get(&block.digest()).cloned();
        // The parent may have been verified before this node was started.
        if next.is_none() && block.header.height > applied {
            next = Some(Verified { block: Arc::clone(block), ids: ids(block) });
        }
        while let Some(verified) = next {
            if verified.block.header.height <= applied || line.len() == REMEMBERED {
                break;
            }
            next = self.blocks.get(&verified.block.header.parent).cloned();
            line.push(verified);
        }
        line
    }
}

/// The identifiers of a block's transactions, and their encoded sizes in bytes.
pub fn ids_and_sizes(block: &Block) -> (Arc<[Digest]>, Vec<usize>) {
    let (ids, sizes): (Vec<_>, Vec<_>) =
        block.transactions.iter().map(Transaction::id_and_size).unzip();
    (ids.into(), sizes)
}

/// The identifiers of a block's transactions.
pub fn ids(block: &Block) -> Arc<[Digest]> {
    block.transactions.iter().map(Transaction::id).collect()
}
