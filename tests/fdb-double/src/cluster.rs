//! The cluster: one engine behind a socket, and what a test does to it.

use std::collections::HashMap;
use std::io::BufReader;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::Engine;
use crate::wire::{self, Answer, Ask, Mutation, Range, Reply, Request};

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Reads of keys and ranges.
    Read,
    /// Commits.
    Commit,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is answered with this error code, and nothing is done.
    Fail(i32),
    /// The commit is done, and answered with this error code.
    DoneBut(i32),
    /// The commit is answered with this error code, and tried when
    /// [`Cluster::release`] is called.
    Late(i32),
    /// It is never answered; done or not.
    Silent {
        /// Whether the commit is done.
        done: bool,
    },
    /// It is answered, after a time.
    Slow(Duration),
}

/// One disturbance, of which a cluster may have several; the first one that
/// fits a request is taken.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which requests.
    pub on: On,
    /// Only those that name a key with these bytes in it (a commit: to write
    /// it); empty for every request.
    pub key: Vec<u8>,
    /// How many fitting requests pass before.
    pub skip: u64,
    /// How many are disturbed.
    pub times: u64,
    /// How.
    pub what: What,
}

/// What a cluster was asked since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rounds: requests of one client that it sent without waiting in between
    /// are one.
    pub rounds: u64,
    /// Reads of one key.
    pub gets: u64,
    /// Reads of a range.
    pub ranges: u64,
    /// Commits with something to write.
    pub commits: u64,
    /// The largest of them: bytes of keys, values and conflict ranges.
    pub largest: usize,
}

/// A cluster in this process, as long as this lives.
pub struct Cluster {
    shared: Arc<Mutex<Shared>>,
    file: PathBuf,
    socket: PathBuf,
}

struct Shared {
    engine: Engine,
    faults: Vec<Fault>,
    counts: Counts,
    late: Vec<Commit>,
    options: Vec<(i32, Vec<u8>)>,
    closed: bool,
}

struct Commit {
    version: Option<u64>,
    reads: Vec<Range>,
    writes: Vec<Range>,
    mutations: Vec<Mutation>,
}

impl Cluster {
    /// Starts an empty cluster; its socket and cluster file are in `directory`.
    ///
    /// # Errors
    /// What the system says of the socket or the file.
    pub fn start(directory: &Path) -> std::io::Result<Self> {
        let (file, socket) = (directory.join("fdb.cluster"), directory.join("double.sock"));
        let listener = UnixListener::bind(&socket)?;
        std::fs::write(&file, format!("double:double@unix:{}\n", socket.display()))?;
        let shared = Arc::new(Mutex::new(Shared {
            engine: Engine::new(),
            faults: Vec::new(),
            counts: Counts::default(),
            late: Vec::new(),
            options: Vec::new(),
            closed: false,
        }));
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if lock(&accepting).closed {
                    return;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Ok(Self { shared, file, socket })
    }

    /// The cluster file that names it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Adds a disturbance.
    pub fn inject(&self, fault: Fault) {
        lock(&self.shared).faults.push(fault);
    }

    /// Removes every disturbance.
    pub fn calm(&self) {
        lock(&self.shared).faults.clear();
    }

    /// Tries the commits that are late, in their order; returns how many were
    /// done.
    pub fn release(&self) -> usize {
        let mut shared = lock(&self.shared);
        let late = std::mem::take(&mut shared.late);
        late.into_iter().filter_map(|commit| shared.commit(commit).ok()).count()
    }

    /// Lets time pass in the cluster.
    pub fn advance(&self, by: Duration) {
        lock(&self.shared).engine.advance(by);
    }

    /// What it was asked.
    pub fn counts(&self) -> Counts {
        lock(&self.shared).counts
    }

    /// Sets or clears a key, as another program would.
    pub fn set(&self, key: &[u8], value: Option<&[u8]>) {
        let range = (key.to_vec(), [key, &[0]].concat());
        let mutation = match value {
            Some(value) => Mutation::Set(key.to_vec(), value.to_vec()),
            None => Mutation::Clear(range.clone()),
        };
        let (reads, writes, mutations) = (Vec::new(), vec![range], vec![mutation]);
        // What reads nothing conflicts with nothing.
        let _ = lock(&self.shared).commit(Commit { version: None, reads, writes, mutations });
    }

    /// How many keys hold something.
    pub fn keys(&self) -> usize {
        lock(&self.shared).engine.keys()
    }

    /// The network options of the client that came last: code and value.
    pub fn options(&self) -> Vec<(i32, Vec<u8>)> {
        lock(&self.shared).options.clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        lock(&self.shared).closed = true;
        // Wakes whoever accepts.
        let _ = UnixStream::connect(&self.socket);
    }
}

impl Shared {
    fn commit(&mut self, commit: Commit) -> Result<(), i32> {
        let Commit { version, reads, writes, mutations } = commit;
        self.engine.commit(version, &reads, writes, mutations)
    }

    /// The disturbance of a request of this kind, if there is one.
    fn disturbance(&mut self, on: On, names: impl Fn(&[u8]) -> bool) -> Option<What> {
        let fits = |fault: &&mut Fault| fault.on == on && fault.times > 0 && names(&fault.key);
        for fault in self.faults.iter_mut().filter(fits) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else {
                fault.times -= 1;
                return Some(fault.what);
            }
        }
        None
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one client until it is gone.
fn serve(shared: &Mutex<Shared>, stream: UnixStream) {
    let Ok(mut answers) = stream.try_clone() else { return };
    let mut requests = BufReader::new(stream);
    // Read versions of its transactions, and the round of its last request.
    let mut versions = HashMap::new();
    let mut round = None;
    while let Ok(request) = wire::read::<Request>(&mut requests) {
        if lock(shared).closed {
            return;
        }
        let number = request.number;
        let (answer, wait) = answer(shared, request, &mut versions, &mut round);
        if let Some(wait) = wait {
            std::thread::sleep(wait);
        }
        if let Some(answer) = answer
            && wire::write(&mut answers, &Reply { number, answer }).is_err()
        {
            return;
        }
    }
}

type Answered = (Option<Result<Answer, i32>>, Option<Duration>);

fn answer(
    shared: &Mutex<Shared>,
    request: Request,
    versions: &mut HashMap<u64, u64>,
    round: &mut Option<u64>,
) -> Answered {
    let mut shared = lock(shared);
    let Request { transaction, ask, .. } = request;
    let (on, what) = match &ask {
        Ask::Hello { options } => {
            shared.options.clone_from(options);
            return (None, None);
        }
        Ask::Forget => {
            versions.remove(&transaction);
            return (None, None);
        }
        Ask::Get { key } => (On::Read, shared.disturbance(On::Read, |part| has(key, part))),
        Ask::Range { range, .. } => {
            (On::Read, shared.disturbance(On::Read, |part| has(&range.0, part)))
        }
        Ask::Commit { writes, .. } => {
            let names = |part: &[u8]| writes.iter().any(|(begin, _)| has(begin, part));
            (On::Commit, shared.disturbance(On::Commit, names))
        }
    };
    if round.replace(request.round) != Some(request.round) {
        shared.counts.rounds += 1;
    }
    let (done, wait) = match what {
        Some(What::Fail(code)) => return (Some(Err(code)), None),
        Some(What::Silent { done: false }) => return (None, None),
        Some(What::DoneBut(code)) => (Some(Some(Err(code))), None),
        Some(What::Late(code)) if on == On::Commit => (Some(Some(Err(code))), None),
        Some(What::Late(code)) => return (Some(Err(code)), None),
        Some(What::Silent { done: true }) => (Some(None), None),
        Some(What::Slow(wait)) => (None, Some(wait)),
        None => (None, None),
    };
    let mut version = || {
        let now = shared.engine.version();
        *versions.entry(transaction).or_insert(now)
    };
    let answer = match ask {
        Ask::Get { key } => {
            let version = version();
            shared.counts.gets += 1;
            shared.engine.get(version, &key).map(Answer::Value)
        }
        Ask::Range { range, rows, bytes, reverse } => {
            let version = version();
            shared.counts.ranges += 1;
            let found = shared.engine.range(version, &range, (rows, bytes), reverse);
            found.map(|(rows, more)| Answer::Rows { rows, more })
        }
        Ask::Commit { reads, writes, mutations } => {
            let version = versions.remove(&transaction);
            if !writes.is_empty() {
                shared.counts.commits += 1;
                let size = size(&reads, &writes, &mutations);
                shared.counts.largest = shared.counts.largest.max(size);
            }
            let commit = Commit { version, reads, writes, mutations };
            if let Some(What::Late(_)) = what {
                shared.late.push(commit);
                Ok(Answer::Done)
            } else {
                shared.commit(commit).map(|()| Answer::Done)
            }
        }
        Ask::Hello { .. } | Ask::Forget => return (None, None),
    };
    // A commit that conflicted says so, whatever else was to be said of it.
    match (answer, done) {
        (Err(code), Some(Some(_))) => (Some(Err(code)), wait),
        (answer, None) => (Some(answer), wait),
        (_, Some(instead)) => (instead, wait),
    }
}

fn has(key: &[u8], part: &[u8]) -> bool {
    part.is_empty() || key.windows(part.len()).any(|window| window == part)
}

/// What a transaction counts for its limit, in bytes.
pub(crate) fn size(reads: &[Range], writes: &[Range], mutations: &[Mutation]) -> usize {
    let ranges: usize =
        reads.iter().chain(writes).map(|(begin, end)| begin.len() + end.len()).sum();
    let written: usize = mutations
        .iter()
        .map(|mutation| match mutation {
            Mutation::Set(one, other) | Mutation::Clear((one, other)) => one.len() + other.len(),
        })
        .sum();
    ranges + written
}
