//! What callers, workers and keeper of a pool share: the requests on their way
//! and what is known about the pool.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use cryptoki::slot::Slot;

use super::{
    circuit::Circuit,
    queue::{Queue, Reply},
};
use crate::{
    config::TokenConfig,
    error::{Error, Result},
    module::ModuleUse,
    status::{Meters, Status},
};

/// Retry hints of a busy pool stay within these.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// A request inside the token.
pub(super) struct Flight {
    pub deadline: Instant,
    pub submitted: Instant,
    pub reply: Reply,
}

/// What callers, workers and keeper share.
pub(super) struct Shared {
    pub config: TokenConfig,
    pub module: ModuleUse,
    pub queue: Queue,
    pub circuit: Circuit,
    pub meters: Meters,
    /// The request each worker is at, taken out by whoever answers it.
    flights: Vec<Mutex<Option<Flight>>>,
    /// Workers whose call into the token has outlived its request.
    hanging: AtomicUsize,
    /// Per worker, whether it is one of those.
    hangs: Vec<Mutex<bool>>,
    /// Since when the pool is smaller than it should be.
    degraded: Mutex<Option<SystemTime>>,
    /// Two keys of one label must not be made at the same time.
    generating: Mutex<()>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Of a token that is logged in to, in `slot`.
    pub fn new(config: TokenConfig, module: ModuleUse, meters: Meters, slot: Slot) -> Self {
        let workers = config.workers;
        let circuit = Circuit::new(
            &config.label,
            config.backoff_first,
            config.backoff_longest,
            slot,
            workers,
        );
        Self {
            module,
            queue: Queue::new(config.queue_depth),
            circuit,
            meters,
            degraded: Mutex::default(),
            flights: (0..workers).map(|_| Mutex::default()).collect(),
            hanging: AtomicUsize::new(0),
            hangs: (0..workers).map(|_| Mutex::default()).collect(),
            generating: Mutex::default(),
            config,
        }
    }

    pub fn generating(&self) -> MutexGuard<'_, ()> {
        lock(&self.generating)
    }

    /// A worker takes a request into the token.
    pub fn depart(&self, worker: usize, flight: Flight) {
        *lock(&self.flights[worker]) = Some(flight);
    }

    /// A worker is back; gives the request unless it was answered meanwhile.
    pub fn arrive(&self, worker: usize) -> Option<Flight> {
        let flight = lock(&self.flights[worker]).take();
        if std::mem::take(&mut *lock(&self.hangs[worker])) {
            self.hanging.fetch_sub(1, Ordering::AcqRel);
        }
        flight
    }

    /// Answers every request whose time is over, waiting or under way.
    pub fn expire(&self, now: Instant) {
        for job in self.queue.take_expired(now) {
            Meters::add(&self.meters.timed_out, 1);
            job.expire();
        }
        for (flight, hangs) in self.flights.iter().zip(&self.hangs) {
            let mut hangs = lock(hangs);
            let overdue = lock(flight).take_if(|flight| flight.deadline <= now);
            if let Some(flight) = overdue {
                if !std::mem::replace(&mut *hangs, true) {
                    self.hanging.fetch_add(1, Ordering::AcqRel);
                }
                Meters::add(&self.meters.timed_out, 1);
                (flight.reply)(Err(Error::TimedOut(flight.deadline - flight.submitted)));
            }
        }
    }

    /// Answers everything that waits after the circuit opened.
    pub fn refuse_waiting(&self) {
        for job in self.queue.take_all() {
            match self.circuit.admit() {
                Err(error) => {
                    Meters::add(&self.meters.refused_unavailable, 1);
                    (job.reply)(Err(error));
                }
                // Closed again meanwhile.
                Ok(()) => {
                    if let Some(job) = self.queue.put_back(job) {
                        (job.reply)(Err(Error::Closed));
                    }
                }
            }
        }
    }

    /// What makes the pool smaller than it should be.
    fn degradation(&self) -> Option<String> {
        let workers = self.config.workers;
        let hanging = self.hanging.load(Ordering::Acquire);
        let running = self.circuit.workers();
        let sessions = self.meters.sessions.load(Ordering::Relaxed);
        if hanging > 0 {
            Some(format!("{hanging} of {workers} calls into the token hang"))
        } else if running < workers {
            Some(format!("{running} of {workers} worker threads run"))
        } else if sessions < workers {
            Some(format!("{sessions} of {workers} sessions are open"))
        } else {
            None
        }
    }

    /// Notes when that began.
    pub fn observe(&self) {
        let mut degraded = lock(&self.degraded);
        *degraded = self.degradation().and(degraded.or_else(|| Some(SystemTime::now())));
    }

    pub fn admit(&self) -> Result<()> {
        self.circuit.admit()?;
        if self.hanging.load(Ordering::Acquire) >= self.config.workers {
            return Err(Error::Unavailable {
                retry_after: Duration::from_secs(1),
                reason: "every call into the token hangs".to_owned(),
            });
        }
        Ok(())
    }

    pub fn busy(&self) -> Error {
        let waiting = u32::try_from(self.config.queue_depth / self.config.workers);
        let time = self.meters.mean_service_time().saturating_mul(waiting.unwrap_or(u32::MAX));
        Error::Busy { retry_after: time.clamp(SHORTEST_RETRY, LONGEST_RETRY) }
    }

    /// What the pool says of itself.
    pub fn status(&self) -> Status {
        let status = self.circuit.status();
        if status != Status::Ready {
            return status;
        }
        match self.degradation() {
            None => Status::Ready,
            Some(reason) => Status::Degraded {
                since: lock(&self.degraded).unwrap_or_else(SystemTime::now),
                reason,
            },
        }
    }
}
