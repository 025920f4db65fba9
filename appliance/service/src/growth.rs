//! Lets go of what is older than the node keeps (`[retention]`), on a thread of
//! its own that works half of the time at most.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hufu_configuration::retention::Retention;
use hufu_machine::{MachineError, Pruner};
use hufu_node::Ledger;
use hufu_proof::Height;

/// How often the thread looks whether something is old.
const LOOK: Duration = Duration::from_millis(200);

/// After how many heights something is old, so that what leaves leaves together.
const PORTION: u64 = 256;

/// How often it is tried again after a fault.
const RETRY: Duration = Duration::from_secs(10);

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
    /// Starts the thread, which keeps what `retention` says and what the read model,
    /// which is at height `read`, has not read.
    ///
    /// # Errors
    /// When the thread does not start.
    pub fn start(
        &self,
        retention: Retention,
        ledger: Ledger,
        read: impl Fn() -> u64 + Send + 'static,
    ) -> std::io::Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name("retention".to_owned())
            .spawn(move || run(&ledger, || Height(read()), &retention, &shared))?;
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

fn run(ledger: &Ledger, read: impl Fn() -> Height, retention: &Retention, shared: &Shared) {
    let mut pruner = ledger.reader().pruner();
    while !shared.stop.load(Ordering::Acquire) {
        let begun = Instant::now();
        let pause = match work(ledger, read(), retention, &mut pruner) {
            Ok(more) => {
                if lock(&shared.fault).take().is_some() {
                    tracing::info!("what is old leaves again");
                }
                if more { begun.elapsed() } else { LOOK }
            }
            Err(error) => {
                let said = hufu_door::problem::sentence(&error);
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
fn work(
    ledger: &Ledger,
    read: Height,
    retention: &Retention,
    pruner: &mut Pruner,
) -> Result<bool, MachineError> {
    // The read model is made of what would leave.
    let done = ledger.committed().height.min(read);
    let wanted = done.minus(retention.heights);
    let reader = ledger.reader();
    if wanted.since(reader.kept_from()) >= PORTION {
        let kept_from = pruner.keep_from(wanted)?;
        ledger.forget(kept_from);
        tracing::debug!(kept_from = kept_from.get(), "what is before leaves");
    }
    pruner.step()
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
