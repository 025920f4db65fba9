//! Admitted transactions that wait for a block, of each member in the order of their
//! arrival.
//!
//! A block has of each member as many bytes, as far as so much waits of it: the next
//! transaction is always that of the member that has least in the block so far, of
//! several the one that has waited longest.
//!
//! What is in here has a good signature of somebody known. Bounded in number and
//! bytes, as a whole and for each signer and member, so that who sends most does
//! not make everybody wait: when there is no room, admission says so and the
//! sender tries again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hufu_machine::record::IdentityRecord;
use hufu_machine::{Account, Load};
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, Height, IdentityId, Name, Transaction};

/// Most transactions that wait.
pub const MAX_TRANSACTIONS: usize = 200_000;
/// Most bytes that wait.
pub const MAX_BYTES: usize = 256 * 1024 * 1024;
/// Most bytes that wait of all whom one member answers for.
pub const MAX_MEMBER_BYTES: usize = MAX_BYTES / 4;
/// Most transactions that wait of all whom one member answers for.
pub const MAX_MEMBER_TRANSACTIONS: usize = MAX_TRANSACTIONS / 4;
/// Most bytes that wait of one signer that is not a member's own key: what a
/// second of full blocks takes.
pub const MAX_SIGNER_BYTES: usize = 16 * 1024 * 1024;

/// Who signed a transaction that waits.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The key's identity.
    pub identity: IdentityId,
    /// What was recorded of it when the transaction was admitted.
    pub record: Arc<IdentityRecord>,
}

/// A transaction that waits, with what was worked out once.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its identifier.
    pub id: Digest,
    /// Its encoded size in bytes.
    pub size: usize,
    /// Who signed it.
    pub signer: Signer,
    /// The transaction.
    pub transaction: Arc<Transaction>,
}

/// Why a transaction is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It waits already.
    Present,
    /// There is no room.
    Full,
}

/// Transactions that wait.
#[derive(Debug, Default)]
pub struct Mempool {
    arrivals: BTreeMap<u64, Pending>,
    places: HashMap<Digest, u64>,
    next: u64,
    bytes: usize,
    /// Of each account; none that holds nothing.
    held: HashMap<Account, Load>,
    /// The arrivals of each member; none that has none.
    queues: BTreeMap<Name, BTreeSet<u64>>,
}

impl Mempool {
    /// Takes a transaction in.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn insert(&mut self, pending: Pending) -> Result<(), Refused> {
        if self.places.contains_key(&pending.id) {
            return Err(Refused::Present);
        }
        let (own, all) = self.held(&pending.signer);
        let load = Load::one(pending.size as u64);
        let (own, all) = (own.plus(load), all.plus(load));
        let own_limit = match pending.signer.record.kind {
            IdentityKind::Member => MAX_MEMBER_BYTES,
            _ => MAX_SIGNER_BYTES,
        };
        if self.arrivals.len() >= MAX_TRANSACTIONS
            || self.bytes + pending.size > MAX_BYTES
            || own.bytes > own_limit as u64
            || all.bytes > MAX_MEMBER_BYTES as u64
            || all.transactions > MAX_MEMBER_TRANSACTIONS as u64
        {
            return Err(Refused::Full);
        }
        self.bytes += pending.size;
        for account in accounts(&pending.signer) {
            let held = self.held.entry(account).or_default();
            *held = held.plus(load);
        }
        let owner = &pending.signer.record.owner;
        match self.queues.get_mut(owner) {
            Some(queue) => queue.insert(self.next),
            None => self.queues.entry(owner.clone()).or_default().insert(self.next),
        };
        self.places.insert(pending.id, self.next);
        self.arrivals.insert(self.next, pending);
        self.next += 1;
        Ok(())
    }

    /// The transaction with this identifier.
    pub fn get(&self, id: &Digest) -> Option<&Pending> {
        self.arrivals.get(self.places.get(id)?)
    }

    /// What waits of a signer, and of all whom its member answers for.
    pub fn held(&self, signer: &Signer) -> (Load, Load) {
        let [own, all] = accounts(signer).map(|account| self.held.get(&account).copied());
        (own.unwrap_or_default(), all.unwrap_or_default())
    }

    /// Takes a transaction out.
    pub fn remove(&mut self, id: &Digest) {
        let Some(place) = self.places.remove(id) else { return };
        let Some(pending) = self.arrivals.remove(&place) else { return };
        self.bytes -= pending.size;
        for account in accounts(&pending.signer) {
            if let Entry::Occupied(mut held) = self.held.entry(account) {
                let Load { transactions, bytes } = held.get_mut();
                *transactions -= 1;
                *bytes -= pending.size as u64;
                if *transactions == 0 {
                    held.remove();
                }
            }
        }
        let owner = &pending.signer.record.owner;
        if let Some(queue) = self.queues.get_mut(owner) {
            queue.remove(&place);
            if queue.is_empty() {
                self.queues.remove(owner);
            }
        }
    }

    /// Takes out what may not be in a block after `height`; which.
    pub fn expire(&mut self, height: Height) -> Vec<Digest> {
        let expired: Vec<Digest> = self
            .arrivals
            .values()
            .filter(|pending| pending.transaction.body.expires <= height)
            .map(|pending| pending.id)
            .collect();
        for id in &expired {
            self.remove(id);
        }
        expired
    }

    /// Transactions but those that `skip` names, up to `count` and `bytes`: of each
    /// member as many bytes, the oldest first.
    pub fn fair(&self, count: usize, bytes: usize, skip: impl Fn(&Digest) -> bool) -> Vec<Pending> {
        let (arrivals, skip) = (&self.arrivals, &skip);
        let waiting = move |place| Some((place, arrivals.get(place)?));
        let mut queues: Vec<_> = self
            .queues
            .values()
            .map(|queue| {
                let all = queue.iter().filter_map(waiting);
                all.filter(move |(_, pending)| !skip(&pending.id)).peekable()
            })
            .collect();
        // By the bytes of a member in the block, and how long its next one has waited.
        let mut turns: BTreeSet<(usize, u64, usize)> = BTreeSet::new();
        for (member, queue) in queues.iter_mut().enumerate() {
            turns.extend(queue.peek().map(|(place, _)| (0, **place, member)));
        }
        let mut chosen = Vec::new();
        let mut size = 0;
        while chosen.len() < count
            && let Some((has, _, member)) = turns.pop_first()
        {
            let Some((_, pending)) = queues[member].next() else { continue };
            // In order: a member's large one is not passed by its smaller ones, and
            // the oldest of all comes first into some block.
            if size + pending.size > bytes {
                continue;
            }
            size += pending.size;
            chosen.push(pending.clone());
            let has = has + pending.size;
            turns.extend(queues[member].peek().map(|(place, _)| (has, **place, member)));
        }
        chosen
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn accounts(signer: &Signer) -> [Account; 2] {
    [Account::Identity(signer.identity), Account::Member(signer.record.owner.clone())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_machine::record::IdentityStatus;
    use hufu_proof::transaction::Payload;
    use hufu_proof::{Algorithm, Body, Name, PublicKey, Signature, UnixMillis};

    fn signer(number: u8, kind: IdentityKind, owner: &str) -> Signer {
        let key = PublicKey::new(Algorithm::Ed25519, &[number; 32]).unwrap();
        let record = IdentityRecord {
            key: key.clone(),
            kind,
            owner: Name::new(owner).unwrap(),
            subject: String::new(),
            status: IdentityStatus::Active,
            serial: None,
            not_before: UnixMillis::ZERO,
            not_after: UnixMillis::MAX,
        };
        Signer { identity: key.identity(), record: Arc::new(record) }
    }

    fn pending(nonce: u64, size: usize) -> Pending {
        let transaction = Transaction {
            body: Body {
                chain: Digest::default(),
                signer: PublicKey::new(Algorithm::Ed25519, &[1; 32]).unwrap(),
                nonce,
                expires: Height(nonce),
                payload: Payload::Approve(Digest::default()),
            },
            signature: Signature::new(Algorithm::Ed25519, &[0; 64]).unwrap(),
        };
        let signer = signer(1, IdentityKind::Member, "maker");
        Pending { id: transaction.id(), size, signer, transaction: Arc::new(transaction) }
    }

    #[test]
    fn keeps_the_order_of_arrival_and_the_limits() {
        let mut pool = Mempool::default();
        for nonce in 1..=5 {
            pool.insert(pending(nonce, 100)).unwrap();
        }
        assert_eq!(pool.insert(pending(3, 100)), Err(Refused::Present));
        let nonces = |chosen: Vec<Pending>| {
            chosen.iter().map(|one| one.transaction.body.nonce).collect::<Vec<_>>()
        };
        assert_eq!(nonces(pool.fair(3, 1000, |_| false)), [1, 2, 3]);
        assert_eq!(nonces(pool.fair(9, 250, |_| false)), [1, 2]);
        let second = pending(2, 0).id;
        assert_eq!(nonces(pool.fair(2, 1000, |id| *id == second)), [1, 3]);
        pool.remove(&second);
        assert_eq!(pool.bytes(), 400);
        assert_eq!(pool.expire(Height(3)).len(), 2);
        assert_eq!(nonces(pool.fair(9, 1000, |_| false)), [4, 5]);
        assert_eq!(pool.insert(pending(9, MAX_BYTES)), Err(Refused::Full));
        assert_eq!((pool.len(), pool.bytes()), (2, 200));
    }

    #[test]
    fn who_sends_most_leaves_room_for_the_others() {
        let mut pool = Mempool::default();
        let mut nonce = 0;
        let mut insert = |signer: Signer, size| {
            nonce += 1;
            pool.insert(Pending { signer, ..pending(nonce, size) }).map(|()| nonce)
        };
        let device = |number| signer(number, IdentityKind::Device, "maker");
        let first = insert(device(1), MAX_SIGNER_BYTES).unwrap();
        assert_eq!(insert(device(1), 1), Err(Refused::Full));
        // Its sisters, until their member has its share; then other members.
        for number in 2..=4 {
            insert(device(number), MAX_SIGNER_BYTES).unwrap();
        }
        assert_eq!(insert(device(5), 1), Err(Refused::Full));
        insert(signer(6, IdentityKind::Device, "operator"), MAX_SIGNER_BYTES).unwrap();
        // What has left makes room.
        let first = pending(first, 0).id;
        pool.remove(&first);
        pool.insert(Pending { signer: device(1), ..pending(99, MAX_SIGNER_BYTES) }).unwrap();
        let (own, all) = pool.held(&device(1));
        assert_eq!((own.bytes, all.bytes), (MAX_SIGNER_BYTES as u64, MAX_MEMBER_BYTES as u64));
        for id in pool.expire(Height::MAX) {
            assert!(pool.get(&id).is_none());
        }
        assert_eq!((pool.bytes(), pool.held.len(), pool.queues.len()), (0, 0, 0));
    }

    #[test]
    fn a_block_has_of_each_member_as_much() {
        let mut pool = Mempool::default();
        let of = |number, owner: &str| signer(number, IdentityKind::Device, owner);
        let mut nonce = 0;
        let mut insert = |pool: &mut Mempool, signer: Signer, size| {
            nonce += 1;
            pool.insert(Pending { signer, ..pending(nonce, size) }).unwrap();
        };
        // One member has filled the queue before another sends anything.
        for _ in 0..100 {
            insert(&mut pool, of(1, "maker"), 100);
        }
        for _ in 0..3 {
            insert(&mut pool, of(2, "operator"), 100);
        }
        insert(&mut pool, of(3, "regulator"), 800);
        let share = |chosen: &[Pending], owner: &str| {
            let of = chosen.iter().filter(|one| one.signer.record.owner.as_str() == owner);
            of.map(|one| one.size).sum::<usize>()
        };
        let owners = ["maker", "operator", "regulator"];
        let shares = |pool: &Mempool, count, bytes| {
            let chosen = pool.fair(count, bytes, |_| false);
            owners.map(|owner| share(&chosen, owner))
        };
        assert_eq!(shares(&pool, 4_096, 1_400), [300, 300, 800]);
        // What does not fit holds up its own member only, and is not passed for ever.
        assert_eq!(shares(&pool, 4_096, 700), [400, 300, 0]);
        assert_eq!(shares(&pool, 4, 10_000), [200, 100, 800]);
        // What the others leave is whoever's that wants it.
        assert_eq!(shares(&pool, 4_096, 100_000), [10_000, 300, 800]);
        assert_eq!(pool.fair(0, 1_000, |_| false).len(), 0);
        let mut sent = pool.fair(1, 1_000, |_| false);
        assert_eq!(sent.remove(0).transaction.body.nonce, 1, "the oldest comes first");
    }

    #[test]
    fn one_members_small_ones_leave_room_for_the_others() {
        let mut pool = Mempool::default();
        for nonce in 0..MAX_MEMBER_TRANSACTIONS as u64 {
            pool.insert(pending(nonce, 1)).unwrap();
        }
        assert_eq!(pool.insert(pending(u64::MAX, 1)), Err(Refused::Full));
        let other = signer(2, IdentityKind::Device, "operator");
        pool.insert(Pending { signer: other, ..pending(u64::MAX, 1) }).unwrap();
    }
}
