//! A height in parts: each a transaction far below the cluster's limit, with a
//! list of the keys that it writes, so that what was staged and never flipped
//! can be found and removed without reading the store.
//!
//! A list is for each row `code of the space ‖ length of the key (two bytes,
//! big-endian) ‖ key`, the key as it is stored, without the store's prefix.

use crate::limits::{MAX_TRANSACTION, MAX_VALUE, ROW_OVERHEAD};
use crate::rows::encode_row;
use crate::{Space, StoreError, Write};

/// Rows of one transaction.
#[derive(Default)]
pub(super) struct Part {
    /// Space, key and value, as stored.
    pub(super) rows: Vec<(Space, Vec<u8>, Vec<u8>)>,
    /// The list of their keys.
    pub(super) list: Vec<u8>,
}

/// `writes` in parts, at least one. The same writes give the same parts.
pub(super) fn split(height: u64, prefix: usize, writes: Vec<Write>) -> Vec<Part> {
    let mut parts = vec![Part::default()];
    let mut size = 0;
    for write in writes {
        let (space, key, value) = encode_row(height, write);
        // Removals of versioned rows have a value too, and plain spaces do not
        // take any.
        let value = value.unwrap_or_default();
        // The key is in the row, at both ends of what the cluster watches for
        // conflicts, and in the list.
        let row = 4 * (key.len() + prefix) + value.len() + ROW_OVERHEAD;
        let listed = key.len() + 3;
        // There is one, from the beginning.
        let Some(mut part) = parts.last_mut() else { break };
        if size + row > MAX_TRANSACTION || part.list.len() + listed > MAX_VALUE {
            parts.push(Part::default());
            size = 0;
            let Some(next) = parts.last_mut() else { break };
            part = next;
        }
        size += row;
        part.list.push(space.code());
        // Fits: keys are within the limit.
        part.list.extend_from_slice(&(key.len() as u16).to_be_bytes());
        part.list.extend_from_slice(&key);
        part.rows.push((space, key, value));
    }
    parts
}

/// The keys of a list.
pub(super) fn listed(mut list: &[u8]) -> Result<Vec<(Space, &[u8])>, StoreError> {
    let mut keys = Vec::new();
    let damaged = || StoreError::damaged("its list of staged rows");
    while let Some((code, rest)) = list.split_first() {
        let space = Space::ALL.into_iter().find(|space| space.code() == *code);
        let (length, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let length = u16::from_be_bytes(*length).into();
        let (key, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        keys.push((space.ok_or_else(damaged)?, key));
        list = rest;
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foundationdb::keys::MAX_PREFIX;
    use crate::limits::MAX_KEY;
    use proptest::prelude::*;

    fn writes() -> impl Strategy<Value = Vec<Write>> {
        let row = (
            prop_oneof![Just(Space::State), Just(Space::Log)],
            prop_oneof![0..40_usize, 9_000..MAX_KEY - 10],
            prop_oneof![0..200_usize, 80_000..=MAX_VALUE],
        );
        let write =
            row.prop_map(|(space, key, value)| Write::put(space, vec![7; key], vec![1; value]));
        prop::collection::vec(write, 0..60)
    }

    proptest! {
        #[test]
        fn parts_hold_everything_in_order_and_are_within_the_limits(writes in writes()) {
            let expected: Vec<_> = writes.iter().cloned().map(|write| {
                let (space, key, value) = encode_row(9, write);
                (space, key, value.unwrap())
            }).collect();
            let parts = split(9, MAX_PREFIX, writes);
            prop_assert!(!parts.is_empty());
            for part in &parts {
                prop_assert!(part.list.len() <= MAX_VALUE);
                let keys: usize = part.rows.iter().map(|(_, key, _)| key.len() + MAX_PREFIX).sum();
                let values: usize = part.rows.iter().map(|(_, _, value)| value.len()).sum();
                prop_assert!(3 * keys + values + part.list.len() <= MAX_TRANSACTION);
                let keys = listed(&part.list).unwrap();
                let rows: Vec<_> =
                    part.rows.iter().map(|(space, key, _)| (*space, key.as_slice())).collect();
                prop_assert_eq!(keys, rows);
            }
            let found: Vec<_> = parts.into_iter().flat_map(|part| part.rows).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn arbitrary_lists_do_not_panic(list in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = listed(&list);
        }
    }
}
