//! Values over the limit of one row, in chunks of a plain space.
//!
//! Chunk *i* of the value of `key` has the key `key ‖ i` (two bytes,
//! big-endian). The first chunk begins with the length of the whole value (four
//! bytes, big-endian), so that a reader knows when it has everything.

use std::ops::RangeInclusive;

use crate::limits::MAX_VALUE;
use crate::{Space, Store, StoreError, Write};

/// Largest value in bytes: 64 MiB.
pub const MAX_LARGE: usize = 64 * 1024 * 1024;

const PREFIX: usize = 4;

/// The rows that hold `value` under `key`.
///
/// # Errors
/// [`StoreError::ValueTooLarge`] over [`MAX_LARGE`].
pub fn writes(
    space: Space,
    key: &[u8],
    value: &[u8],
) -> Result<impl Iterator<Item = Write>, StoreError> {
    if value.len() > MAX_LARGE {
        return Err(StoreError::ValueTooLarge { space, size: value.len() });
    }
    // Fits: the limit is far below 4 GiB and 65,536 chunks.
    let length = (value.len() as u32).to_be_bytes();
    let (first, mut rest) = value.split_at(value.len().min(MAX_VALUE - PREFIX));
    let mut chunks = vec![[&length, first].concat()];
    while !rest.is_empty() {
        let (chunk, next) = rest.split_at(rest.len().min(MAX_VALUE));
        chunks.push(chunk.to_vec());
        rest = next;
    }
    let key = key.to_vec();
    Ok(chunks
        .into_iter()
        .enumerate()
        .map(move |(index, chunk)| Write::put(space, chunk_key(&key, index as u16), chunk)))
}

/// The value under `key`, as of `height`.
///
/// # Errors
/// [`StoreError::Damaged`] when a chunk is missing or of the wrong size, or
/// what the store meets.
pub fn read(
    store: &dyn Store,
    space: Space,
    key: &[u8],
    height: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(first) = store.read(space, &chunk_key(key, 0), height)? else { return Ok(None) };
    let damaged = || StoreError::damaged(format!("a large value of the space `{space}`"));
    let (length, start) = first.split_at_checked(PREFIX).ok_or_else(damaged)?;
    let length = u32::from_be_bytes(length.try_into().map_err(|_| damaged())?) as usize;
    if length > MAX_LARGE {
        return Err(damaged());
    }
    let mut value = Vec::with_capacity(length);
    value.extend_from_slice(start);
    // Every chunk but the first and the last is full.
    let chunks = length.saturating_sub(start.len()).div_ceil(MAX_VALUE);
    for chunk in chunks_at(store, space, key, height, 1..=chunks)? {
        value.extend_from_slice(&chunk.ok_or_else(damaged)?);
    }
    if value.len() == length { Ok(Some(value)) } else { Err(damaged()) }
}

/// `length` bytes of the value under `key` from `offset` on, as of `height`,
/// reading only the chunks that have them.
///
/// # Errors
/// [`StoreError::Damaged`] when the value does not have those bytes, or what
/// the store meets.
pub fn read_part(
    store: &dyn Store,
    space: Space,
    key: &[u8],
    height: u64,
    offset: usize,
    length: usize,
) -> Result<Vec<u8>, StoreError> {
    let damaged = || StoreError::damaged(format!("a large value of the space `{space}`"));
    let end = offset.checked_add(length).filter(|end| *end <= MAX_LARGE).ok_or_else(damaged)?;
    if length == 0 {
        return Ok(Vec::new());
    }
    let mut part = Vec::with_capacity(length);
    // The length in front of the first chunk shifts everything behind it.
    let mut at = offset + PREFIX;
    let indexes = at / MAX_VALUE..=(end + PREFIX - 1) / MAX_VALUE;
    for chunk in chunks_at(store, space, key, height, indexes)? {
        let chunk = chunk.ok_or_else(damaged)?;
        let begin = at % MAX_VALUE;
        let stop = chunk.len().min(begin + end + PREFIX - at);
        let bytes = chunk.get(begin..stop).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(damaged)?;
        part.extend_from_slice(bytes);
        at += bytes.len();
    }
    if part.len() == length { Ok(part) } else { Err(damaged()) }
}

/// Chunks by their numbers, asked for at once.
fn chunks_at(
    store: &dyn Store,
    space: Space,
    key: &[u8],
    height: u64,
    indexes: RangeInclusive<usize>,
) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    // A value has fewer than 65,536 chunks: its length was checked.
    let keys: Vec<Vec<u8>> = indexes.map(|index| chunk_key(key, index as u16)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    store.read_many(space, &keys, height)
}

fn chunk_key(key: &[u8], index: u16) -> Vec<u8> {
    [key, &index.to_be_bytes()].concat()
}
