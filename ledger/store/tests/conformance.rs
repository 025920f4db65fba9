//! The embedded engine behaves as a store must.

use std::path::PathBuf;

use hufu_store::conformance::{self, Bench};
use hufu_store::watched::{Watch, Watched};
use hufu_store::{EmbeddedStore, StoreError};
use tempfile::TempDir;

/// Makes stores in directories under one that is removed at the end.
struct Embedded {
    root: TempDir,
}

/// The directory of a store, to open it again.
struct Place(PathBuf);

impl Watch for Place {}

type Held = Watched<EmbeddedStore, Place>;

fn open(path: PathBuf) -> Held {
    Held { store: EmbeddedStore::open(&path).unwrap(), watch: Place(path) }
}

impl Bench for Embedded {
    type Engine = Held;

    fn empty(&self) -> Held {
        let path = tempfile::tempdir_in(&self.root).unwrap().keep();
        open(path)
    }

    fn reopen(&self, held: Held) -> Held {
        let Held { store, watch: Place(path) } = held;
        drop(store);
        open(path)
    }

    fn take_over(&self, held: &Held) -> Held {
        Held { store: held.store.take_over().unwrap(), watch: Place(held.watch.0.clone()) }
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
