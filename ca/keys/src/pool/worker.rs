//! The threads that own a session each and sign.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering, mpsc::Sender},
    time::{Duration, Instant},
};

use cryptoki::{
    error::{Error as TokenError, RvError},
    object::ObjectHandle,
};

use super::{
    circuit::describe,
    queue::{Job, Next, Output, Work},
    shared::{Flight, Shared},
};
use crate::{
    description::KeyRecord,
    error::{Error, Result},
    fault::FailureClass,
    module::Inside,
    status::Meters,
    token::{self, OpenSession},
};

/// So often one request is tried on a device that fails, recoveries in between.
const ATTEMPTS: u32 = 4;

/// So often it is tried when sessions or logins were lost. One loss costs up to
/// two attempts, and losses may follow each other; the request's deadline is
/// the real bound, this one stops a token that only seems to log in.
const REPAIRS: u32 = 16;

/// Pause of a worker that gets no session while others have one.
const SESSION_LIMIT_PAUSE: Duration = Duration::from_millis(200);

/// A session with what is known in it.
struct Held {
    session: OpenSession,
    login_epoch: u64,
    /// Handles by key label, so that a signature costs no look-up.
    handles: HashMap<String, ObjectHandle>,
    #[expect(dead_code, reason = "held so that the session counts while it is open")]
    counted: Counted,
}

/// Counts a session for as long as it is held, however its worker ends.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        Meters::add(&shared.meters.sessions_opened, 1);
        shared.meters.sessions.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.meters.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    held: Option<Held>,
}

/// What became of a request.
enum Outcome {
    Answered(Result<Output>),
    /// No session for this worker; another may have one.
    NoSession,
}

impl Worker {
    pub fn new(index: usize, shared: Arc<Shared>) -> Self {
        Self { index, shared, held: None }
    }

    /// Serves until the queue is closed; lets go of `settled` once the session
    /// is open, or could not be opened.
    pub fn run(mut self, settled: Sender<()>) {
        let shared = Arc::clone(&self.shared);
        // Also when a bug panics: the keeper and `status` count on it.
        let _leave = Leave(&shared);
        self.touch();
        drop(settled);
        loop {
            match shared.queue.next(shared.config.keep_alive) {
                Next::Job(job) => self.serve(job),
                Next::Idle => self.touch(),
                Next::Closed => break,
            }
        }
        if let Ok(inside) = shared.module.enter() {
            self.discard(Some(&inside));
        }
    }

    /// Opens the session ahead of the first request, and keeps it alive.
    fn touch(&mut self) {
        let shared = Arc::clone(&self.shared);
        let seen = shared.circuit.login_epoch();
        if !shared.circuit.status().accepts_requests() {
            return;
        }
        let Ok(inside) = shared.module.enter() else {
            return;
        };
        let checked = self
            .hold(&inside)
            .and_then(|held| held.session.logged_in(&inside).map_err(Error::token));
        match checked {
            Ok(true) => {}
            Ok(false) => shared.circuit.request_recovery(seen, "an idle session is logged out"),
            Err(error) => {
                tracing::debug!(worker = self.index, error = %describe(&error), "idle session is lost");
                if let Error::Token { class, .. } = &error {
                    shared.meters.failure(*class);
                }
                drop(inside);
                self.discard_after(&error);
            }
        }
    }

    fn serve(&mut self, job: Job) {
        let started = Instant::now();
        if started >= job.deadline {
            Meters::add(&self.shared.meters.timed_out, 1);
            job.expire();
            return;
        }
        let Job { work, submitted, deadline, reply } = job;
        // The keeper answers in our place if the call does not come back.
        self.shared.depart(self.index, Flight { deadline, submitted, reply });
        let outcome = self.process(&work, submitted, deadline);
        let Some(flight) = self.shared.arrive(self.index) else {
            return;
        };
        match outcome {
            Outcome::Answered(result) => {
                let meters = &self.shared.meters;
                match &result {
                    Ok(Output::Signature(_)) => {
                        Meters::add(&meters.signatures, 1);
                        Meters::add(&meters.signature_nanos, nanos(submitted.elapsed()));
                        Meters::add(&meters.queue_nanos, nanos(started - submitted));
                    }
                    Err(Error::TimedOut(_)) => Meters::add(&meters.timed_out, 1),
                    Err(Error::Unavailable { .. }) => Meters::add(&meters.refused_unavailable, 1),
                    _ => {}
                }
                (flight.reply)(result);
            }
            Outcome::NoSession => {
                let job = Job { work, submitted, deadline, reply: flight.reply };
                if let Some(job) = self.shared.queue.put_back(job) {
                    (job.reply)(Err(Error::Closed));
                }
                self.shared.circuit.pause(SESSION_LIMIT_PAUSE);
            }
        }
    }

    /// Tries until it works, or until nothing more can be done about it.
    fn process(&mut self, work: &Work, submitted: Instant, deadline: Instant) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let timed_out = || Outcome::Answered(Err(Error::TimedOut(deadline - submitted)));
        for attempt in 1.. {
            if Instant::now() >= deadline {
                return timed_out();
            }
            let seen = shared.circuit.login_epoch();
            let error = match self.attempt(work) {
                Ok(output) => {
                    shared.circuit.succeeded();
                    return Outcome::Answered(Ok(output));
                }
                Err(error) => error,
            };
            let class = match (&error, work) {
                (Error::Token { class, .. }, _) => *class,
                (Error::Malformed(_), _) => FailureClass::Device,
                // We have seen this key: the token lost it, or is another one.
                (Error::NoSuchKey { .. }, Work::Sign { .. }) => FailureClass::TokenGone,
                _ => return Outcome::Answered(Err(error)),
            };
            shared.meters.failure(class);
            tracing::debug!(worker = self.index, %class, attempt, error = %describe(&error), "call into the token failed");
            match class {
                FailureClass::Request | FailureClass::Pin => {
                    return Outcome::Answered(Err(error));
                }
                // Made or not made, who knows: the caller must look.
                FailureClass::Device if matches!(work, Work::Generate { .. }) => {
                    return Outcome::Answered(Err(error));
                }
                FailureClass::SessionLimit
                    if shared.meters.sessions.load(Ordering::Relaxed) > 0 =>
                {
                    return Outcome::NoSession;
                }
                _ => {}
            }
            self.discard_after(&error);
            let most = match class {
                FailureClass::Session | FailureClass::Handle | FailureClass::Login => REPAIRS,
                _ => ATTEMPTS,
            };
            if attempt >= most {
                if shared.circuit.strike(&describe(&error)) {
                    shared.refuse_waiting();
                }
                return Outcome::Answered(Err(error));
            }
            // The first time a fresh session of our own may do.
            if attempt == 1
                && matches!(
                    class,
                    FailureClass::Session | FailureClass::Handle | FailureClass::Device
                )
            {
                continue;
            }
            match shared.circuit.await_recovery(seen, &describe(&error), deadline) {
                Ok(()) => {}
                Err(Error::TimedOut(_)) => return timed_out(),
                Err(error) => return Outcome::Answered(Err(error)),
            }
        }
        timed_out()
    }

    fn attempt(&mut self, work: &Work) -> Result<Output> {
        let shared = Arc::clone(&self.shared);
        let inside = shared.module.enter().map_err(Error::token)?;
        match work {
            Work::Sign { key, input } => {
                let token = shared.config.label.as_str();
                let held = self.hold(&inside)?;
                let handle = held.handle(&inside, token, key)?;
                let session = held.session.at(&inside).ok_or_else(stale)?;
                token::sign_input(session, handle, key.algorithm, input).map(Output::Signature)
            }
            Work::Find { label } => {
                let held = self.hold(&inside)?;
                let session = held.session.at(&inside).ok_or_else(stale)?;
                match token::find_key(session, label)? {
                    Some(found) => {
                        held.handles.insert(label.clone(), found.handle);
                        Ok(Output::Key(Box::new(found)))
                    }
                    None => Err(missing(&held.session, &inside, &shared.config.label, label)),
                }
            }
            Work::Generate { label, algorithm } => {
                // The session that makes keys may write; it lives only for this.
                let session = OpenSession::open(&inside, shared.circuit.slot(), true)
                    .map_err(Error::token)?;
                let outcome = if session.logged_in(&inside).map_err(Error::token)? {
                    let _one_at_a_time = shared.generating();
                    let writable = session.at(&inside).ok_or_else(stale)?;
                    token::generate(writable, label, *algorithm)
                } else {
                    Err(not_logged_in())
                };
                session.close(&inside);
                outcome.map(|found| Output::Key(Box::new(found)))
            }
        }
    }

    /// The session, opened or replaced where needed.
    fn hold(&mut self, inside: &Inside<'_>) -> Result<&mut Held> {
        let login_epoch = self.shared.circuit.login_epoch();
        let usable = self.held.as_ref().is_some_and(|held| {
            held.login_epoch == login_epoch && held.session.at(inside).is_some()
        });
        if !usable {
            // It is closed only if it still answers, see `discard_after`.
            let answers =
                self.held.as_ref().is_some_and(|held| held.session.logged_in(inside).is_ok());
            self.discard(answers.then_some(inside));
        }
        match &mut self.held {
            Some(held) => Ok(held),
            empty => {
                let session = OpenSession::open(inside, self.shared.circuit.slot(), false)
                    .map_err(Error::token)?;
                let counted = Counted::new(&self.shared);
                Ok(empty.insert(Held { session, login_epoch, handles: HashMap::new(), counted }))
            }
        }
    }

    /// Lets the session go after a failure: closes it, so that the token does
    /// not run out of sessions, unless the token said that it does not know
    /// the handle, which may then be another's by now.
    fn discard_after(&mut self, error: &Error) {
        let void = matches!(
            error,
            Error::Token {
                source: TokenError::Pkcs11(
                    RvError::SessionHandleInvalid | RvError::SessionClosed,
                    _
                ),
                ..
            }
        );
        let shared = Arc::clone(&self.shared);
        let inside = shared.module.enter().ok();
        self.discard(inside.as_ref().filter(|_| !void));
    }

    /// Lets the session go; closes it if given a place inside the module.
    fn discard(&mut self, inside: Option<&Inside<'_>>) {
        if let (Some(held), Some(inside)) = (self.held.take(), inside) {
            held.session.close(inside);
        }
    }
}

impl Held {
    /// The cached handle, or a new one after a look-up.
    ///
    /// A handle found anew is believed only if it signs for the public key we
    /// know: the token may have been replaced while it was away.
    fn handle(
        &mut self,
        inside: &Inside<'_>,
        token: &str,
        key: &KeyRecord,
    ) -> Result<ObjectHandle> {
        if let Some(handle) = self.handles.get(&key.label) {
            return Ok(*handle);
        }
        let session = self.session.at(inside).ok_or_else(stale)?;
        let Some(handle) = token::find_handle(session, &key.label)? else {
            return Err(missing(&self.session, inside, token, &key.label));
        };
        token::check_pair(session, handle, &key.label, key.algorithm, &key.point)?;
        self.handles.insert(key.label.clone(), handle);
        Ok(handle)
    }
}

/// A key that is not there: missing, or out of sight because logged out.
fn missing(session: &OpenSession, inside: &Inside<'_>, token: &str, label: &str) -> Error {
    match session.logged_in(inside) {
        Ok(true) => Error::NoSuchKey { token: token.to_owned(), label: label.to_owned() },
        Ok(false) => not_logged_in(),
        Err(error) => Error::token(error),
    }
}

fn not_logged_in() -> Error {
    Error::token(TokenError::Pkcs11(
        RvError::UserNotLoggedIn,
        cryptoki::context::Function::GetSessionInfo,
    ))
}

fn stale() -> Error {
    Error::token(TokenError::Pkcs11(
        RvError::SessionHandleInvalid,
        cryptoki::context::Function::GetSessionInfo,
    ))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

struct Leave<'a>(&'a Shared);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.circuit.worker_left();
    }
}
