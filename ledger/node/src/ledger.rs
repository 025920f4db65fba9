//! The handle through which the rest of the appliance uses its ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use borsh::BorshDeserialize as _;
use hufu_consensus::{Gossip, Recipient, Status};
use hufu_machine::{Account, Reader, Replay};
use hufu_proof::{Budget, Commitment, Digest, Height, LogEntry, Name, Quotas, Transaction, codec};
use tokio::sync::{Notify, watch};

use crate::error::Error;
use crate::shared::{Admission, Committed, Shared};

/// Largest message of transactions, in bytes, below the network's limit. One
/// transaction always fits.
const MAX_MESSAGE: usize = 768 * 1024;

/// A member's ledger. Cheap to clone; works under any async runtime.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) shared: Arc<Shared>,
    pub(crate) outbox: Arc<Outbox>,
    present: Arc<Mutex<Present>>,
    closed: Arc<AtomicBool>,
    pub(crate) followed: Arc<Mutex<Followed>>,
}

/// How following another process goes.
#[derive(Clone, Debug)]
pub struct Followed {
    /// When the store last answered.
    pub answered: std::time::SystemTime,
    /// What it said since, where it did not answer as it must.
    pub fault: Option<String>,
}

/// Of the present epoch.
#[derive(Default)]
struct Present {
    /// Asks the ordering layer, once there was one.
    ordering: Option<Arc<dyn Fn() -> Status + Send + Sync>>,
    /// Makes it let go of what is before a height.
    forget: Option<Arc<dyn Fn(Height) + Send + Sync>>,
    /// Members whose address this node was not told.
    unreachable: Vec<String>,
}

/// Transactions on their way to the other validators.
#[derive(Default)]
pub(crate) struct Outbox {
    transactions: Mutex<Vec<Arc<Transaction>>>,
    filled: Notify,
}

/// How the node is.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// The ordering layer.
    pub ordering: Status,
    /// Members of the present epoch whose address this node was not told.
    pub unreachable: Vec<String>,
    /// Transactions that wait for a block.
    pub waiting: usize,
    /// Bytes of them.
    pub waiting_bytes: usize,
}

/// What was recorded today, by the ledger's time, and how much may be.
#[derive(Clone, Debug)]
pub struct Today {
    /// What may be recorded.
    pub budget: Budget,
    /// What else limits it.
    pub quotas: Quotas,
    /// Bytes that were recorded of each member, by name.
    pub members: Vec<(Name, u64)>,
}

impl Ledger {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let answered = std::time::SystemTime::now();
        Self {
            shared,
            outbox: Arc::default(),
            present: Arc::default(),
            closed: Arc::default(),
            followed: Arc::new(Mutex::new(Followed { answered, fault: None })),
        }
    }

    /// Turns to the ordering layer of an epoch that begins.
    pub(crate) fn follow(
        &self,
        ordering: Arc<dyn Fn() -> Status + Send + Sync>,
        forget: Arc<dyn Fn(Height) + Send + Sync>,
    ) {
        let mut present = self.present();
        present.ordering = Some(ordering);
        present.forget = Some(forget);
    }

    /// Lets blocks and certificates before `height` leave the archives that other
    /// validators are served from. The ledger itself: [`hufu_machine::Pruner`].
    pub fn forget(&self, height: Height) {
        let forget = self.present().forget.clone();
        if let Some(forget) = forget {
            forget(height);
        }
    }

    /// Notes whose address is missing.
    pub(crate) fn unreachable(&self, members: Vec<String>) {
        self.present().unreachable = members;
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Every critical section assigns or copies.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits transactions and waits until each is final and executed, or
    /// `patience` is over. Verifies signatures on the calling thread first;
    /// many at once are verified faster than one by one.
    pub async fn submit(
        &self,
        transactions: Vec<Transaction>,
        patience: Duration,
    ) -> Vec<Result<Committed, Error>> {
        let admissions = self.enqueue(transactions);
        let all = admissions.into_iter().map(|admission| async move {
            match admission? {
                Admission::Done(committed) => Ok(committed),
                Admission::Waiting(receiver) => receiver.await.unwrap_or(Err(Error::Stopped)),
            }
        });
        // The timer is tokio's: callers are services. The node itself never
        // waits here.
        let all: Vec<_> = all
            .map(|one| async {
                tokio::time::timeout(patience, one).await.unwrap_or(Err(Error::Pending))
            })
            .collect();
        futures::future::join_all(all).await
    }

    /// Admits transactions and returns without waiting for their execution.
    pub fn enqueue(&self, transactions: Vec<Transaction>) -> Vec<Result<Admission, Error>> {
        let follows = self.shared.follows();
        if follows || self.closed.load(Ordering::Acquire) {
            let known = |one: Transaction| match self.shared.entry(&one.id())? {
                Some(entry) => Ok(Admission::Done(Committed { entry })),
                None if follows => Err(Error::FrontEnd),
                None => Err(Error::Closed),
            };
            return transactions.into_iter().map(known).collect();
        }
        let (admissions, new) = self.shared.admit(transactions);
        self.outbox.send(new);
        admissions
    }

    /// Whether transactions are taken in, as they are to begin with. A node
    /// that may not be able to keep them takes none: they are refused with
    /// [`Error::Closed`], but for those that the log has already.
    pub fn take_in(&self, open: bool) {
        self.closed.store(!open, Ordering::Release);
    }

    /// Whether another process executes, and this one reads.
    pub fn follows(&self) -> bool {
        self.shared.follows()
    }

    /// How following goes; `None` where this process executes itself.
    pub fn followed(&self) -> Option<Followed> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.follows().then(|| followed.clone())
    }

    /// What was executed: state, blocks, receipts, proofs.
    pub fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    /// All that a read model is told of an executed height; the last ones are
    /// kept in memory.
    ///
    /// # Errors
    /// [`Error::Machine`] when the store fails.
    pub fn replay(&self, height: Height) -> Result<Option<Arc<Replay>>, Error> {
        Ok(self.shared.replay(height)?)
    }

    /// What every executed block resulted in.
    pub fn committed(&self) -> Commitment {
        self.shared.committed()
    }

    /// What became of a transaction.
    ///
    /// # Errors
    /// [`Error::Machine`] when the store fails.
    pub fn entry(&self, id: &Digest) -> Result<Option<LogEntry>, Error> {
        Ok(self.shared.entry(id)?)
    }

    /// What was recorded today, and how much may be.
    ///
    /// # Errors
    /// [`Error::Machine`] when the store fails.
    pub fn recorded_today(&self) -> Result<Today, Error> {
        let (height, time_ms) = self.shared.tip();
        let reader = &self.shared.reader;
        let mut members = Vec::new();
        for seat in reader.membership()?.seats {
            let used = reader.used(&Account::Member(seat.name.clone()), height, time_ms)?;
            members.push((seat.name, used));
        }
        Ok(Today { budget: reader.budget(height)?, quotas: reader.quotas(height)?, members })
    }

    /// The applied height, as it grows.
    pub fn applied(&self) -> watch::Receiver<Height> {
        self.shared.applied.subscribe()
    }

    /// How the node is.
    pub fn status(&self) -> NodeStatus {
        let (waiting, waiting_bytes) = self.shared.waiting();
        let (ordering, unreachable) = {
            let present = self.present();
            (present.ordering.clone(), present.unreachable.clone())
        };
        // Handed out only after the first epoch has begun.
        let ordering = ordering.map_or_else(Status::default, |status| status());
        NodeStatus { ordering, unreachable, waiting, waiting_bytes }
    }
}

impl Outbox {
    fn send(&self, new: Vec<Arc<Transaction>>) {
        if new.is_empty() {
            return;
        }
        self.transactions.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
        self.filled.notify_one();
    }

    /// Takes what is there.
    pub(crate) fn take(&self) -> Vec<Arc<Transaction>> {
        std::mem::take(&mut *self.transactions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for transactions and takes them.
    pub(crate) async fn next(&self) -> Vec<Arc<Transaction>> {
        loop {
            let filled = self.filled.notified();
            let waiting = self.take();
            if !waiting.is_empty() {
                return waiting;
            }
            filled.await;
        }
    }
}

/// Sends transactions to the other validators. One that is lost on the way
/// stays here and is in a block when this node leads.
pub(crate) fn pass_on(gossip: &Gossip, transactions: &[Arc<Transaction>]) {
    let mut message: Vec<u8> = Vec::new();
    let flush = |message: &mut Vec<u8>| {
        if message.is_empty() {
            return;
        }
        match gossip.send(Recipient::All, std::mem::take(message).into()) {
            Ok(true) => {}
            Ok(false) => tracing::debug!("transactions not passed on: too many messages wait"),
            Err(error) => tracing::debug!(%error, "transactions not passed on"),
        }
    };
    for transaction in transactions {
        let bytes = codec::encode(&**transaction);
        if message.len() + bytes.len() > MAX_MESSAGE {
            flush(&mut message);
        }
        message.extend_from_slice(&bytes);
    }
    flush(&mut message);
}

/// Reads a message of another validator: transactions, one after the other.
/// What follows a malformed one is dropped.
pub(crate) fn received(message: &[u8]) -> Vec<Transaction> {
    let mut rest = message;
    let mut transactions = Vec::new();
    while !rest.is_empty() {
        match Transaction::deserialize(&mut rest) {
            Ok(transaction) => transactions.push(transaction),
            Err(error) => {
                tracing::warn!(%error, "a validator passed on what is not a transaction");
                break;
            }
        }
    }
    transactions
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_proof::{Algorithm, Body, Payload, PublicKey, Signature};
    use proptest::prelude::*;

    fn transaction(nonce: u64) -> Transaction {
        Transaction {
            body: Body {
                chain: Digest([1; 32]),
                signer: PublicKey::new(Algorithm::Ed25519, &[1; 32]).unwrap(),
                nonce,
                expires: Height(9),
                payload: Payload::Approve(Digest([2; 32])),
            },
            signature: Signature::new(Algorithm::Ed25519, &[3; 64]).unwrap(),
        }
    }

    #[test]
    fn what_precedes_a_malformed_transaction_is_taken() {
        let good = [transaction(1), transaction(2)];
        let mut message: Vec<u8> = good.iter().flat_map(codec::encode).collect();
        assert_eq!(received(&message), good);
        message.extend_from_slice(&codec::encode(&transaction(3))[..40]);
        assert_eq!(received(&message), good);
    }

    proptest! {
        #[test]
        fn arbitrary_messages_do_not_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400), begin in 0usize..3,
        ) {
            let mut message: Vec<u8> =
                (0..begin as u64).flat_map(|nonce| codec::encode(&transaction(nonce))).collect();
            message.extend(bytes);
            prop_assert!(received(&message).len() >= begin);
        }
    }
}
