//! The read model of a running node: follows the ledger, answers queries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_door::{Code, Problem};
use hufu_gateway::Numbers;
use hufu_machine::{MachineError, Reader as LedgerReader};
use hufu_node::Ledger;
use hufu_proof::{Digest, Height, Name};
use hufu_query::{AsOf, Bounds, Leash, Session, Workers};
use hufu_readmodel::Packages;
use hufu_readmodel::{
    Limits, ReadModel, ReadModelError, Reader, Scope, TableSpec, contract_tables,
};
use serde_json::{Value, json};

use crate::confined;

/// How long a query waits for the read model to reach the ledger's height.
const CATCH_UP: Duration = Duration::from_secs(10);

/// How often a height is tried again that could not be written.
const RETRY: Duration = Duration::from_secs(1);

/// The read model is not at the height that was asked for.
#[derive(Debug)]
pub struct Behind {
    /// Where it is.
    pub at: u64,
    /// Where it should be.
    pub asked: u64,
    /// What holds it up.
    pub why: String,
}

impl fmt::Display for Behind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, asked, why } = self;
        write!(
            formatter,
            "the read model is at height {at}, not {asked}: {why}; ask again later, or with \
             `--as-of {at}`"
        )
    }
}

impl std::error::Error for Behind {}

/// The read model.
pub struct Supervision {
    reader: Reader,
    workers: Workers,
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
            workers: Workers::new(confined::program(), confined::PLACES),
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

    /// Runs what somebody outside wrote.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Waits until the read model has reached `height`.
    ///
    /// # Errors
    /// When it does not in time, or something holds it up.
    pub async fn reach(&self, height: u64) -> Result<(), Behind> {
        let deadline = tokio::time::Instant::now() + CATCH_UP;
        while self.height() < height {
            let fault = self.fault();
            if fault.is_some() || tokio::time::Instant::now() >= deadline {
                let why = fault.unwrap_or_else(|| "it is catching up".to_owned());
                return Err(Behind { at: self.height(), asked: height, why });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Runs a query of who sees the rows of `scope`.
    ///
    /// # Errors
    /// What the query does not allow.
    pub async fn query(
        &self,
        sql: String,
        as_of: Option<u64>,
        scope: Scope,
        numbers: Numbers,
        leash: Leash,
    ) -> anyhow::Result<Value> {
        let newest = self.ledger.height()?.get();
        let height = as_of.unwrap_or(newest);
        if height > newest {
            let detail = format!("height {height} is not executed here; {newest} is");
            return Err(Problem::new(Code::NotFound, detail).into());
        }
        self.reach(height).await?;
        let place = self.workers.place().ok_or_else(hufu_gateway::busy)?;
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || {
            let worker = place.start(confined::SQL, Bounds::QUERY, leash)?;
            let as_of = AsOf { height, scope, contracts: None };
            let answer = Session::new(worker, reader).query(
                &as_of,
                &sql,
                &BTreeMap::new(),
                &Limits::INTERACTIVE,
            )?;
            Ok(json!({
                "as_of": answer.height, "columns": answer.columns, "types": answer.forms,
                "rows": numbers.write(answer.rows),
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
        let newest = applied.borrow_and_update().get();
        while model.next_height() <= newest && !shared.stop.load(Ordering::Acquire) {
            let height = model.next_height();
            let mut step = || -> anyhow::Result<()> {
                let replay = ledger
                    .replay(Height(height))?
                    .with_context(|| format!("height {height} is not in the store"))?;
                model.apply(&replay.block, &replay.events, &packages)?;
                Ok(())
            };
            match step() {
                Ok(()) => {
                    shared.height.store(height, Ordering::Release);
                    if lock(&shared.fault).take().is_some() {
                        tracing::info!(height, "the read model goes on");
                    }
                }
                Err(error) if may_pass(&error) => {
                    if lock(&shared.fault).replace(format!("{error:#}")).is_none() {
                        tracing::error!(
                            height,
                            error = format!("{error:#}"),
                            "the read model waits"
                        );
                    }
                    std::thread::sleep(RETRY);
                }
                Err(error) => {
                    tracing::error!(height, error = format!("{error:#}"), "the read model stopped");
                    let fault = match error.downcast_ref() {
                        // It was deleted, or is older than what is kept.
                        Some(hufu_node::Error::Machine(MachineError::Pruned { .. })) => {
                            format!("{error:#}; restore it from a backup of this node")
                        }
                        _ => format!("{error:#}; delete it to have it rebuilt"),
                    };
                    *lock(&shared.fault) = Some(fault);
                    return;
                }
            }
        }
        // A sleep rather than a wait, because this thread has no runtime; the
        // read model may lag by this much.
        if !applied.has_changed().unwrap_or(false) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a height could not be written now, and may be later.
fn may_pass(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ReadModelError>().is_some_and(ReadModelError::may_pass)
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
