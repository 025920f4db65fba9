//! The read model of a running node: follows the ledger, answers queries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hufu_machine::Reader as LedgerReader;
use hufu_node::Ledger;
use hufu_proof::{Digest, Name};
use hufu_readmodel::model::Packages;
use hufu_readmodel::{Limits, ReadModel, Reader, TableSpec, contract_tables};
use serde_json::{Value, json};

use crate::config::Config;

/// How long a query waits for the read model to reach the ledger's height.
const CATCH_UP: Duration = Duration::from_secs(10);

/// The read model.
pub struct Supervision {
    reader: Reader,
    ledger: LedgerReader,
    shared: Arc<Shared>,
    model: Mutex<Option<ReadModel>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    height: AtomicU64,
    stop: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Supervision {
    /// Opens the read model, or makes it anew.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub fn open(config: &Config, ledger: LedgerReader) -> anyhow::Result<Self> {
        let path = config.data("read-model.sqlite");
        let model = ReadModel::open(&path, &ledger.chain())
            .with_context(|| format!("read model {}", path.display()))?;
        let shared = Arc::new(Shared::default());
        shared.height.store(model.applied().unwrap_or(0), Ordering::Release);
        Ok(Self {
            reader: model.reader(),
            ledger,
            shared,
            model: Mutex::new(Some(model)),
            thread: Mutex::new(None),
        })
    }

    /// Follows the ledger on a thread of its own.
    ///
    /// # Errors
    /// When the thread does not start.
    pub fn follow(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let Some(model) = lock(&self.model).take() else { return Ok(()) };
        let (shared, ledger) = (self.shared.clone(), ledger.clone());
        let thread = std::thread::Builder::new()
            .name("read-model".to_owned())
            .spawn(move || follow(model, &ledger, &shared))?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// The height of the read model.
    pub fn height(&self) -> u64 {
        self.shared.height.load(Ordering::Acquire)
    }

    /// What stopped it, if anything did.
    pub fn fault(&self) -> Option<String> {
        lock(&self.shared.fault).clone()
    }

    /// Opens snapshots.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Waits until the read model has reached `height`.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn reach(&self, height: u64) -> anyhow::Result<()> {
        let reached = async {
            while self.height() < height {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(CATCH_UP, reached).await.map_err(|_| {
            let why = self.fault().unwrap_or_else(|| "it is catching up".to_owned());
            anyhow::anyhow!("the read model is at height {}: {why}", self.height())
        })
    }

    /// Runs a query of the member's own operator, who may see everything that
    /// this node holds.
    ///
    /// # Errors
    /// What the query does not allow.
    pub async fn query(&self, sql: String, as_of: Option<u64>) -> anyhow::Result<Value> {
        let newest = self.ledger.height()?;
        let height = as_of.unwrap_or(newest);
        anyhow::ensure!(height <= newest, "height {height} is not executed here; {newest} is");
        self.reach(height).await?;
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || {
            let mut snapshot = reader.snapshot(height, None)?;
            let answer = snapshot.query(&sql, &BTreeMap::new(), &Limits::INTERACTIVE)?;
            Ok(json!({
                "as_of": answer.height, "columns": answer.columns, "rows": answer.rows,
            }))
        })
        .await?
    }

    /// Stops following.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the read model's thread panicked");
        }
    }
}

fn follow(mut model: ReadModel, ledger: &Ledger, shared: &Shared) {
    let packages = LedgerPackages(ledger.reader());
    let mut applied = ledger.applied();
    while !shared.stop.load(Ordering::Acquire) {
        let newest = *applied.borrow_and_update();
        while model.next_height() <= newest && !shared.stop.load(Ordering::Acquire) {
            let height = model.next_height();
            let step = || -> anyhow::Result<()> {
                let replay = ledger
                    .replay(height)?
                    .with_context(|| format!("height {height} is not in the store"))?;
                model.apply(&replay.block, &replay.events, &packages)?;
                Ok(())
            };
            let mut step = step;
            if let Err(error) = step() {
                tracing::error!(height, error = format!("{error:#}"), "the read model stopped");
                *lock(&shared.fault) = Some(format!("{error:#}"));
                return;
            }
            shared.height.store(height, Ordering::Release);
        }
        // A sleep rather than a wait, because this thread has no runtime; the
        // read model may lag by this much.
        if !applied.has_changed().unwrap_or(false) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The tables of deployed packages, read from the ledger.
struct LedgerPackages<'a>(&'a LedgerReader);

impl Packages for LedgerPackages<'_> {
    fn tables(&self, contract: &Name, digest: &Digest) -> Option<Vec<TableSpec>> {
        let compiled = self
            .0
            .compiled_package(digest)
            .inspect_err(|error| {
                tracing::error!(%contract, error = error as &dyn std::error::Error, "package");
            })
            .ok()??;
        Some(contract_tables(&compiled))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every critical section is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
