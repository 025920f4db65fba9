//! Where rows are in the cluster: `prefix ‖ code of the space ‖ row`, with rows
//! as in every engine (`layout.rs`). Code 0 is what the store remembers of
//! itself.

use crate::foundationdb::ffi::Code;
use crate::{Space, StoreError};

/// Longest prefix, in bytes.
pub(super) const MAX_PREFIX: usize = 64;

/// What the store remembers of itself.
#[derive(Clone, Copy)]
pub(super) enum Memory {
    /// The format of the rows.
    Format,
    /// The epoch of whoever may write.
    Epoch,
    /// Which handle that is.
    Holder,
    /// The last flipped height.
    Applied,
    /// The height that is staged.
    Staged,
    /// How far a copy into the store is.
    Copy,
}

/// The keys of one store.
pub(super) struct Keys {
    prefix: Vec<u8>,
}

impl Keys {
    /// Keys under a prefix of 1 to [`MAX_PREFIX`] of the characters that are
    /// accepted; none of them is a code of a space, so that no prefix reaches
    /// into another's rows.
    pub(super) fn new(prefix: &str) -> Result<Self, StoreError> {
        let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.bytes().all(accepted) {
            return Err(StoreError::Prefix { prefix: prefix.to_owned() });
        }
        Ok(Self { prefix: prefix.as_bytes().to_vec() })
    }

    fn under(&self, code: u8, rest: &[u8]) -> Vec<u8> {
        [&self.prefix, &[code][..], rest].concat()
    }

    pub(super) fn memory(&self, of: Memory) -> Vec<u8> {
        let name: &[u8] = match of {
            Memory::Format => b"format",
            Memory::Epoch => b"epoch",
            Memory::Holder => b"holder",
            Memory::Applied => b"applied",
            Memory::Staged => b"staged",
            Memory::Copy => b"copy",
        };
        self.under(0, name)
    }

    /// The list of the rows that part `part` of the staged height wrote.
    pub(super) fn list(&self, part: u32) -> Vec<u8> {
        self.under(0, &[b"rows/", &part.to_be_bytes()[..]].concat())
    }

    /// From where to where lists are.
    pub(super) fn lists(&self) -> (Vec<u8>, Vec<u8>) {
        (self.under(0, b"rows/"), self.under(0, b"rows0"))
    }

    /// From where to where the store is.
    pub(super) fn all(&self) -> (Vec<u8>, Vec<u8>) {
        (self.under(0, b""), self.under(u8::MAX, b""))
    }

    pub(super) fn row(&self, space: Space, row: &[u8]) -> Vec<u8> {
        self.under(space.code(), row)
    }

    /// Where the rows of a space end.
    pub(super) fn end(&self, space: Space) -> Vec<u8> {
        self.under(space.code() + 1, b"")
    }

    /// The row of a key of the cluster.
    pub(super) fn stored<'a>(&self, space: Space, key: &'a [u8]) -> Result<&'a [u8], StoreError> {
        key.strip_prefix(self.prefix.as_slice())
            .and_then(|key| key.strip_prefix(&[space.code()]))
            .ok_or_else(|| StoreError::damaged(format!("a key of the space `{space}`")))
    }
}

/// Why a transaction ends.
pub(super) enum Stop {
    /// The cluster, which may take it another time.
    Code(Code),
    /// The store, for good.
    Error(StoreError),
}

impl From<Code> for Stop {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores of earlier versions have these keys.
    #[test]
    fn keys_are_the_pinned_bytes() {
        let keys = Keys::new("maker/1").unwrap();
        assert_eq!(keys.memory(Memory::Format), b"maker/1\0format");
        assert_eq!(keys.memory(Memory::Epoch), b"maker/1\0epoch");
        assert_eq!(keys.memory(Memory::Applied), b"maker/1\0applied");
        assert_eq!(keys.memory(Memory::Staged), b"maker/1\0staged");
        assert_eq!(keys.memory(Memory::Copy), b"maker/1\0copy");
        assert_eq!(keys.list(258), b"maker/1\0rows/\0\0\x01\x02");
        assert_eq!(keys.row(Space::State, b"key"), b"maker/1\x01key");
        assert_eq!(keys.row(Space::Usage, b""), b"maker/1\x0c");
        assert_eq!(keys.end(Space::Usage), b"maker/1\x0d");
    }

    #[test]
    fn everything_of_a_store_is_in_its_ranges_and_nothing_else() {
        let keys = Keys::new("a").unwrap();
        let (first, last) = keys.all();
        let (lists, lists_end) = keys.lists();
        let inside = |key: &[u8]| first.as_slice() <= key && key < last.as_slice();
        for space in Space::ALL {
            assert!(inside(&keys.row(space, b"")) && inside(&keys.row(space, &[0xff; 9])));
            assert!(keys.row(space, &[0xff; 9]) < keys.end(space));
            assert_eq!(keys.stored(space, &keys.row(space, b"key")).unwrap(), b"key");
            assert!(keys.stored(space, b"b\x01key").is_err());
        }
        for key in [keys.list(0), keys.list(u32::MAX)] {
            assert!(inside(&key) && lists <= key && key < lists_end);
        }
        assert!(!(lists..lists_end).contains(&keys.memory(Memory::Staged)));
        // A prefix that begins with this one.
        let other = Keys::new("a-").unwrap();
        for space in Space::ALL {
            let key = other.row(space, b"key");
            assert!(
                Space::ALL
                    .iter()
                    .all(|space| { key < keys.row(*space, b"") || key >= keys.end(*space) })
            );
        }
    }
}
