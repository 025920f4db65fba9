//! The authenticated state: a Jellyfish Merkle tree over the store, one version
//! per height.
//!
//! The tree's key is SHA-256 of the state key, the leaf's value the state value.
//! A node's row has the key `version ‖ number of nibbles ‖ nibbles` (eight bytes
//! big-endian, one byte, two nibbles a byte) and the library's borsh encoding of
//! the node as its value; a test pins both, because they must outlive the
//! library's version. Nodes are never changed. Values are not stored again:
//! they are in the state itself.

use std::cell::RefCell;
use std::collections::BTreeMap;

use hufu_contract::cache::Generations;
use hufu_proof::state::key_hash;
use hufu_proof::{Digest, Height, codec};
use hufu_store::{Space, Store, StoreError, Write};
use jmt::storage::{LeafNode, Node, NodeKey, TreeReader};
use jmt::{KeyHash, OwnedValue, Sha256Jmt, ValueHash, Version};

use crate::error::MachineError;

/// Nodes kept in memory, at about a kilobyte each.
const CACHED_NODES: usize = 65_536;

/// Most bytes of an encoded node: sixteen children of about fifty bytes.
pub(crate) const MAX_NODE: usize = 2_048;

/// Nibbles of a key's hash.
pub(crate) const MAX_NIBBLES: usize = 64;

/// Nodes that were read or written lately, by the keys of their rows.
pub(crate) type NodeCache = RefCell<Generations<Vec<u8>, Node>>;

pub(crate) fn node_cache() -> NodeCache {
    RefCell::new(Generations::new(CACHED_NODES))
}

/// What a height makes of the tree.
pub(crate) struct TreeUpdate {
    pub(crate) root: Digest,
    nodes: BTreeMap<NodeKey, Node>,
    stale: Vec<NodeKey>,
}

impl TreeUpdate {
    /// The rows to store.
    pub(crate) fn writes(&self) -> impl Iterator<Item = Write> {
        self.nodes
            .iter()
            .map(|(key, node)| Write::put(Space::Tree, node_key(key), codec::encode(node)))
    }

    /// Remembers the new nodes, once they are stored.
    pub(crate) fn remember(self, cache: &NodeCache) {
        let mut cache = cache.borrow_mut();
        for key in &self.stale {
            cache.remove(&node_key(key));
        }
        for (key, node) in self.nodes {
            cache.insert(node_key(&key), node);
        }
    }
}

/// Reads the nodes that an update of `keys` goes through into the cache: level
/// by level, each at once, where an update reads one after the other. Worth its
/// while where a read is a round trip.
pub(crate) fn prefetch<'a>(
    store: &dyn Store,
    cache: &NodeCache,
    before: Height,
    keys: impl Iterator<Item = &'a [u8]>,
) -> Result<(), MachineError> {
    let hashes: Vec<KeyHash> = keys.map(key_hash).collect();
    // The nodes of a level, each with the keys below it.
    let mut level = BTreeMap::from([(row_key(before.get(), 0, &[]), hashes)]);
    let mut depth = 0;
    while !level.is_empty() && depth < MAX_NIBBLES {
        let mut cache = cache.borrow_mut();
        let missing: Vec<&[u8]> = level
            .keys()
            .filter(|key| cache.get(key.as_slice()).is_none())
            .map(Vec::as_slice)
            .collect();
        let rows = store.read_many(Space::Tree, &missing, u64::MAX)?;
        for (key, row) in missing.into_iter().zip(rows) {
            // What is missing or undecodable is met again by the update.
            let node = row.and_then(|row| codec::decode("state tree node", &row, MAX_NODE).ok());
            if let Some(node) = node {
                cache.insert(key.to_vec(), node);
            }
        }
        let mut below = BTreeMap::<Vec<u8>, Vec<KeyHash>>::new();
        for (key, hashes) in &level {
            let Some(Node::Internal(node)) = cache.get(key) else { continue };
            let mut versions = [None; 16];
            for (nibble, child) in node.children_unsorted() {
                versions[nibble.as_usize()] = Some(child.version);
            }
            for hash in hashes {
                if let Some(version) = versions[usize::from(nibble(hash, depth))] {
                    let child = row_key(version, depth + 1, &hash.0);
                    below.entry(child).or_default().push(*hash);
                }
            }
        }
        level = below;
        depth += 1;
    }
    Ok(())
}

/// The tree of `version`, in which `writes` replace what the version before
/// held.
pub(crate) fn update(
    store: &dyn Store,
    cache: &NodeCache,
    height: Height,
    writes: &[(&[u8], &[u8])],
) -> Result<TreeUpdate, MachineError> {
    let reader = Nodes { store, cache: Some(cache), value: None };
    let tree = Sha256Jmt::new(&reader);
    let (root, batch) = if writes.is_empty() {
        tree.put_value_set(std::iter::empty(), height.get()).map_err(failure)?
    } else {
        let values = writes.iter().map(|(key, value)| (key_hash(key), value.to_vec())).collect();
        let (mut roots, batch) =
            tree.batch_put_value_sets(vec![values], None, height.get()).map_err(failure)?;
        let root = roots.pop().ok_or_else(|| MachineError::damaged("state tree"))?;
        (root, batch)
    };
    Ok(TreeUpdate {
        root: Digest(root.0),
        nodes: batch.node_batch.nodes().clone(),
        stale: batch.stale_node_index_batch.into_iter().map(|stale| stale.node_key).collect(),
    })
}

/// The root of `version`.
pub(crate) fn root(store: &dyn Store, height: Height) -> Result<Digest, MachineError> {
    let reader = Nodes { store, cache: None, value: None };
    let root = Sha256Jmt::new(&reader).get_root_hash(height.get()).map_err(failure)?;
    Ok(Digest(root.0))
}

/// The path that proves what `key` held in `version`; `value` is what it held.
pub(crate) fn path(
    store: &dyn Store,
    height: Height,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<Vec<u8>, MachineError> {
    let hash = key_hash(key);
    let reader = Nodes { store, cache: None, value: value.map(|value| (hash, value)) };
    let (found, proof) =
        Sha256Jmt::new(&reader).get_with_proof(hash, height.get()).map_err(failure)?;
    if found.as_deref() != value {
        return Err(MachineError::damaged("state tree"));
    }
    Ok(codec::encode(&proof))
}

/// Which of `rows` are not in the tree of `height` as they are, none of whose nodes
/// was made before.
pub(crate) fn absent<'a>(
    store: &dyn Store,
    cache: &NodeCache,
    height: Height,
    rows: &'a [(Vec<u8>, Vec<u8>)],
) -> Result<Option<&'a [u8]>, MachineError> {
    if store.is_remote() {
        prefetch(store, cache, height, rows.iter().map(|(key, _)| key.as_slice()))?;
    }
    let reader = Nodes { store, cache: Some(cache), value: None };
    for (key, value) in rows {
        let hash = key_hash(key);
        let expected = LeafNode::new(hash, ValueHash(Digest::of(value).0));
        let mut depth = 0;
        loop {
            match reader.node(row_key(height.get(), depth, &hash.0)).map_err(failure)? {
                Some(Node::Internal(_)) if depth < MAX_NIBBLES => depth += 1,
                Some(Node::Leaf(leaf)) if leaf == expected => break,
                _ => return Ok(Some(key)),
            }
        }
    }
    Ok(None)
}

/// Reads nodes from the store.
struct Nodes<'a> {
    store: &'a dyn Store,
    cache: Option<&'a NodeCache>,
    /// The one value that is asked for when a path is made.
    value: Option<(KeyHash, &'a [u8])>,
}

impl Nodes<'_> {
    /// The node whose row has this key.
    fn node(&self, key: Vec<u8>) -> anyhow::Result<Option<Node>> {
        if let Some(cache) = self.cache
            && let Some(node) = cache.borrow_mut().get(&key)
        {
            return Ok(Some(node.clone()));
        }
        let Some(row) = self.store.read_latest(Space::Tree, &key)? else {
            return Ok(None);
        };
        let node: Node = codec::decode("state tree node", &row, MAX_NODE)?;
        if let Some(cache) = self.cache {
            cache.borrow_mut().insert(key, node.clone());
        }
        Ok(Some(node))
    }
}

impl TreeReader for Nodes<'_> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        self.node(node_key(key))
    }

    fn get_value_option(&self, _: Version, hash: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(self.value.filter(|(of, _)| *of == hash).map(|(_, value)| value.to_vec()))
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        // Asked for only while a tree is restored from another one's leaves.
        Ok(None)
    }
}

fn node_key(key: &NodeKey) -> Vec<u8> {
    let path = key.nibble_path();
    let count = path.num_nibbles();
    let mut row = Vec::with_capacity(9 + count.div_ceil(2));
    row.extend_from_slice(&key.version().to_be_bytes());
    // At most 64.
    row.push(count as u8);
    let mut pending = None;
    for nibble in path.nibbles() {
        let nibble = nibble.as_usize() as u8;
        match pending.take() {
            None => pending = Some(nibble << 4),
            Some(high) => row.push(high | nibble),
        }
    }
    row.extend(pending);
    row
}

/// The key of the row of the node that the first `count` nibbles of `path` lead
/// to.
pub(crate) fn row_key(version: Version, count: usize, path: &[u8]) -> Vec<u8> {
    let mut row = version.to_be_bytes().to_vec();
    // At most 64.
    row.push(count as u8);
    row.extend_from_slice(&path[..count.div_ceil(2)]);
    if !count.is_multiple_of(2)
        && let Some(last) = row.last_mut()
    {
        *last &= 0xf0;
    }
    row
}

/// Nibble number `at` of a hash.
fn nibble(hash: &KeyHash, at: usize) -> u8 {
    let byte = hash.0[at / 2];
    if at.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f }
}

/// Separates what the store said from what the tree said.
fn failure(error: anyhow::Error) -> MachineError {
    match error.downcast::<StoreError>() {
        Ok(error) => MachineError::Store(error),
        Err(error) => MachineError::damaged(format!("state tree ({error:#})")),
    }
}
