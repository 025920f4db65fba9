//! Transactions with their retries.
//!
//! What is tried again is decided by the client library, by error code
//! (`fdb_transaction_on_error`). It goes on until the deadline or for
//! [`ATTEMPTS`] times. A transaction may be done although it failed, once its
//! commit was sent: bodies are written so that doing them twice is doing them
//! once, and whoever gives up says whether it is certain that nothing happened.

use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::StoreError;
use crate::foundationdb::ffi::{Client, Code, Database, Transaction};
use crate::foundationdb::keys::Stop;

/// How often a transaction is tried.
const ATTEMPTS: u32 = 64;

/// How long reads share a transaction. The cluster answers reads of one for
/// five seconds; its first one costs a round trip more than the others.
const READER_AGE: Duration = Duration::from_secs(1);

/// Why a write failed.
pub(super) struct Failed {
    pub(super) error: StoreError,
    /// Whether it may have happened nonetheless.
    pub(super) uncertain: bool,
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

pub(super) struct Session {
    client: &'static Client,
    database: Database,
    deadline: Duration,
    reader: Mutex<Option<Arc<Reader>>>,
}

/// A transaction that reads share.
pub(super) struct Reader {
    pub(super) transaction: Transaction,
    born: Instant,
}

impl Session {
    pub(super) fn new(
        client: &'static Client,
        cluster_file: &CStr,
        deadline: Duration,
    ) -> Result<Self, StoreError> {
        let database =
            client.database(cluster_file).map_err(|code| error(client, code, deadline))?;
        Ok(Self { client, database, deadline, reader: Mutex::new(None) })
    }

    pub(super) fn error(&self, code: Code) -> StoreError {
        error(self.client, code, self.deadline)
    }

    /// Runs `body` and commits what it set. `body` runs again where that failed.
    pub(super) fn write<T>(
        &self,
        mut body: impl FnMut(&Transaction) -> Result<T, Stop>,
    ) -> Result<T, Failed> {
        let mut uncertain = false;
        let give_up = |code, uncertain| Failed { error: self.error(code), uncertain };
        let transaction =
            self.database.transaction(self.deadline).map_err(|code| give_up(code, uncertain))?;
        let mut last = Code::TIMED_OUT;
        for _ in 0..ATTEMPTS {
            last = match body(&transaction) {
                Ok(value) => match transaction.commit().done() {
                    Ok(()) => return Ok(value),
                    Err(code) => {
                        uncertain |= !self.has_not_happened(code);
                        code
                    }
                },
                Err(Stop::Code(code)) => code,
                Err(Stop::Error(error)) => return Err(Failed { error, uncertain }),
            };
            transaction.on_error(last).done().map_err(|code| give_up(code, uncertain))?;
        }
        Err(give_up(last, uncertain))
    }

    /// Whether a commit that failed with `code` has certainly not happened.
    fn has_not_happened(&self, code: Code) -> bool {
        // From 2000 on are mistakes of the caller, found before it is sent.
        self.client.has_not_happened(code) || (2_000..3_000).contains(&code.0)
    }

    /// Runs `body`, which only reads, in the transaction that reads share, and
    /// where that fails in one of its own.
    pub(super) fn read<T>(
        &self,
        body: impl Fn(&Transaction) -> Result<T, Code>,
    ) -> Result<T, StoreError> {
        let reader = self.reader()?;
        body(&reader.transaction).or_else(|code| {
            self.forget(&reader);
            self.read_after(code, body)
        })
    }

    /// Runs `body`, which only reads and failed with `code`, again.
    pub(super) fn read_after<T>(
        &self,
        mut code: Code,
        body: impl Fn(&Transaction) -> Result<T, Code>,
    ) -> Result<T, StoreError> {
        // The time of a shared one is over when it is old, not when the cluster
        // does not answer.
        if code == Code::TIMED_OUT {
            return Err(self.error(code));
        }
        let fails = |code| self.error(code);
        let transaction = self.fresh()?;
        for _ in 0..ATTEMPTS {
            transaction.on_error(code).done().map_err(fails)?;
            match body(&transaction) {
                Ok(value) => return Ok(value),
                Err(next) => code = next,
            }
        }
        Err(fails(code))
    }

    /// As [`Self::read`], as of now: in a transaction that begins with it.
    pub(super) fn read_now<T>(
        &self,
        body: impl Fn(&Transaction) -> Result<T, Code>,
    ) -> Result<T, StoreError> {
        let transaction = self.fresh()?;
        body(&transaction).or_else(|code| self.read_after(code, body))
    }

    fn fresh(&self) -> Result<Transaction, StoreError> {
        let transaction = self.database.transaction(self.deadline);
        transaction.and_then(Transaction::read_only).map_err(|code| self.error(code))
    }

    /// The transaction that reads share.
    pub(super) fn reader(&self) -> Result<Arc<Reader>, StoreError> {
        let mut shared = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let young = |reader: &&Arc<Reader>| reader.born.elapsed() < READER_AGE;
        if let Some(reader) = shared.as_ref().filter(young) {
            return Ok(Arc::clone(reader));
        }
        let reader = Arc::new(Reader { transaction: self.fresh()?, born: Instant::now() });
        *shared = Some(Arc::clone(&reader));
        Ok(reader)
    }

    fn forget(&self, reader: &Arc<Reader>) {
        let mut shared = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.as_ref().is_some_and(|current| Arc::ptr_eq(current, reader)) {
            *shared = None;
        }
    }

    /// Makes reads that begin from now on see what is committed by now.
    pub(super) fn renew(&self) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn error(client: &Client, code: Code, deadline: Duration) -> StoreError {
    if code == Code::TIMED_OUT {
        return StoreError::Unavailable { after: deadline };
    }
    StoreError::Cluster { code: code.0, said: client.text(code) }
}
