//! A store around another, for tests that count what is asked of one or make it
//! fail.

use crate::{Applied, KeyRange, Old, Pruned, Row, Space, Store, StoreError, Write};

/// A write that was asked for and is not done yet.
pub type Asked<'a> = Box<dyn FnOnce() -> Result<(), StoreError> + 'a>;

/// What happens around the requests of a [`Watched`] store; nothing, where a test
/// does not say otherwise.
pub trait Watch: Send + Sync {
    /// Does a write, or fails in its place or after it. `flips` says whether it
    /// makes a height visible, and with it everything before it durable.
    ///
    /// # Errors
    /// Those of the write, or the test's own.
    fn write(&self, flips: bool, write: Asked<'_>) -> Result<(), StoreError> {
        let _ = flips;
        write()
    }

    /// Hears of one round of reading in a space.
    fn reads(&self, space: Space) {
        let _ = space;
    }

    /// Whether reads are said to be round trips.
    fn is_remote(&self) -> bool {
        false
    }
}

/// A store that is watched.
pub struct Watched<S, W> {
    /// The store.
    pub store: S,
    /// Who watches.
    pub watch: W,
}

impl<S: Store, W: Watch> Store for Watched<S, W> {
    fn fence(&self) -> u64 {
        self.store.fence()
    }

    fn applied(&self) -> Result<Option<Applied>, StoreError> {
        self.store.applied()
    }

    fn refresh(&self) -> Result<bool, StoreError> {
        self.store.refresh()
    }

    fn stage(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        self.watch.write(false, Box::new(|| self.store.stage(height, writes)))
    }

    fn flip(&self, applied: Applied) -> Result<(), StoreError> {
        self.watch.write(true, Box::new(|| self.store.flip(applied)))
    }

    fn attach(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        self.watch.write(false, Box::new(|| self.store.attach(height, writes)))
    }

    fn is_remote(&self) -> bool {
        self.watch.is_remote()
    }

    fn read(&self, space: Space, key: &[u8], height: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.watch.reads(space);
        self.store.read(space, key, height)
    }

    fn read_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        height: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        if !keys.is_empty() {
            self.watch.reads(space);
        }
        self.store.read_many(space, keys, height)
    }

    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        height: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.watch.reads(space);
        self.store.scan(space, range, height, limit)
    }

    fn prune(&self, space: Space, old: Old<'_>) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let write = || {
            pruned = self.store.prune(space, old)?;
            Ok(())
        };
        self.watch.write(false, Box::new(write))?;
        Ok(pruned)
    }

    fn compact(&self, space: Space) -> Result<(), StoreError> {
        self.store.compact(space)
    }

    fn disk_space(&self, space: Space) -> Option<u64> {
        self.store.disk_space(space)
    }
}
