//! Which nodes of the state tree a height has replaced.
//!
//! A node is in the tree of the height that made it and in those of later heights,
//! until one has another node in its place, or none. So what a height replaced is
//! found from its own nodes, which are one range of rows, and from those of the
//! tree before that they do not refer to any more; nothing else is read.

use std::collections::HashMap;

use hufu_proof::{Height, codec};
use hufu_store::{KeyRange, Space, Store};
use jmt::storage::Node;

use crate::error::MachineError;
use crate::tree::MAX_NODE;

/// The part of a row's key that says where the node is.
const PLACE: usize = 8;

/// Keys of the rows of nodes that are in the tree before `height` and not in that
/// of `height`, those deeper in the tree first: whoever removes them in this order
/// and is interrupted finds the rest again.
pub(crate) fn replaced(store: &dyn Store, height: Height) -> Result<Vec<Vec<u8>>, MachineError> {
    let Some(before) = height.previous() else { return Ok(Vec::new()) };
    let own = KeyRange::prefix(&height.to_be_bytes());
    let own = store.scan(Space::Tree, &own, u64::MAX, usize::MAX)?;
    let own: HashMap<Vec<u8>, Node> = own
        .into_iter()
        .map(|(key, row)| Ok((key[PLACE..].to_vec(), decode(&row)?)))
        .collect::<Result<_, MachineError>>()?;
    let mut replaced = Vec::new();
    // Nibbles that lead to a node, and the height that made it.
    let mut level = vec![(Vec::new(), before.get())];
    while !level.is_empty() {
        let keys: Vec<Vec<u8>> = level
            .iter()
            .map(|(nibbles, version)| [&version.to_be_bytes()[..], &place(nibbles)].concat())
            .collect();
        let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let rows = store.read_many(Space::Tree, &asked, u64::MAX)?;
        let mut below = Vec::new();
        for ((nibbles, _), row) in level.iter().zip(rows) {
            // What is missing was removed before, with everything below it.
            let Some(row) = row else { continue };
            let Node::Internal(old) = decode(&row)? else { continue };
            let mut kept = [None; 16];
            if let Some(Node::Internal(new)) = own.get(&place(nibbles)) {
                for (nibble, child) in new.children_unsorted() {
                    kept[nibble.as_usize()] = Some(child.version);
                }
            }
            for (nibble, child) in old.children_unsorted() {
                let at = nibble.as_usize();
                if kept[at] != Some(child.version) {
                    // A nibble.
                    below.push(([&nibbles[..], &[at as u8]].concat(), child.version));
                }
            }
        }
        replaced.extend(keys);
        level = below;
    }
    replaced.reverse();
    Ok(replaced)
}

/// The key of a row, without the height.
fn place(nibbles: &[u8]) -> Vec<u8> {
    // At most 64.
    let mut place = vec![nibbles.len() as u8];
    for pair in nibbles.chunks(2) {
        place.push(pair[0] << 4 | pair.get(1).copied().unwrap_or(0));
    }
    place
}

fn decode(row: &[u8]) -> Result<Node, MachineError> {
    codec::decode("state tree node", row, MAX_NODE)
        .map_err(|error| MachineError::undecodable("state tree", error))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hufu_store::{Applied, EmbeddedStore, Old, Write};

    use super::*;
    use crate::tree::{node_cache, update};

    /// All nodes of the tree of `height`.
    fn tree_of(store: &dyn Store, height: u64) -> BTreeSet<Vec<u8>> {
        let mut found = BTreeSet::new();
        let mut open = vec![(Vec::new(), height)];
        while let Some((nibbles, version)) = open.pop() {
            let key = [&version.to_be_bytes()[..], &place(&nibbles)].concat();
            let row = store.read_latest(Space::Tree, &key).unwrap().expect("a node is missing");
            found.insert(key);
            if let Node::Internal(node) = decode(&row).unwrap() {
                open.extend(node.children_unsorted().map(|(nibble, child)| {
                    ([&nibbles[..], &[nibble.as_usize() as u8]].concat(), child.version)
                }));
            }
        }
        found
    }

    /// Heights that write many keys, one, none, and leaves that move down.
    #[test]
    fn what_is_left_is_the_tree_of_the_height_and_those_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let cache = node_cache();
        let mut seed = 7_u64;
        for height in 0..60_u64 {
            let count = [1, 0, 40, 3, 0, 300][height as usize % 6];
            let keys: Vec<Vec<u8>> = (0..count)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 54).to_be_bytes().to_vec()
                })
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            let value = height.to_be_bytes();
            let writes: Vec<(&[u8], &[u8])> =
                keys.iter().map(|key| (key.as_slice(), &value[..])).collect();
            let update = update(&store, &cache, Height(height), &writes).unwrap();
            let rows: Vec<Write> = update.writes().collect();
            store.stage(height, rows).unwrap();
            store.flip(Applied { height, block: [0; 32], commitment: vec![] }).unwrap();
            update.remember(&cache);
        }
        for kept in 1..60 {
            let old = replaced(&store, Height(kept)).unwrap();
            store.prune(Space::Tree, Old::Rows(&old)).unwrap();
            let needed: BTreeSet<Vec<u8>> =
                (kept..60).flat_map(|height| tree_of(&store, height)).collect();
            let rows = store.scan(Space::Tree, &KeyRange::all(), u64::MAX, usize::MAX).unwrap();
            let left: BTreeSet<Vec<u8>> = rows.into_iter().map(|(key, _)| key).collect();
            assert_eq!(left, needed, "as of {kept}");
        }
    }
}
