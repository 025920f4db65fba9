//! A ledger that another process writes: a front-end's.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use hufu_machine::Follower;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::shared::Shared;

/// How often the store is asked for more: at most so long after the validator, a
/// front-end shows what it has executed. One read a time.
const ASK: Duration = Duration::from_millis(100);

/// A ledger that is followed.
pub struct Following {
    /// The ledger.
    pub ledger: Ledger,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Following {
    /// Stops following.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that follows the ledger panicked");
        }
    }
}

/// Follows what another process executes, on a thread of its own.
///
/// # Errors
/// [`Error::Runtime`] when the thread does not start.
pub fn follow(mut follower: Follower) -> Result<Following, Error> {
    let shared = Arc::new(Shared::following(&follower));
    let ledger = Ledger::new(Arc::clone(&shared));
    let (stop, stopping) = channel::<()>();
    let followed = Arc::clone(&ledger.followed);
    let thread = std::thread::Builder::new()
        .name("follow".to_owned())
        .spawn(move || {
            // Until the other end is gone.
            while stopping.recv_timeout(ASK) == Err(RecvTimeoutError::Timeout) {
                let told = follower.refresh();
                if matches!(told, Ok(true)) {
                    shared.followed(&follower);
                }
                let mut followed =
                    followed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match told {
                    Ok(_) => {
                        followed.answered = SystemTime::now();
                        if followed.fault.take().is_some() {
                            tracing::info!("the store answers again");
                        }
                    }
                    Err(error) => {
                        let said = said(&error);
                        if followed.fault.as_ref() != Some(&said) {
                            tracing::error!("the record is not followed: {said}");
                        }
                        followed.fault = Some(said);
                    }
                }
            }
        })
        .map_err(|error| Error::Runtime(error.to_string()))?;
    Ok(Following { ledger, stop, thread })
}

/// An error with its causes.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
