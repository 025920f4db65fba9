//! What the parts of a node share: the machine, the mempool, and who waits.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hufu_machine::record::Standings;
use hufu_machine::signatures::verify_batch;
use hufu_machine::{
    Event, Executed, Follower, Load, Machine, MachineError, Over, Period, Reader, Replay, Tally,
};
use hufu_proof::budget::end_of_day;
use hufu_proof::codec::MAX_TRANSACTION;
use hufu_proof::transaction::MAX_LIFETIME;
use hufu_proof::{Block, Commitment, Digest, Height, LogEntry, Outcome, Transaction, UnixMillis};
use tokio::sync::{Notify, oneshot, watch};

use crate::error::{Error, Spent};
use crate::mempool::{Mempool, Pending, Refused, Signer};
use crate::verified::{Verified, VerifiedBlocks, ids};

/// Hears what becomes of a transaction.
type Waiter = oneshot::Sender<Result<Committed, Error>>;

/// Executed heights that are kept in memory for those who follow closely.
const RECENT_HEIGHTS: usize = 4;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its entry in the log.
    pub entry: LogEntry,
}

/// Shared by admission, block building and execution.
pub struct Shared {
    /// There is none where another process executes.
    machine: Option<Mutex<Machine>>,
    /// Reads what was executed.
    pub reader: Reader,
    tip: Mutex<Tip>,
    chain: Digest,
    mempool: Mutex<Mempool>,
    waiters: Mutex<HashMap<Digest, Vec<Waiter>>>,
    judged: Mutex<VerifiedBlocks>,
    recent: Mutex<VecDeque<Arc<Replay>>>,
    /// Says that a transaction has arrived.
    pub arrived: Notify,
    /// The applied height.
    pub applied: watch::Sender<Height>,
    /// The epoch of the next height.
    pub epoch: watch::Sender<u64>,
    /// The height at which a member said last where it is reached.
    pub moved: watch::Sender<Height>,
}

/// The last executed height.
#[derive(Clone, Copy)]
struct Tip {
    /// What it resulted in.
    commitment: Commitment,
    /// Its block time.
    time_ms: UnixMillis,
}

/// Whether a transaction is worth the verification of its signature.
enum Considered {
    /// It is here already.
    Known(Admission),
    /// It is, and this is who signed it, if the signature is good.
    New(Signer),
}

fn spent(over: Over, signer: &Signer, tip: &Tip) -> Spent {
    let ends_ms = match over.period {
        Period::Day => end_of_day(tip.time_ms),
        Period::Second => tip.time_ms.plus(Duration::from_secs(1)),
    };
    Spent {
        over,
        member: signer.record.owner.clone(),
        ends_ms,
        retry_after: ends_ms.since(tip.time_ms),
    }
}

/// What admission found.
pub enum Admission {
    /// It waits for a block; the receiver hears what becomes of it.
    Waiting(oneshot::Receiver<Result<Committed, Error>>),
    /// It was in a block before: the first answer again.
    Done(Committed),
}

impl Shared {
    /// Around a machine.
    pub fn new(machine: Machine) -> Self {
        let tip = Tip { commitment: machine.applied(), time_ms: machine.header().time_ms };
        let reader = machine.reader();
        Self::with(Some(Mutex::new(machine)), reader, tip)
    }

    /// Beside the process that executes.
    pub fn following(follower: &Follower) -> Self {
        let tip = Tip { commitment: follower.applied(), time_ms: follower.header().time_ms };
        Self::with(None, follower.reader(), tip)
    }

    fn with(machine: Option<Mutex<Machine>>, reader: Reader, tip: Tip) -> Self {
        let committed = tip.commitment;
        let epoch = reader.epoch().number;
        Self {
            machine,
            tip: Mutex::new(tip),
            chain: reader.chain(),
            reader,
            mempool: Mutex::default(),
            waiters: Mutex::default(),
            judged: Mutex::default(),
            recent: Mutex::default(),
            arrived: Notify::new(),
            applied: watch::Sender::new(committed.height),
            epoch: watch::Sender::new(epoch),
            moved: watch::Sender::new(Height::ZERO),
        }
    }

    /// The consortium.
    pub fn chain(&self) -> Digest {
        self.chain
    }

    /// What every executed block resulted in.
    pub fn committed(&self) -> Commitment {
        lock(&self.tip).commitment
    }

    /// The last executed height, and its block time.
    pub(crate) fn tip(&self) -> (Height, UnixMillis) {
        let tip = *lock(&self.tip);
        (tip.commitment.height, tip.time_ms)
    }

    /// Whether another process executes, and this one takes nothing in.
    pub fn follows(&self) -> bool {
        self.machine.is_none()
    }

    /// Goes on to what another process has executed.
    pub fn followed(&self, follower: &Follower) {
        let (commitment, time_ms) = (follower.applied(), follower.header().time_ms);
        *lock(&self.tip) = Tip { commitment, time_ms };
        let epoch = self.reader.epoch().number;
        self.epoch.send_if_modified(|known| std::mem::replace(known, epoch) != epoch);
        self.applied.send_if_modified(|known| {
            std::mem::replace(known, commitment.height) != commitment.height
        });
    }

    /// Executes a final block durably and answers everybody who waits.
    ///
    /// # Errors
    /// [`MachineError`]; the node is then to be started again.
    pub fn execute(&self, block: &Arc<Block>) -> Result<(), MachineError> {
        let digest = block.digest();
        let verdicts = if lock(&self.judged).has(&digest) {
            vec![true; block.transactions.len()]
        } else {
            self.verdicts(block, &ids(block))
        };
        let Some(machine) = &self.machine else { return Err(MachineError::Follows) };
        let Executed { commitment, entries, events, .. } =
            lock(machine).execute(block, &verdicts)?;
        *lock(&self.tip) = Tip { commitment, time_ms: block.header.time_ms };
        lock(&self.judged).executed(commitment.height);
        let moved = events.iter().any(|event| matches!(event, Event::Address { .. }));
        {
            let mut recent = lock(&self.recent);
            recent.truncate(RECENT_HEIGHTS - 1);
            recent.push_front(Arc::new(Replay { block: Arc::clone(block), events }));
        }
        self.executed(commitment.height, &entries);
        if moved {
            self.moved.send_replace(commitment.height);
        }
        let epoch = self.reader.epoch().number;
        self.epoch.send_if_modified(|known| std::mem::replace(known, epoch) != epoch);
        Ok(())
    }

    /// All that a read model is told of an executed height.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn replay(&self, height: Height) -> Result<Option<Arc<Replay>>, MachineError> {
        let of_height = |replay: &&Arc<Replay>| replay.block.header.height == height;
        if let Some(replay) = lock(&self.recent).iter().find(of_height) {
            return Ok(Some(Arc::clone(replay)));
        }
        Ok(self.reader.replay(height)?.map(Arc::new))
    }

    /// Admits transactions: size, expiry, duplicates, signer, signature, budget.
    /// The answers are in the order given. Also says which are new here and
    /// should be passed on to the other validators.
    pub fn admit(
        &self,
        transactions: Vec<Transaction>,
    ) -> (Vec<Result<Admission, Error>>, Vec<Arc<Transaction>>) {
        self.admit_or(transactions, drop)
    }

    /// [`Self::admit`]; `unknown` gets those whose signer is not known here.
    pub(crate) fn admit_or(
        &self,
        transactions: Vec<Transaction>,
        mut unknown: impl FnMut(Transaction),
    ) -> (Vec<Result<Admission, Error>>, Vec<Arc<Transaction>>) {
        let tip = *lock(&self.tip);
        let mut answers: Vec<Option<Result<Admission, Error>>> = Vec::new();
        let mut to_verify: Vec<(usize, Pending)> = Vec::new();
        let standings = self.reader.standings(tip.commitment.height);
        for (place, transaction) in transactions.into_iter().enumerate() {
            let (id, size) = transaction.id_and_size();
            answers.push(match self.consider(&transaction, &id, size, &tip, &standings) {
                Ok(Considered::Known(admission)) => Some(Ok(admission)),
                Ok(Considered::New(signer)) => {
                    let transaction = Arc::new(transaction);
                    to_verify.push((place, Pending { id, size, signer, transaction }));
                    None
                }
                Err(error) => {
                    if matches!(error, Error::Refused(Outcome::UnknownSigner)) {
                        unknown(transaction);
                    }
                    Some(Err(error))
                }
            });
        }
        // A block can be here before the transactions in it, which are then
        // verified with it.
        let seen: Vec<bool> = {
            let judged = lock(&self.judged);
            to_verify.iter().map(|(_, one)| judged.contains(&one.id, &one.transaction)).collect()
        };
        let verdicts = verify(to_verify.iter().map(|(_, one)| &*one.transaction), seen);
        let mut new = Vec::new();
        let mut tally = self.reader.tally(tip.commitment.height, tip.time_ms);
        for ((place, pending), good) in to_verify.into_iter().zip(verdicts) {
            let answer = if good {
                let transaction = pending.transaction.clone();
                match &mut tally {
                    Ok(tally) => {
                        let (answer, fresh) = self.enqueue(pending, &tip, tally);
                        if fresh {
                            new.push(transaction);
                        }
                        answer
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot read what was used today");
                        Err(Error::Stopped)
                    }
                }
            } else {
                Err(Error::Refused(Outcome::Signature))
            };
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answer);
            }
        }
        if !new.is_empty() {
            self.arrived.notify_waiters();
        }
        let answers =
            answers.into_iter().map(|answer| answer.unwrap_or(Err(Error::Stopped))).collect();
        (answers, new)
    }

    fn consider(
        &self,
        transaction: &Transaction,
        id: &Digest,
        size: usize,
        tip: &Tip,
        standings: &Result<Arc<Standings>, MachineError>,
    ) -> Result<Considered, Error> {
        let height = tip.commitment.height;
        let refused = |outcome| Err(Error::Refused(outcome));
        if size > MAX_TRANSACTION {
            return refused(Outcome::Oversized);
        }
        if transaction.body.chain != self.chain {
            return refused(Outcome::WrongChain);
        }
        if let Some(entry) = self.entry(id)? {
            return Ok(Considered::Known(Admission::Done(Committed { entry })));
        }
        let expires = transaction.body.expires;
        if expires <= height || expires > height.plus(MAX_LIFETIME) {
            return refused(Outcome::Expired);
        }
        // The same transaction may wait with another signature of the same
        // signer: the first serves both.
        if self.waits(id) {
            let waiting = self.wait_for(*id);
            // Executed before there was somebody to answer, it is answered by
            // `enqueue`.
            if self.waits(id) {
                return Ok(Considered::Known(Admission::Waiting(waiting)));
            }
        }
        let identity = transaction.body.signer.identity();
        let Some(record) = self.reader.signer(&identity, height)? else {
            return refused(Outcome::UnknownSigner);
        };
        let standings = standings.as_ref().map_err(|_| Error::Stopped)?;
        if let Some(outcome) = standings.refusal(&record.owner) {
            return refused(outcome);
        }
        if !record.is_active_at(tip.time_ms) {
            return refused(Outcome::InactiveSigner);
        }
        Ok(Considered::New(Signer { identity, record }))
    }

    fn waits(&self, id: &Digest) -> bool {
        lock(&self.mempool).get(id).is_some()
    }

    /// `height` is the applied one when the transaction was not executed yet.
    fn enqueue(
        &self,
        pending: Pending,
        tip: &Tip,
        tally: &mut Tally<'_>,
    ) -> (Result<Admission, Error>, bool) {
        let (id, height) = (pending.id, tip.commitment.height);
        // Before it can be executed, or the answer could be missed.
        let waiting = self.wait_for(id);
        let taken = {
            let mut mempool = lock(&self.mempool);
            let Signer { identity, record } = &pending.signer;
            let load = Load::one(pending.size as u64);
            let (own, all) = mempool.held(&pending.signer);
            match tally.over_waiting(identity, record, own.plus(load), all.plus(load)) {
                Ok(None) => mempool.insert(pending),
                Ok(Some(over)) => {
                    return (Err(Error::OverBudget(spent(over, &pending.signer, tip))), false);
                }
                Err(error) => return (Err(error.into()), false),
            }
        };
        match taken {
            // Nothing was executed between the look and the insertion.
            Ok(()) if self.committed().height == height => (Ok(Admission::Waiting(waiting)), true),
            Ok(()) => match self.entry(&id) {
                Ok(Some(entry)) => {
                    lock(&self.mempool).remove(&id);
                    (Ok(Admission::Done(Committed { entry })), false)
                }
                Ok(None) => (Ok(Admission::Waiting(waiting)), true),
                Err(error) => (Err(error.into()), false),
            },
            Err(Refused::Present) => (Ok(Admission::Waiting(waiting)), false),
            Err(Refused::Full) => (Err(Error::Busy { retry_after: Duration::from_secs(1) }), false),
        }
    }

    /// What became of a transaction.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn entry(&self, id: &Digest) -> Result<Option<LogEntry>, MachineError> {
        Ok(self.reader.entry(id)?.map(|(_, entry)| entry))
    }

    fn wait_for(&self, id: Digest) -> oneshot::Receiver<Result<Committed, Error>> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiters).entry(id).or_default().push(sender);
        receiver
    }

    /// Waiting transactions that are in none of `ancestors` and may be in a block of
    /// this time whose header commits to `executed`: of each member as much, the oldest
    /// first. What is over a quota of the second waits on; what else may not be in it is
    /// refused, because its signer was revoked or has used up its budget
    /// while it waited.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn choose(
        &self,
        (count, bytes): (usize, usize),
        ancestors: &[Verified],
        executed: &Commitment,
        time_ms: UnixMillis,
    ) -> Result<Vec<Pending>, MachineError> {
        let height = executed.height;
        if height > self.committed().height {
            // Who may sign as of that height is not known here yet.
            return Ok(Vec::new());
        }
        let taken: HashSet<&Digest> =
            ancestors.iter().flat_map(|ancestor| ancestor.ids.iter()).collect();
        let oldest = lock(&self.mempool).fair(count, bytes, |id| taken.contains(id));
        let mut tally = self.reader.tally(height, time_ms)?;
        if tally.has_rates() {
            self.charge_ancestors(ancestors, height, &mut tally)?;
        }
        let standings = self.reader.standings(height)?;
        let mut chosen = Vec::with_capacity(oldest.len());
        for pending in oldest {
            let Signer { identity, .. } = &pending.signer;
            // Registered since: for a later block.
            let Some(record) = self.reader.signer(identity, height)? else { continue };
            let size = pending.size as u64;
            let load = Load::one(size);
            let refused = if let Some(outcome) = standings.refusal(&record.owner) {
                Some(Error::Refused(outcome))
            } else if !record.is_active_at(time_ms) {
                Some(Error::Refused(Outcome::InactiveSigner))
            } else {
                match tally.over(identity, &record, load, load)? {
                    // For the next second.
                    Some(Over { period: Period::Second, .. }) => continue,
                    over => over.map(|over| {
                        let tip = Tip { commitment: *executed, time_ms };
                        Error::OverBudget(spent(over, &pending.signer, &tip))
                    }),
                }
            };
            match refused {
                None => {
                    tally.charge(identity, &record, size)?;
                    chosen.push(pending);
                }
                Some(error) => self.give_up(&pending.id, error),
            }
        }
        Ok(chosen)
    }

    /// Charges what stands in blocks above `height` that are not executed yet, so that
    /// what comes after them in the same second is not over a quota.
    fn charge_ancestors(
        &self,
        ancestors: &[Verified],
        height: Height,
        tally: &mut Tally<'_>,
    ) -> Result<(), MachineError> {
        for block in ancestors.iter().map(|ancestor| &ancestor.block) {
            if block.header.height <= height {
                continue;
            }
            for transaction in &block.transactions {
                let identity = transaction.body.signer.identity();
                if let Some(record) = self.reader.signer(&identity, height)? {
                    let (_, size) = transaction.id_and_size();
                    tally.charge_at(&identity, &record, size as u64, block.header.time_ms)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a transaction out that can be in no block, and says so to who
    /// waits.
    fn give_up(&self, id: &Digest, error: Error) {
        lock(&self.mempool).remove(id);
        let mut waiters = lock(&self.waiters).remove(id).unwrap_or_default();
        // Who asked for the same transaction again asks once more.
        let last = waiters.pop();
        for waiter in waiters {
            let _ = waiter.send(Err(Error::Busy { retry_after: Duration::from_secs(1) }));
        }
        if let Some(waiter) = last {
            let _ = waiter.send(Err(error));
        }
    }

    /// How many transactions wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let mempool = lock(&self.mempool);
        (mempool.len(), mempool.bytes())
    }

    /// Remembers a block whose signatures have been verified.
    pub fn judged(&self, verified: Verified) {
        lock(&self.judged).insert(verified);
    }

    /// `block` and those of its ancestors that are not executed yet, as far as
    /// this node has seen them.
    pub fn unexecuted(&self, block: &Arc<Block>) -> Vec<Verified> {
        let applied = self.committed().height;
        lock(&self.judged).line(block, applied)
    }

    /// Verdicts on the signatures of a block whose transactions have these
    /// identifiers; those that wait here have been verified before.
    pub fn verdicts(&self, block: &Block, ids: &[Digest]) -> Vec<bool> {
        let known: Vec<bool> = {
            let mempool = lock(&self.mempool);
            let waits = |(transaction, id): (&Transaction, &Digest)| {
                // The identifier is a digest of the body.
                let same = |one: &Pending| one.transaction.signature == transaction.signature;
                mempool.get(id).is_some_and(same)
            };
            block.transactions.iter().zip(ids).map(waits).collect()
        };
        verify(block.transactions.iter(), known)
    }

    /// Tells everybody who waits what became of a block's transactions.
    fn executed(&self, height: Height, entries: &[LogEntry]) {
        let expired = {
            let mut mempool = lock(&self.mempool);
            for entry in entries {
                mempool.remove(&entry.transaction);
            }
            // A scan of everything that waits; not needed at every height.
            if height.get().is_multiple_of(16) { mempool.expire(height) } else { Vec::new() }
        };
        {
            let mut waiters = lock(&self.waiters);
            for entry in entries {
                // A duplicate's answer is the first entry's, which was given.
                for waiter in waiters.remove(&entry.transaction).unwrap_or_default() {
                    let _ = waiter.send(Ok(Committed { entry: *entry }));
                }
            }
            for id in expired {
                for waiter in waiters.remove(&id).unwrap_or_default() {
                    let _ = waiter.send(Err(Error::Expired));
                }
            }
            if height.get().is_multiple_of(256) {
                waiters.retain(|_, senders| {
                    senders.retain(|sender| !sender.is_closed());
                    !senders.is_empty()
                });
            }
        }
        self.applied.send_replace(height);
    }
}

/// Verdicts on signatures, of which those that are `known` were found good before.
fn verify<'a>(transactions: impl Iterator<Item = &'a Transaction>, known: Vec<bool>) -> Vec<bool> {
    let unknown: Vec<&Transaction> = transactions
        .zip(&known)
        .filter_map(|(transaction, known)| (!known).then_some(transaction))
        .collect();
    let mut verified = verify_batch(&unknown).into_iter();
    known.into_iter().map(|known| known || verified.next().unwrap_or(false)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves its collection whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
