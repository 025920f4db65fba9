//! Lets go of what is older than the node keeps (`[retention]`), on a thread of
//! its own that works half of the time at most. Where the node has an archive
//! (`[archive]`), nothing leaves that is not in a declared partition.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hufu_configuration::retention::Retention;
use hufu_machine::Pruner;
use hufu_node::Ledger;
use hufu_proof::Height;

use crate::archive::Archive;
use crate::submit::Submitter;

/// How often the thread looks whether something is old.
const LOOK: Duration = Duration::from_millis(200);

/// After how many heights something is old, so that what leaves leaves together.
const PORTION: u64 = 256;

/// How often it is tried again after a fault.
const RETRY: Duration = Duration::from_secs(10);

/// Who archives what would leave, before it leaves.
pub struct ArchivedFirst {
    /// Where to.
    pub archive: Arc<Archive>,
    /// Declares it.
    pub submitter: Submitter,
    /// On which to wait for that.
    pub runtime: tokio::runtime::Handle,
}

/// What lets go.
#[derive(Default)]
pub struct Growth {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Growth {
    /// Starts the thread, which keeps what `retention` says, what the read model, which
    /// is at height `read`, has not read, and what is to be archived first.
    ///
    /// # Errors
    /// When the thread does not start.
    pub fn start(
        &self,
        retention: Retention,
        first: Option<ArchivedFirst>,
        ledger: Ledger,
        read: impl Fn() -> u64 + Send + 'static,
    ) -> std::io::Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("retention".to_owned()).spawn(move || {
            let growing = Growing { ledger, retention, first, shared };
            growing.run(|| Height(read()));
        })?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// What keeps it from letting go, if anything does.
    pub fn fault(&self) -> Option<String> {
        lock(&self.shared.fault).clone()
    }

    /// Stops the thread.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that lets go of what is old panicked");
        }
    }
}

/// What the thread has.
struct Growing {
    ledger: Ledger,
    retention: Retention,
    first: Option<ArchivedFirst>,
    shared: Arc<Shared>,
}

impl Growing {
    fn run(&self, read: impl Fn() -> Height) {
        let shared = &self.shared;
        let mut pruner = self.ledger.reader().pruner();
        while !shared.stop.load(Ordering::Acquire) {
            let begun = Instant::now();
            let pause = match self.work(read(), &mut pruner) {
                Ok(more) => {
                    if lock(&shared.fault).take().is_some() {
                        tracing::info!("what is old leaves again");
                    }
                    if more { begun.elapsed() } else { LOOK }
                }
                // Told to, and no fault.
                Err(_) if shared.stop.load(Ordering::Acquire) => return,
                Err(error) => {
                    let said = hufu_configuration::sentence(&error);
                    if lock(&shared.fault).replace(said.clone()).is_none() {
                        tracing::error!(error = said, "what is old stays for now");
                    }
                    RETRY
                }
            };
            sleep(pause, shared);
        }
    }

    /// Does a part of the work; whether there is more.
    fn work(&self, read: Height, pruner: &mut Pruner) -> anyhow::Result<bool> {
        // The read model is made of what would leave.
        let done = self.ledger.committed().height.min(read);
        let wanted = done.minus(self.retention.heights);
        let kept_from = self.ledger.reader().kept_from();
        let portion = self.first.as_ref().map_or(PORTION, |first| first.archive.heights());
        if wanted.since(kept_from) >= portion {
            let wanted = match &self.first {
                Some(first) => wanted.min(self.archived(first, kept_from.plus(portion))?),
                None => wanted,
            };
            let kept_from = pruner.keep_from(wanted)?;
            self.ledger.forget(kept_from);
            tracing::debug!(kept_from = kept_from.get(), "what is before leaves");
        }
        Ok(pruner.step()?)
    }

    /// The height up to which everything is archived, after the next partition up to `end`
    /// was, if there was none.
    fn archived(&self, first: &ArchivedFirst, end: Height) -> anyhow::Result<Height> {
        let ArchivedFirst { archive, submitter, runtime } = first;
        let reader = self.ledger.reader();
        let up_to = archive.up_to(reader)?;
        if up_to > reader.kept_from() {
            return Ok(up_to);
        }
        runtime.block_on(async {
            let stopped = async {
                while !self.shared.stop.load(Ordering::Acquire) {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::select! {
                made = archive.advance(submitter, end) => made.map(drop),
                () = stopped => Ok(()),
            }
        })?;
        archive.up_to(reader)
    }
}

/// Sleeps, and wakes soon when the node stops.
fn sleep(pause: Duration, shared: &Shared) {
    let until = Instant::now() + pause;
    while !shared.stop.load(Ordering::Acquire) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LOOK));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
