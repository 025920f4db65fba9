//! The session pool: N worker threads with a session each, one keeper thread
//! with the anchor session, a bounded queue in front.

mod circuit;
mod keeper;
mod queue;
mod shared;
mod worker;

use std::{
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub(crate) use self::queue::{Output, Reply, Work};
use self::{
    keeper::{CLOSING_PATIENCE, Keeper},
    queue::{Job, Refusal},
    shared::{Shared, lock},
    worker::Worker,
};
use crate::{
    config::TokenConfig,
    description::TokenDescription,
    error::{Error, Result},
    module::ModuleUse,
    pin::Pin,
    status::{Counters, Meters, Status},
    token,
};

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
        let workers = config.workers;
        let shared = Arc::new(Shared::new(config, module, meters, anchor.slot));
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
        self.shared.status()
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
