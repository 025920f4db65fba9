//! Rows on their way in and out: what is checked before the first is written,
//! and what a stored one holds. The same in every engine.

use sha2::{Digest as _, Sha256};

use crate::layout;
use crate::limits::{MAX_KEY, MAX_VALUE};
use crate::{Space, StoreError, Write};

/// Space, key and value of a row of `height` as they are stored.
pub(crate) fn encode_row(height: u64, write: Write) -> (Space, Vec<u8>, Option<Vec<u8>>) {
    let Write { space, key, value } = write;
    if space.is_versioned() {
        let key = layout::versioned_key(&key, height);
        (space, key, Some(layout::versioned_value(value)))
    } else {
        let value = layout::plain_value(height, value.as_deref().unwrap_or_default());
        (space, key, Some(value))
    }
}

/// Height and value of a stored row of a plain space.
pub(crate) fn plain(space: Space, row: &[u8]) -> Result<(u64, &[u8]), StoreError> {
    layout::split_plain_value(row)
        .ok_or_else(|| StoreError::damaged(format!("a row of the space `{space}`")))
}

/// What a stored row of a versioned space holds; `None` is a removal.
pub(crate) fn versioned(space: Space, row: &[u8]) -> Result<Option<&[u8]>, StoreError> {
    layout::split_versioned_value(row)
        .ok_or_else(|| StoreError::damaged(format!("a row of the space `{space}`")))
}

/// Refuses what is over the limits, and what a space does not take.
pub(crate) fn check_sizes(writes: &[Write], versioned_too: bool) -> Result<(), StoreError> {
    for write in writes {
        let space = write.space;
        let size = if space.is_versioned() {
            // As the engine writes it: zero bytes are escaped.
            let zeros = write.key.iter().filter(|byte| **byte == 0).count();
            write.key.len() + zeros + 2 + layout::HEIGHT
        } else {
            write.key.len()
        };
        if size > MAX_KEY {
            return Err(StoreError::KeyTooLarge { space, size });
        }
        match &write.value {
            Some(value) if value.len() > MAX_VALUE => {
                return Err(StoreError::ValueTooLarge { space, size: value.len() });
            }
            None if !space.is_versioned() => {
                return Err(StoreError::Unsupported { space, what: "removals" });
            }
            _ => {}
        }
        if space.is_versioned() && !versioned_too {
            return Err(StoreError::Unsupported { space, what: "rows of an applied height" });
        }
    }
    Ok(())
}

/// Digest of what is staged, so that leftovers of the same content are known.
pub(crate) fn digest(writes: &[Write]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for write in writes {
        let value = write.value.as_deref();
        let length = value.map_or(u32::MAX, |value| value.len() as u32);
        hasher.update([write.space.code()]);
        hasher.update((write.key.len() as u32).to_be_bytes());
        hasher.update(length.to_be_bytes());
        hasher.update(&write.key);
        hasher.update(value.unwrap_or_default());
    }
    hasher.finalize().into()
}
