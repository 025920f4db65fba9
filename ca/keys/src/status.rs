//! Health and counters of a custody, for `status`, `/readyz` and metrics.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use crate::fault::FailureClass;

/// How a custody is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// All sessions are open and logged in.
    Ready,
    /// It signs, but not as it should, or is just recovering; requests wait.
    Degraded {
        /// Since when.
        since: SystemTime,
        /// What is wrong.
        reason: String,
    },
    /// The circuit is open: requests are answered
    /// [`Error::Unavailable`](crate::Error::Unavailable) at once until the
    /// next attempt succeeds.
    Unavailable {
        /// Since when.
        since: SystemTime,
        /// What went wrong last.
        reason: String,
        /// When the next attempt is due.
        retry_after: Duration,
    },
    /// The token refused the PIN while recovering. A person must act; custody
    /// does not try again.
    PinRefused {
        /// Since when.
        since: SystemTime,
        /// What the token said.
        reason: String,
    },
    /// Custody was closed.
    Closed,
}

impl Status {
    /// Whether requests are accepted: what `/readyz` answers.
    #[must_use]
    pub fn accepts_requests(&self) -> bool {
        matches!(self, Self::Ready | Self::Degraded { .. })
    }

    /// Stable name for metrics and JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded { .. } => "degraded",
            Self::Unavailable { .. } => "unavailable",
            Self::PinRefused { .. } => "pin_refused",
            Self::Closed => "closed",
        }
    }
}

/// What happened since a custody was opened. All totals only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Signatures given out.
    pub signatures: u64,
    /// Sum over all signatures of the time from request to answer.
    pub signature_time: Duration,
    /// Sum over all signatures of the part of it spent waiting in the queue.
    pub queue_time: Duration,
    /// Failed calls into the token, by class; also those that were mended.
    pub failures: [(FailureClass, u64); FailureClass::ALL.len()],
    /// Requests answered with `Busy`.
    pub refused_busy: u64,
    /// Requests answered with `Unavailable`.
    pub refused_unavailable: u64,
    /// Requests answered with `TimedOut`.
    pub timed_out: u64,
    /// Sessions opened by workers, the first ones included.
    pub sessions_opened: u64,
    /// Times that the PIN was shown to the token, the first one included.
    pub logins: u64,
    /// Successful recoveries of the login.
    pub recoveries: u64,
    /// Times that the module was finalised and initialised again.
    pub module_reloads: u64,
    /// Worker sessions open now.
    pub sessions: usize,
    /// Requests waiting now.
    pub queue_length: usize,
}

/// The live side of [`Counters`].
#[derive(Default)]
pub(crate) struct Meters {
    pub signatures: AtomicU64,
    pub signature_nanos: AtomicU64,
    pub queue_nanos: AtomicU64,
    failures: [AtomicU64; FailureClass::ALL.len()],
    pub refused_busy: AtomicU64,
    pub refused_unavailable: AtomicU64,
    pub timed_out: AtomicU64,
    pub sessions_opened: AtomicU64,
    pub logins: AtomicU64,
    pub recoveries: AtomicU64,
    pub module_reloads: AtomicU64,
    pub sessions: AtomicUsize,
}

impl Meters {
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn failure(&self, class: FailureClass) {
        Self::add(&self.failures[class.index()], 1);
    }

    /// The mean time the token takes for a request, a guess before the first.
    pub fn mean_service_time(&self) -> Duration {
        let count = self.signatures.load(Ordering::Relaxed);
        let busy = self
            .signature_nanos
            .load(Ordering::Relaxed)
            .saturating_sub(self.queue_nanos.load(Ordering::Relaxed));
        match busy.checked_div(count) {
            Some(nanos) => Duration::from_nanos(nanos),
            None => Duration::from_millis(1),
        }
    }

    pub fn snapshot(&self, queue_length: usize) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            signatures: read(&self.signatures),
            signature_time: Duration::from_nanos(read(&self.signature_nanos)),
            queue_time: Duration::from_nanos(read(&self.queue_nanos)),
            failures: FailureClass::ALL.map(|class| (class, read(&self.failures[class.index()]))),
            refused_busy: read(&self.refused_busy),
            refused_unavailable: read(&self.refused_unavailable),
            timed_out: read(&self.timed_out),
            sessions_opened: read(&self.sessions_opened),
            logins: read(&self.logins),
            recoveries: read(&self.recoveries),
            module_reloads: read(&self.module_reloads),
            sessions: self.sessions.load(Ordering::Relaxed),
            queue_length,
        }
    }
}
