//! The session pool: N worker threads with a session each, one keeper thread
//! with the anchor session, a bounded queue in front.

mod circuit;
mod keeper;
mod queue;
mod worker;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

pub(crate) use self::queue::{Output, Reply, Work};
use self::{
    circuit::Circuit,
    keeper::{CLOSING_PATIENCE, Keeper},
    queue::{Job, Queue, Refusal},
    worker::Worker,
};
use crate::{
    config::TokenConfig,
    error::{Error, Result},
    module::ModuleUse,
    pin::Pin,
    status::{Counters, Meters, Status},
    token::{self, TokenDescription},
};

/// Retry hints of a busy pool stay within these.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// A request inside the token.
struct Flight {
    deadline: Instant,
    submitted: Instant,
    reply: Reply,
}

/// What callers, workers and keeper share.
struct Shared {
    config: TokenConfig,
    module: ModuleUse,
    queue: Queue,
    circuit: Circuit,
    meters: Meters,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn generating(&self) -> MutexGuard<'_, ()> {
        lock(&self.generating)
    }

    /// A worker takes a request into the token.
    fn depart(&self, worker: usize, flight: Flight) {
        *lock(&self.flights[worker]) = Some(flight);
    }

    /// A worker is back; gives the request unless it was answered meanwhile.
    fn arrive(&self, worker: usize) -> Option<Flight> {
        let flight = lock(&self.flights[worker]).take();
        if std::mem::take(&mut *lock(&self.hangs[worker])) {
            self.hanging.fetch_sub(1, Ordering::AcqRel);
        }
        flight
    }

    /// Answers every request whose time is over, waiting or under way.
    fn expire(&self, now: Instant) {
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
    fn refuse_waiting(&self) {
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
    fn observe(&self) {
        let mut degraded = lock(&self.degraded);
        *degraded = self.degradation().and(degraded.or_else(|| Some(SystemTime::now())));
    }

    fn admit(&self) -> Result<()> {
        self.circuit.admit()?;
        if self.hanging.load(Ordering::Acquire) >= self.config.workers {
            return Err(Error::Unavailable {
                retry_after: Duration::from_secs(1),
                reason: "every call into the token hangs".to_owned(),
            });
        }
        Ok(())
    }

    fn busy(&self) -> Error {
        let waiting = u32::try_from(self.config.queue_depth / self.config.workers);
        let time = self.meters.mean_service_time().saturating_mul(waiting.unwrap_or(u32::MAX));
        Error::Busy { retry_after: time.clamp(SHORTEST_RETRY, LONGEST_RETRY) }
    }
}

/// A running pool. Stops when dropped.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    description: TokenDescription,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// Loads the module, finds the token, logs in once, starts the threads.
    pub fn open(config: TokenConfig, pin: Pin) -> Result<Self> {
        config.validate()?;
        let module = ModuleUse::acquire(&config.module)?;
        let meters = Meters::default();
        let anchor = token::connect(&module, &config.label, &pin, || {
            Meters::add(&meters.logins, 1);
        })?;
        let description = anchor.description.clone();
        let circuit = Circuit::new(
            &config.label,
            config.backoff_first,
            config.backoff_longest,
            anchor.slot,
            config.workers,
        );
        let workers = config.workers;
        let shared = Arc::new(Shared {
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
        });
        let keeper = Keeper::new(Arc::clone(&shared), pin, anchor);
        // From here on dropping the pool stops whatever was started.
        let pool = Self { shared, description, threads: Mutex::default() };
        let (settled, all_settled) = std::sync::mpsc::channel();
        for index in 0..workers {
            let settled = settled.clone();
            let worker = Worker::new(index, Arc::clone(&pool.shared));
            let spawned = pool.spawn(format!("token-{index}"), move || worker.run(settled));
            if let Err(error) = spawned {
                // Those that never ran are not waited for.
                for _ in index..workers {
                    pool.shared.circuit.worker_left();
                }
                pool.close();
                keeper.run();
                return Err(error);
            }
        }
        pool.spawn("token-keeper".to_owned(), move || keeper.run())?;
        // So that the first `status` tells how many sessions the token gives.
        // Nothing is sent: the channel ends when the last worker let go of it.
        drop(settled);
        let _ = all_settled.recv_timeout(pool.shared.config.request_timeout);
        Ok(pool)
    }

    fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = thread::Builder::new().name(name).spawn(run).map_err(Error::Thread)?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    pub fn config(&self) -> &TokenConfig {
        &self.shared.config
    }

    pub fn description(&self) -> &TokenDescription {
        &self.description
    }

    /// Queues a request. `reply` is called once, from any thread, unless this
    /// returns an error.
    pub fn submit(&self, work: Work, reply: Reply) -> Result<()> {
        let shared = &self.shared;
        if let Err(error) = shared.admit() {
            if matches!(error, Error::Unavailable { .. }) {
                Meters::add(&shared.meters.refused_unavailable, 1);
            }
            return Err(error);
        }
        let submitted = Instant::now();
        let job =
            Job { work, submitted, deadline: submitted + shared.config.request_timeout, reply };
        shared.queue.push(job).map_err(|refusal| match refusal {
            Refusal::Closed => Error::Closed,
            Refusal::Full => {
                Meters::add(&shared.meters.refused_busy, 1);
                shared.busy()
            }
        })
    }

    /// Queues a request and waits for the answer.
    pub fn call(&self, work: Work) -> Result<Output> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.submit(
            work,
            Box::new(move |outcome| {
                // A caller that gave up is no matter.
                let _ = sender.send(outcome);
            }),
        )?;
        // Deadlines are kept by the keeper; a sender that vanishes means that
        // the pool's threads are gone.
        receiver.recv().unwrap_or(Err(Error::Closed))
    }

    pub fn counters(&self) -> Counters {
        self.shared.meters.snapshot(self.shared.queue.len())
    }

    pub fn status(&self) -> Status {
        let status = self.shared.circuit.status();
        if status != Status::Ready {
            return status;
        }
        match self.shared.degradation() {
            None => Status::Ready,
            Some(reason) => Status::Degraded {
                since: lock(&self.shared.degraded).unwrap_or_else(SystemTime::now),
                reason,
            },
        }
    }

    /// Stops taking requests, lets those inside the token finish, refuses
    /// those waiting, logs out, and waits for the threads for a while.
    pub fn close(&self) {
        self.shared.circuit.close();
        for job in self.shared.queue.close() {
            (job.reply)(Err(Error::Closed));
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        let patience = Instant::now() + CLOSING_PATIENCE + Duration::from_secs(1);
        for thread in threads {
            // A thread cannot be joined with a time limit, and a call into a
            // hanging token never returns.
            while !thread.is_finished() && Instant::now() < patience {
                thread::sleep(Duration::from_micros(200));
            }
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!(token = %self.shared.config.label, "a token thread panicked");
            }
        }
        // The PIN was with the keeper and is zeroed by now.
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}
