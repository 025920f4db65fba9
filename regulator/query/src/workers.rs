//! The node's side: who may have a process, and when it ends.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hufu_readmodel::{Measure, Problem};
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

use crate::bounds::Bounds;
use crate::channel::Channel;

/// Most of what a process said on its standard error that is put into the log.
const MAX_SAID: u64 = 2048;

/// What is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// What it is told before the name of the work.
    pub arguments: Vec<OsString>,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// This program itself, also when its file was replaced since it started.
    pub fn itself(argument: &str) -> Self {
        Self {
            path: "/proc/self/exe".into(),
            arguments: vec![argument.into()],
            environment: Vec::new(),
        }
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

/// Places for a few processes at a time.
#[derive(Clone, Debug)]
pub struct Workers {
    program: Arc<Program>,
    places: Arc<Semaphore>,
}

impl Workers {
    /// Of this program, at most so many at once.
    pub fn new(program: Program, places: usize) -> Self {
        Self { program: Arc::new(program), places: Arc::new(Semaphore::new(places)) }
    }

    /// A place, if there is one.
    pub fn place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { program: Arc::clone(&self.program), permit })
    }
}

/// The right to have one process.
#[derive(Debug)]
pub struct Place {
    program: Arc<Program>,
    permit: OwnedSemaphorePermit,
}

impl Place {
    /// For a process with a variable more in its environment.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<OsString>) -> Self {
        let program = Program::clone(&self.program).with(name, value);
        Self { program: Arc::new(program), ..self }
    }

    /// Starts a process that does `work`. It is for the calling thread, which must
    /// not end before the process does.
    ///
    /// # Errors
    /// [`Problem::Abandoned`], [`Problem::Gone`].
    pub fn start(self, work: &str, bounds: Bounds, leash: Leash) -> Result<Worker, Problem> {
        let Self { program, permit } = self;
        let end = Instant::now() + bounds.time;
        let gone = |error: io::Error| Problem::Gone(format!("it does not start: {error}"));
        let (ours, theirs) = UnixStream::pair().map_err(gone)?;
        {
            let mut tied = leash.0.tied();
            if tied.let_go {
                return Err(Problem::Abandoned);
            }
            // Every descriptor of this program is closed there by the system: the
            // standard library opens none without that.
            let child = Command::new(&program.path)
                .args(&program.arguments)
                .arg(work)
                .env_clear()
                .envs(program.environment.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            tied.child = Some(child.map_err(gone)?);
        }
        let channel = Channel::new(ours, bounds.answer, Some(end));
        let mut worker = Worker { leash, channel, bounds, _place: permit };
        match worker.channel.send(&bounds) {
            Ok(()) => Ok(worker),
            Err(error) => Err(worker.failed(Some(error))),
        }
    }
}

/// A process that answers questions.
#[derive(Debug)]
pub struct Worker {
    leash: Leash,
    channel: Channel,
    bounds: Bounds,
    /// Given back when the process has ended.
    _place: OwnedSemaphorePermit,
}

impl Worker {
    /// Asks, and waits for the answer. After a refusal, there is no more.
    ///
    /// # Errors
    /// [`Problem`], of the process: [`Problem::Time`], [`Problem::Memory`],
    /// [`Problem::Limit`] of bytes, [`Problem::Abandoned`], [`Problem::Gone`].
    pub fn exchange<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        question: &Q,
    ) -> Result<A, Problem> {
        match self.channel.send(question).and_then(|()| self.channel.receive()) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.failed(None)),
            Err(error) => Err(self.failed(Some(error))),
        }
    }

    /// What it means that no answer came.
    fn failed(&mut self, error: Option<io::Error>) -> Problem {
        let Some((status, said)) = self.leash.0.end() else {
            return Problem::Gone("it ended before".to_owned());
        };
        if self.leash.0.tied().let_go {
            return Problem::Abandoned;
        }
        match error.as_ref().map(io::Error::kind) {
            Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Problem::Time { seconds: self.bounds.time.as_secs() };
            }
            Some(io::ErrorKind::FileTooLarge) => {
                let limit = self.bounds.answer as u64;
                return Problem::Limit { what: Measure::Bytes, limit };
            }
            _ => {}
        }
        let by = |signal: Signal| status.signal() == Some(signal.as_raw());
        if by(Signal::XCPU) {
            return Problem::Time { seconds: self.bounds.time.as_secs() };
        }
        // How a Rust program ends that gets no memory.
        if by(Signal::ABORT) {
            tracing::warn!(said, "a query got no more memory");
            return Problem::Memory;
        }
        // Where the stream broke off, the process's end says why.
        let unreadable = error.filter(|error| error.kind() == io::ErrorKind::InvalidData);
        let why = unreadable.map_or_else(|| status.to_string(), |error| error.to_string());
        tracing::error!(%status, said, why, "the process of a query ended");
        Problem::Gone(why)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.leash.0.end();
    }
}

/// Two ends: while the first is held, a process that is started with the second
/// may run.
pub fn leash() -> (Hold, Leash) {
    let tie = Arc::new(Tie::default());
    (Hold(Arc::clone(&tie)), Leash(tie))
}

/// Held by who waits for an answer: dropped, it kills the process.
#[derive(Debug)]
pub struct Hold(Arc<Tie>);

/// What a process is started with.
#[derive(Debug)]
pub struct Leash(Arc<Tie>);

#[derive(Debug, Default)]
struct Tie(Mutex<Tied>);

#[derive(Debug, Default)]
struct Tied {
    child: Option<Child>,
    let_go: bool,
}

impl Tie {
    fn tied(&self) -> MutexGuard<'_, Tied> {
        // Whatever is half done here ends in killing the process.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the process, if there is one, and waits until it has ended; gives how
    /// it did and the end of what it said.
    fn end(&self) -> Option<(ExitStatus, String)> {
        let mut child = self.tied().child.take()?;
        // One that has ended already keeps its own status.
        let _ = child.kill();
        let status = child.wait().ok()?;
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            let _ = stderr.take(MAX_SAID).read_to_end(&mut said);
        }
        Some((status, String::from_utf8_lossy(&said).into_owned()))
    }
}

impl Hold {
    /// Does work while it is held. Whoever stops waiting ends the process, and not
    /// the work: what is recorded of it.
    ///
    /// # Errors
    /// When the work panicked.
    pub async fn during<T: Send + 'static>(
        self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        let done = tokio::spawn(work).await;
        drop(self);
        done
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut tied = self.0.tied();
        tied.let_go = true;
        if let Some(child) = &mut tied.child {
            // The thread that asked waits for its end.
            let _ = child.kill();
        }
    }
}
