//! The embedded engine behaves as a store must.

use std::path::PathBuf;

use hufu_store::conformance::{self, Bench};
use hufu_store::{Applied, EmbeddedStore, KeyRange, Row, Space, Store, StoreError, Write};
use tempfile::TempDir;

/// Makes stores in directories under one that is removed at the end.
struct Embedded {
    root: TempDir,
}

/// A store that knows its directory, to be reopened.
struct Held {
    store: EmbeddedStore,
    path: PathBuf,
}

impl Bench for Embedded {
    type Engine = Held;

    fn empty(&self) -> Held {
        let path = tempfile::tempdir_in(&self.root).unwrap().keep();
        Held { store: EmbeddedStore::open(&path).unwrap(), path }
    }

    fn reopen(&self, held: Held) -> Held {
        let Held { store, path } = held;
        drop(store);
        Held { store: EmbeddedStore::open(&path).unwrap(), path }
    }

    fn take_over(&self, held: &Held) -> Held {
        Held { store: held.store.take_over().unwrap(), path: held.path.clone() }
    }
}

impl Store for Held {
    fn fence(&self) -> u64 {
        self.store.fence()
    }
    fn applied(&self) -> Result<Option<Applied>, StoreError> {
        self.store.applied()
    }
    fn stage(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        self.store.stage(height, writes)
    }
    fn flip(&self, applied: Applied) -> Result<(), StoreError> {
        self.store.flip(applied)
    }
    fn attach(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        self.store.attach(height, writes)
    }
    fn read(&self, space: Space, key: &[u8], height: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.read(space, key, height)
    }
    fn read_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        height: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.store.read_many(space, keys, height)
    }
    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        height: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.store.scan(space, range, height, limit)
    }
}

#[test]
fn the_embedded_engine_conforms() {
    conformance::check(&Embedded { root: tempfile::tempdir().unwrap() });
}

#[test]
fn a_second_holder_of_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = EmbeddedStore::open(directory.path()).unwrap();
    let refused = EmbeddedStore::open(directory.path()).err().unwrap();
    assert!(matches!(&refused, StoreError::Locked { path } if path == directory.path()));
    assert!(refused.to_string().contains("in use by another process"));
    drop(first);
    EmbeddedStore::open(directory.path()).unwrap();
}
