//! Requests waiting for a worker, bounded, with deadlines.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    algorithm::KeyAlgorithm,
    description::{FoundKey, KeyRecord},
    error::{Error, Result},
};

/// What a worker is asked to do.
#[derive(Clone)]
pub(crate) enum Work {
    /// Sign what the token takes: a digest, or the message for Ed25519.
    Sign { key: Arc<KeyRecord>, input: Vec<u8> },
    /// Find a key by label.
    Find { label: String },
    /// Make a key.
    Generate { label: String, algorithm: KeyAlgorithm },
}

/// What comes back.
pub(crate) enum Output {
    Signature(Vec<u8>),
    Key(Box<FoundKey>),
}

pub(crate) type Reply = Box<dyn FnOnce(Result<Output>) + Send>;

/// A request on its way.
pub(crate) struct Job {
    pub work: Work,
    pub submitted: Instant,
    pub deadline: Instant,
    pub reply: Reply,
}

impl Job {
    /// How long the caller was ready to wait.
    pub fn allowance(&self) -> Duration {
        self.deadline - self.submitted
    }

    pub fn expire(self) {
        let allowance = self.allowance();
        (self.reply)(Err(Error::TimedOut(allowance)));
    }
}

/// What a worker finds.
pub(crate) enum Next {
    Job(Job),
    /// Nothing came for as long as was asked.
    Idle,
    Closed,
}

/// Why a job was not taken.
pub(crate) enum Refusal {
    Full,
    Closed,
}

#[derive(Default)]
struct Content {
    jobs: VecDeque<Job>,
    closed: bool,
}

pub(crate) struct Queue {
    content: Mutex<Content>,
    arrived: Condvar,
    depth: usize,
}

impl Queue {
    pub fn new(depth: usize) -> Self {
        Self { content: Mutex::default(), arrived: Condvar::new(), depth }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    pub fn push(&self, job: Job) -> Result<(), Refusal> {
        let mut content = self.lock();
        if content.closed {
            return Err(Refusal::Closed);
        }
        if content.jobs.len() >= self.depth {
            return Err(Refusal::Full);
        }
        content.jobs.push_back(job);
        drop(content);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts back a job that was taken, ahead of all others and past the bound.
    /// Gives it back if the queue was closed meanwhile.
    pub fn put_back(&self, job: Job) -> Option<Job> {
        let mut content = self.lock();
        if content.closed {
            return Some(job);
        }
        content.jobs.push_front(job);
        drop(content);
        self.arrived.notify_one();
        None
    }

    pub fn next(&self, patience: Duration) -> Next {
        let until = Instant::now() + patience;
        let mut content = self.lock();
        loop {
            if let Some(job) = content.jobs.pop_front() {
                return Next::Job(job);
            }
            if content.closed {
                return Next::Closed;
            }
            let now = Instant::now();
            if now >= until {
                return Next::Idle;
            }
            content = self
                .arrived
                .wait_timeout(content, until - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Takes out what nobody waits for any more. All jobs of a queue have the
    /// same allowance, so they expire from the front.
    pub fn take_expired(&self, now: Instant) -> Vec<Job> {
        let mut content = self.lock();
        let count = content.jobs.iter().take_while(|job| job.deadline <= now).count();
        content.jobs.drain(..count).collect()
    }

    /// Takes out everything, for a circuit that opened.
    pub fn take_all(&self) -> Vec<Job> {
        self.lock().jobs.drain(..).collect()
    }

    /// Takes no more; gives back what was waiting.
    pub fn close(&self) -> Vec<Job> {
        let mut content = self.lock();
        content.closed = true;
        let rest = content.jobs.drain(..).collect();
        drop(content);
        self.arrived.notify_all();
        rest
    }
}
