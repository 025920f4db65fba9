//! A far store that is read from async tasks.
//!
//! Reading it waits for another machine, and much reads it where a runtime's
//! worker thread runs: handlers of doors, execution. Each such wait first hands
//! what else the worker would run over to another thread, so that a cluster
//! that is slow or gone holds up only who reads it.

use std::ops::Deref;

use hufu_store::{Applied, KeyRange, Old, Pruned, Row, Space, Store, StoreError, Write};
use tokio::runtime::{Handle, RuntimeFlavor};

/// A store, behind a pointer, whose waits do not hold a worker.
pub struct Yielding<P>(pub P);

/// Does what waits.
pub(crate) fn waiting<T>(work: impl FnOnce() -> T) -> T {
    let workers = |handle: Handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread;
    if Handle::try_current().is_ok_and(workers) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

impl<P: Deref<Target: Store> + Send + Sync> Store for Yielding<P> {
    fn fence(&self) -> u64 {
        self.0.fence()
    }

    fn applied(&self) -> Result<Option<Applied>, StoreError> {
        self.0.applied()
    }

    fn refresh(&self) -> Result<bool, StoreError> {
        waiting(|| self.0.refresh())
    }

    fn stage(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        waiting(|| self.0.stage(height, writes))
    }

    fn flip(&self, applied: Applied) -> Result<(), StoreError> {
        waiting(|| self.0.flip(applied))
    }

    fn attach(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        waiting(|| self.0.attach(height, writes))
    }

    fn is_remote(&self) -> bool {
        self.0.is_remote()
    }

    fn read(&self, space: Space, key: &[u8], height: u64) -> Result<Option<Vec<u8>>, StoreError> {
        waiting(|| self.0.read(space, key, height))
    }

    fn read_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        height: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        waiting(|| self.0.read_many(space, keys, height))
    }

    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        height: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        waiting(|| self.0.scan(space, range, height, limit))
    }

    fn prune(&self, space: Space, old: Old<'_>) -> Result<Pruned, StoreError> {
        waiting(|| self.0.prune(space, old))
    }

    fn compact(&self, space: Space) -> Result<(), StoreError> {
        waiting(|| self.0.compact(space))
    }

    fn disk_space(&self, space: Space) -> Option<u64> {
        self.0.disk_space(space)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    /// Reads end when the test says so.
    struct Slow(Mutex<Receiver<()>>);

    impl Store for Slow {
        fn fence(&self) -> u64 {
            0
        }
        fn applied(&self) -> Result<Option<Applied>, StoreError> {
            Ok(None)
        }
        fn stage(&self, _: u64, _: Vec<Write>) -> Result<(), StoreError> {
            Ok(())
        }
        fn flip(&self, _: Applied) -> Result<(), StoreError> {
            Ok(())
        }
        fn attach(&self, _: u64, _: Vec<Write>) -> Result<(), StoreError> {
            Ok(())
        }
        fn read(&self, _: Space, _: &[u8], _: u64) -> Result<Option<Vec<u8>>, StoreError> {
            self.0.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap();
            Ok(None)
        }
        fn read_many(
            &self,
            _: Space,
            _: &[&[u8]],
            _: u64,
        ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
            Ok(Vec::new())
        }
        fn scan(&self, _: Space, _: &KeyRange, _: u64, _: usize) -> Result<Vec<Row>, StoreError> {
            Ok(Vec::new())
        }
        fn prune(&self, _: Space, _: Old<'_>) -> Result<Pruned, StoreError> {
            Ok(Pruned::default())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_wait_does_not_hold_the_only_worker() {
        let (end, ended): (Sender<()>, _) = channel();
        let store = Arc::new(Yielding(Box::new(Slow(Mutex::new(ended)))));
        let reads = tokio::spawn(async move { store.read_latest(Space::State, b"key") });
        // Runs on the same worker, while the other waits.
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            end.send(()).unwrap();
        })
        .await
        .unwrap();
        assert_eq!(reads.await.unwrap().unwrap(), None);
    }

    #[tokio::test]
    async fn in_a_runtime_of_one_thread_it_just_waits() {
        let (end, ended) = channel();
        end.send(()).unwrap();
        let store = Yielding(Box::new(Slow(Mutex::new(ended))));
        assert_eq!(store.read_latest(Space::State, b"key").unwrap(), None);
    }
}
