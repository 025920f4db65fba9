//! The client: a connection to the cluster, transactions, and answers that
//! arrive later. `abi.rs` dresses it as the C interface.

use std::collections::{BTreeMap, HashMap};
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster;
use crate::code;
use crate::wire::{self, Answer, Ask, Mutation, Range, Reply, Request};

/// FoundationDB's limits, in bytes.
const MAX_KEY: usize = 10_000;
const MAX_VALUE: usize = 100_000;
const MAX_TRANSACTION: usize = 10_000_000;

/// What the C interface calls the network: it is set up once in a process, runs
/// in one thread, and never again after it was stopped.
pub(crate) struct Network {
    state: Mutex<NetworkState>,
    changed: Condvar,
}

struct NetworkState {
    stage: Stage,
    options: Vec<(i32, Vec<u8>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    SetUp,
    Running,
    Stopped,
}

pub(crate) static NETWORK: Network = Network {
    state: Mutex::new(NetworkState { stage: Stage::New, options: Vec::new() }),
    changed: Condvar::new(),
};

impl Network {
    fn lock(&self) -> MutexGuard<'_, NetworkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_option(&self, option: i32, value: Vec<u8>) -> Result<(), i32> {
        let mut state = self.lock();
        match (state.stage, option) {
            (Stage::New, 30..=91) => state.options.push((option, value)),
            (Stage::New, _) => return Err(code::INVALID_OPTION),
            _ => return Err(code::NETWORK_ALREADY_SETUP),
        }
        Ok(())
    }

    pub(crate) fn set_up(&self) -> Result<(), i32> {
        let mut state = self.lock();
        match state.stage {
            Stage::New => state.stage = Stage::SetUp,
            Stage::SetUp | Stage::Running => return Err(code::NETWORK_ALREADY_SETUP),
            Stage::Stopped => return Err(code::NETWORK_CANNOT_BE_RESTARTED),
        }
        Ok(())
    }

    pub(crate) fn run(&self) -> Result<(), i32> {
        let mut state = self.lock();
        match state.stage {
            Stage::SetUp => state.stage = Stage::Running,
            Stage::New => return Err(code::NETWORK_NOT_SETUP),
            Stage::Running => return Err(code::NETWORK_ALREADY_SETUP),
            Stage::Stopped => return Err(code::NETWORK_CANNOT_BE_RESTARTED),
        }
        self.changed.notify_all();
        while state.stage == Stage::Running {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    pub(crate) fn stop(&self) -> Result<(), i32> {
        let mut state = self.lock();
        if state.stage == Stage::New {
            return Err(code::NETWORK_NOT_SETUP);
        }
        state.stage = Stage::Stopped;
        self.changed.notify_all();
        Ok(())
    }

    /// The options, once it is set up.
    fn options(&self) -> Result<Vec<(i32, Vec<u8>)>, i32> {
        let state = self.lock();
        match state.stage {
            Stage::New => Err(code::NETWORK_NOT_SETUP),
            _ => Ok(state.options.clone()),
        }
    }

    /// Waits until it runs; false when it never will again.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        loop {
            match state.stage {
                Stage::Running => return true,
                Stage::Stopped => return false,
                Stage::New | Stage::SetUp => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Where an answer arrives.
#[derive(Default)]
struct Slot {
    answer: Mutex<Option<Result<Answer, i32>>>,
    arrived: Condvar,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Result<Answer, i32>>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, answer: Result<Answer, i32>) {
        // The first one counts: what is late has timed out.
        self.lock().get_or_insert(answer);
        self.arrived.notify_all();
    }
}

/// One client of a cluster.
pub(crate) struct Connection {
    /// `None` when the cluster cannot be reached: then nothing is ever answered.
    stream: Option<Mutex<UnixStream>>,
    waiting: Arc<Mutex<HashMap<u64, Arc<Slot>>>>,
    next: AtomicU64,
    round: AtomicU64,
    /// Whether something was asked in this round.
    asked: AtomicBool,
}

impl Connection {
    /// Connects to the cluster that a cluster file names.
    pub(crate) fn open(file: &Path) -> Result<Self, i32> {
        let options = NETWORK.options()?;
        let text = std::fs::read_to_string(file).map_err(|_| code::NO_CLUSTER_FILE)?;
        let (_, socket) =
            text.trim().split_once("@unix:").ok_or(code::CONNECTION_STRING_INVALID)?;
        // Who asks for TLS gets none here.
        let socket = socket.strip_suffix(":tls").unwrap_or(socket);
        let waiting: Arc<Mutex<HashMap<u64, Arc<Slot>>>> = Arc::default();
        let stream = UnixStream::connect(socket).ok();
        if let Some(answers) = stream.as_ref().and_then(|stream| stream.try_clone().ok()) {
            let waiting = Arc::clone(&waiting);
            std::thread::spawn(move || {
                let mut answers = BufReader::new(answers);
                while let Ok(Reply { number, answer }) = wire::read(&mut answers) {
                    if !NETWORK.wait() {
                        return;
                    }
                    let slot = lock(&waiting).remove(&number);
                    if let Some(slot) = slot {
                        slot.fill(answer);
                    }
                }
            });
        }
        let (next, round) = (AtomicU64::new(1), AtomicU64::new(0));
        let stream = stream.map(Mutex::new);
        let connection = Self { stream, waiting, next, round, asked: AtomicBool::new(false) };
        connection.send(0, Ask::Hello { options });
        Ok(connection)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends what has no answer.
    fn send(&self, transaction: u64, ask: Ask) {
        self.write(&Request { number: 0, transaction, round: self.round(), ask });
    }

    fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    fn ask(self: &Arc<Self>, transaction: u64, deadline: Option<Instant>, ask: Ask) -> Future {
        let (number, slot) = (self.number(), Arc::<Slot>::default());
        lock(&self.waiting).insert(number, Arc::clone(&slot));
        self.asked.store(true, Ordering::Relaxed);
        self.write(&Request { number, transaction, round: self.round(), ask });
        Future { slot, deadline, connection: Some(Arc::clone(self)) }
    }

    fn write(&self, request: &Request) {
        if let Some(stream) = &self.stream {
            // A cluster that is gone does not answer.
            let _ = wire::write(&mut *lock(stream), request);
        }
    }

    fn waited(&self) {
        if self.asked.swap(false, Ordering::Relaxed) {
            self.round.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            let _ = lock(stream).shutdown(std::net::Shutdown::Both);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer that arrives later.
pub(crate) struct Future {
    slot: Arc<Slot>,
    deadline: Option<Instant>,
    connection: Option<Arc<Connection>>,
}

impl Future {
    fn ready(answer: Result<Answer, i32>) -> Self {
        let slot = Arc::<Slot>::default();
        slot.fill(answer);
        Self { slot, deadline: None, connection: None }
    }

    /// Waits until it has arrived, or its transaction has timed out.
    pub(crate) fn wait(&self) {
        if let Some(connection) = &self.connection {
            connection.waited();
        }
        let mut answer = self.slot.lock();
        while answer.is_none() {
            let Some(deadline) = self.deadline else {
                answer = self.slot.arrived.wait(answer).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *answer = Some(Err(code::TRANSACTION_TIMED_OUT));
            } else {
                let waited = self.slot.arrived.wait_timeout(answer, left);
                answer = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// What has arrived.
    pub(crate) fn answer(&self) -> Result<Answer, i32> {
        self.slot.lock().clone().unwrap_or(Err(code::FUTURE_NOT_SET))
    }
}

/// A transaction.
pub(crate) struct Transaction {
    connection: Arc<Connection>,
    state: Mutex<State>,
}

struct State {
    number: u64,
    created: Instant,
    timeout: Option<Duration>,
    limit: usize,
    reads_own: bool,
    reads: Vec<Range>,
    writes: Vec<Range>,
    mutations: Vec<Mutation>,
    own: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// What the next answer is, because of an earlier mistake.
    wrong: Option<i32>,
}

impl State {
    fn reset(&mut self, number: u64) {
        self.number = number;
        self.reads.clear();
        self.writes.clear();
        self.mutations.clear();
        self.own.clear();
        self.wrong = None;
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| self.created + timeout)
    }
}

impl Transaction {
    pub(crate) fn new(connection: &Arc<Connection>) -> Self {
        let state = State {
            number: connection.number(),
            created: Instant::now(),
            timeout: None,
            limit: MAX_TRANSACTION,
            reads_own: true,
            reads: Vec::new(),
            writes: Vec::new(),
            mutations: Vec::new(),
            own: BTreeMap::new(),
            wrong: None,
        };
        Self { connection: Arc::clone(connection), state: Mutex::new(state) }
    }

    pub(crate) fn set_option(&self, option: i32, value: &[u8]) -> Result<(), i32> {
        let number = || value.try_into().map(i64::from_le_bytes);
        let mut state = lock(&self.state);
        match option {
            51 if state.mutations.is_empty() => state.reads_own = false,
            500 => {
                let timeout = number().ok().and_then(|number| u64::try_from(number).ok());
                let timeout = timeout.ok_or(code::INVALID_OPTION_VALUE)?;
                state.timeout = (timeout > 0).then(|| Duration::from_millis(timeout));
            }
            503 => {
                let limit = number().ok().and_then(|number| usize::try_from(number).ok());
                let limit = limit.filter(|limit| (32..=MAX_TRANSACTION).contains(limit));
                state.limit = limit.ok_or(code::INVALID_OPTION_VALUE)?;
            }
            _ => return Err(code::INVALID_OPTION),
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: Vec<u8>, snapshot: bool) -> Future {
        let mut state = lock(&self.state);
        if key.first() == Some(&0xff) {
            return Future::ready(Err(code::KEY_OUTSIDE_LEGAL_RANGE));
        }
        if let Some(wrong) = state.wrong {
            return Future::ready(Err(wrong));
        }
        if state.reads_own {
            if let Some(value) = state.own.get(&key) {
                return Future::ready(Ok(Answer::Value(value.clone())));
            }
            let cleared = |mutation: &Mutation| matches!(mutation, Mutation::Clear((begin, end)) if *begin <= key && key < *end);
            if state.mutations.iter().any(cleared) {
                return Future::ready(Ok(Answer::Value(None)));
            }
        }
        if !snapshot {
            state.reads.push(only(&key));
        }
        self.connection.ask(state.number, state.deadline(), Ask::Get { key })
    }

    pub(crate) fn range(
        &self,
        range: Range,
        (rows, bytes): (u64, u64),
        snapshot: bool,
        reverse: bool,
    ) -> Future {
        let mut state = lock(&self.state);
        let wrong = match state.wrong {
            Some(wrong) => Some(wrong),
            None if range.0 > range.1 => Some(code::INVERTED_RANGE),
            None if range.1.as_slice() > &[0xff][..] => Some(code::KEY_OUTSIDE_LEGAL_RANGE),
            None if state.reads_own && !state.mutations.is_empty() => Some(code::INTERNAL_ERROR),
            None => None,
        };
        if let Some(wrong) = wrong {
            return Future::ready(Err(wrong));
        }
        if !snapshot {
            state.reads.push(range.clone());
        }
        let ask = Ask::Range { range, rows, bytes, reverse };
        self.connection.ask(state.number, state.deadline(), ask)
    }

    pub(crate) fn set(&self, key: Vec<u8>, value: Vec<u8>) {
        let mut state = lock(&self.state);
        if key.len() > MAX_KEY {
            state.wrong.get_or_insert(code::KEY_TOO_LARGE);
        } else if value.len() > MAX_VALUE {
            state.wrong.get_or_insert(code::VALUE_TOO_LARGE);
        } else if key.first() == Some(&0xff) {
            state.wrong.get_or_insert(code::KEY_OUTSIDE_LEGAL_RANGE);
        } else {
            state.writes.push(only(&key));
            state.own.insert(key.clone(), Some(value.clone()));
            state.mutations.push(Mutation::Set(key, value));
        }
    }

    pub(crate) fn clear(&self, range: Range) {
        let mut state = lock(&self.state);
        if range.0 > range.1 {
            state.wrong.get_or_insert(code::INVERTED_RANGE);
        } else if range.1.as_slice() > &[0xff][..] {
            state.wrong.get_or_insert(code::KEY_OUTSIDE_LEGAL_RANGE);
        } else {
            let cleared = |key: &&Vec<u8>| range.0 <= **key && **key < range.1;
            let gone: Vec<Vec<u8>> = state.own.keys().filter(cleared).cloned().collect();
            state.own.extend(gone.into_iter().map(|key| (key, None)));
            state.writes.push(range.clone());
            state.mutations.push(Mutation::Clear(range));
        }
    }

    pub(crate) fn commit(&self) -> Future {
        let mut state = lock(&self.state);
        if let Some(wrong) = state.wrong {
            return Future::ready(Err(wrong));
        }
        if cluster::size(&state.reads, &state.writes, &state.mutations) > state.limit {
            return Future::ready(Err(code::TRANSACTION_TOO_LARGE));
        }
        let reads = std::mem::take(&mut state.reads);
        let writes = std::mem::take(&mut state.writes);
        let mutations = std::mem::take(&mut state.mutations);
        state.wrong = Some(code::USED_DURING_COMMIT);
        if writes.is_empty() {
            return Future::ready(Ok(Answer::Done));
        }
        let ask = Ask::Commit { reads, writes, mutations };
        self.connection.ask(state.number, state.deadline(), ask)
    }

    pub(crate) fn on_error(&self, code: i32) -> Future {
        let mut state = lock(&self.state);
        if !code::maybe_committed(code) && !code::not_committed(code) {
            return Future::ready(Err(code));
        }
        if state.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            return Future::ready(Err(code::TRANSACTION_TIMED_OUT));
        }
        self.connection.send(state.number, Ask::Forget);
        state.reset(self.connection.number());
        Future::ready(Ok(Answer::Done))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.connection.send(lock(&self.state).number, Ask::Forget);
    }
}

fn only(key: &[u8]) -> Range {
    (key.to_vec(), [key, &[0]].concat())
}
