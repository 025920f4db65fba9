//! The circuit breaker: what workers, keeper and callers agree on.
//!
//! ```text
//!            a worker meets a fault            recovery fails
//!   Ready ───────────────────────> Recovering ───────────────> Open
//!     ^                              │    │                     │
//!     └──────── keeper logged in ────┘    │ the PIN is refused  │ pause over
//!     ^                                   v                     │
//!     │                                Refused (for good)       │
//!     └───────────────── keeper logged in ──────────────────────┘
//! ```
//!
//! While Recovering, requests wait: most recoveries take milliseconds. While
//! Open, they are refused at once. After Open the first failure opens it again
//! with twice the pause, the first signature resets the pause.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use cryptoki::slot::Slot;

use crate::{
    error::{Error, Result},
    fault::FailureClass,
    status::Status,
};

/// So many requests in a row that recovery could not help open the circuit.
const STRIKES: u32 = 3;

/// Pauses double so often at most, to stay clear of overflow.
const MOST_DOUBLINGS: u32 = 20;

enum Phase {
    Ready,
    Recovering {
        since: SystemTime,
        reason: String,
    },
    Open {
        since: SystemTime,
        reason: String,
        until: Instant,
        /// Opened by failing requests although login worked: only a fresh
        /// start of the module is left to try.
        by_strikes: bool,
    },
    Refused {
        since: SystemTime,
        /// `None`: wrong; otherwise locked, expired, not set.
        locked: Option<&'static str>,
    },
}

struct State {
    phase: Phase,
    slot: Slot,
    strikes: u32,
    doublings: u32,
    workers: usize,
    closing: bool,
}

/// What the keeper is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing asked; look after the ordinary.
    Tick,
    /// Bring the login back.
    Recover {
        /// Start the module afresh first.
        reload: bool,
    },
    /// Stop. All workers are gone, or hang.
    Close,
}

pub(crate) struct Circuit {
    token: String,
    backoff_first: Duration,
    backoff_longest: Duration,
    state: Mutex<State>,
    changed: Condvar,
    /// Raised by every recovery. Sessions of another login epoch are replaced.
    login_epoch: AtomicU64,
    /// Whether a success has anything to reset; spares the lock when all is
    /// well.
    shaky: AtomicBool,
}

impl Circuit {
    pub fn new(
        token: &str,
        backoff_first: Duration,
        backoff_longest: Duration,
        slot: Slot,
        workers: usize,
    ) -> Self {
        Self {
            token: token.to_owned(),
            backoff_first,
            backoff_longest,
            state: Mutex::new(State {
                phase: Phase::Ready,
                slot,
                strikes: 0,
                doublings: 0,
                workers,
                closing: false,
            }),
            changed: Condvar::new(),
            login_epoch: AtomicU64::new(1),
            shaky: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn login_epoch(&self) -> u64 {
        self.login_epoch.load(Ordering::Acquire)
    }

    pub fn slot(&self) -> Slot {
        self.lock().slot
    }

    /// Whether a request may be queued.
    pub fn admit(&self) -> Result<()> {
        self.refusal(&self.lock())
    }

    fn refusal(&self, state: &State) -> Result<()> {
        if state.closing {
            return Err(Error::Closed);
        }
        match &state.phase {
            Phase::Ready | Phase::Recovering { .. } => Ok(()),
            Phase::Open { reason, until, .. } => Err(Error::Unavailable {
                // Never zero: the attempt itself takes a moment.
                retry_after: until
                    .saturating_duration_since(Instant::now())
                    .max(Duration::from_millis(10)),
                reason: reason.clone(),
            }),
            Phase::Refused { locked: None, .. } => {
                Err(Error::WrongPin { label: self.token.clone() })
            }
            Phase::Refused { locked: Some(locked), .. } => {
                Err(Error::PinLocked { label: self.token.clone(), state: locked })
            }
        }
    }

    /// A worker signed.
    pub fn succeeded(&self) {
        if self.shaky.load(Ordering::Relaxed) && self.shaky.swap(false, Ordering::AcqRel) {
            let mut state = self.lock();
            state.strikes = 0;
            state.doublings = 0;
        }
    }

    /// A request failed although everything was tried for it. Returns whether
    /// the circuit is open now.
    pub fn strike(&self, reason: &str) -> bool {
        let mut state = self.lock();
        self.shaky.store(true, Ordering::Release);
        state.strikes += 1;
        if state.strikes >= STRIKES && matches!(state.phase, Phase::Ready) {
            self.open(&mut state, reason, true);
        }
        matches!(state.phase, Phase::Open { .. })
    }

    /// Asks the keeper for recovery without waiting for it.
    pub fn request_recovery(&self, seen: u64, reason: &str) {
        let mut state = self.lock();
        self.ask(&mut state, seen, reason);
    }

    fn ask(&self, state: &mut State, seen: u64, reason: &str) {
        if matches!(state.phase, Phase::Ready) && self.login_epoch() == seen {
            state.phase = Phase::Recovering { since: SystemTime::now(), reason: reason.to_owned() };
            self.changed.notify_all();
        }
    }

    /// Asks the keeper for recovery of a login seen at epoch `seen` and waits
    /// until there is a newer one.
    ///
    /// # Errors
    /// What the caller gets to hear if there will be none by `deadline`.
    pub fn await_recovery(&self, seen: u64, reason: &str, deadline: Instant) -> Result<()> {
        let mut state = self.lock();
        loop {
            self.refusal(&state)?;
            if self.login_epoch() != seen && matches!(state.phase, Phase::Ready) {
                return Ok(());
            }
            self.ask(&mut state, seen, reason);
            let now = Instant::now();
            if now >= deadline {
                return Err(Error::TimedOut(Duration::ZERO));
            }
            state = self.wait(state, deadline - now);
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The keeper's wait: for something to do, at most `tick`.
    pub fn duty(&self, tick: Duration) -> Duty {
        let until = Instant::now() + tick;
        let mut state = self.lock();
        loop {
            if state.closing {
                return Duty::Close;
            }
            let now = Instant::now();
            let mut wake = until;
            match &state.phase {
                Phase::Recovering { .. } => return Duty::Recover { reload: false },
                Phase::Open { until: due, by_strikes, .. } => {
                    if now >= *due {
                        return Duty::Recover { reload: *by_strikes };
                    }
                    wake = wake.min(*due);
                }
                Phase::Ready | Phase::Refused { .. } => {}
            }
            if now >= until {
                return Duty::Tick;
            }
            state = self.wait(state, wake - now);
        }
    }

    /// The keeper is logged in (again).
    pub fn recovered(&self, slot: Slot) {
        let mut state = self.lock();
        state.slot = slot;
        if matches!(state.phase, Phase::Open { .. }) {
            // Half open: one more strike opens it again.
            state.strikes = STRIKES - 1;
            self.shaky.store(true, Ordering::Release);
        }
        state.phase = Phase::Ready;
        self.login_epoch.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_all();
    }

    /// The keeper could not log in.
    pub fn failed(&self, error: &Error) {
        let mut state = self.lock();
        match error {
            Error::WrongPin { .. } => self.refuse(&mut state, None),
            Error::PinLocked { state: locked, .. } => self.refuse(&mut state, Some(locked)),
            _ => self.open(&mut state, &describe(error), false),
        }
    }

    fn refuse(&self, state: &mut State, locked: Option<&'static str>) {
        state.phase = Phase::Refused { since: SystemTime::now(), locked };
        self.changed.notify_all();
    }

    fn open(&self, state: &mut State, reason: &str, by_strikes: bool) {
        let pause = self
            .backoff_first
            .saturating_mul(1 << state.doublings.min(MOST_DOUBLINGS))
            .min(self.backoff_longest);
        state.doublings = (state.doublings + 1).min(MOST_DOUBLINGS);
        self.shaky.store(true, Ordering::Release);
        let since = match &state.phase {
            Phase::Open { since, .. } | Phase::Recovering { since, .. } => *since,
            _ => SystemTime::now(),
        };
        state.phase = Phase::Open {
            since,
            reason: reason.to_owned(),
            until: Instant::now() + pause,
            by_strikes,
        };
        self.changed.notify_all();
    }

    /// Waits for `time`, or until closing.
    pub fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.closing {
            let now = Instant::now();
            if now >= until {
                return;
            }
            state = self.wait(state, until - now);
        }
    }

    /// Tells everyone to stop.
    pub fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// A worker is gone.
    pub fn worker_left(&self) {
        let mut state = self.lock();
        state.workers = state.workers.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Workers that run.
    pub fn workers(&self) -> usize {
        self.lock().workers
    }

    /// Waits until all workers are gone, at most `patience`. Returns whether
    /// they are.
    pub fn await_workers(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.workers > 0 {
            let now = Instant::now();
            if now >= until {
                return false;
            }
            state = self.wait(state, until - now);
        }
        true
    }

    pub fn status(&self) -> Status {
        let state = self.lock();
        if state.closing {
            return Status::Closed;
        }
        match &state.phase {
            Phase::Ready => Status::Ready,
            Phase::Recovering { since, reason } => {
                Status::Degraded { since: *since, reason: reason.clone() }
            }
            Phase::Open { since, reason, until, .. } => Status::Unavailable {
                since: *since,
                reason: reason.clone(),
                retry_after: until.saturating_duration_since(Instant::now()),
            },
            Phase::Refused { since, locked } => Status::PinRefused {
                since: *since,
                reason: match locked {
                    None => "the token refused the PIN".to_owned(),
                    Some(locked) => format!("the PIN is {locked}"),
                },
            },
        }
    }
}

/// An error with its cause, for a status line.
pub(crate) fn describe(error: &Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What is worth a fresh start of the module.
pub(crate) fn reload_may_help(error: &Error) -> bool {
    match error {
        Error::NoSuchToken { .. } | Error::Module { .. } => true,
        Error::Token { class, .. } => !matches!(class, FailureClass::Request | FailureClass::Pin),
        _ => false,
    }
}
