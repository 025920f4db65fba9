//! Admitted transactions that wait for a block, in the order of their arrival.
//!
//! What is in here has a good signature. Bounded in number and bytes: when it is
//! full, admission says so and the sender tries again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hufu_proof::{Digest, Transaction};

/// Most transactions that wait.
pub const MAX_TRANSACTIONS: usize = 200_000;
/// Most bytes that wait.
pub const MAX_BYTES: usize = 256 * 1024 * 1024;

/// A transaction that waits, with what was worked out once.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its identifier.
    pub id: Digest,
    /// Its encoded size in bytes.
    pub size: usize,
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
        if self.arrivals.len() >= MAX_TRANSACTIONS || self.bytes + pending.size > MAX_BYTES {
            return Err(Refused::Full);
        }
        self.bytes += pending.size;
        self.places.insert(pending.id, self.next);
        self.arrivals.insert(self.next, pending);
        self.next += 1;
        Ok(())
    }

    /// The transaction with this identifier.
    pub fn get(&self, id: &Digest) -> Option<&Pending> {
        self.arrivals.get(self.places.get(id)?)
    }

    /// Takes a transaction out.
    pub fn remove(&mut self, id: &Digest) {
        if let Some(pending) = self.places.remove(id).and_then(|place| self.arrivals.remove(&place))
        {
            self.bytes -= pending.size;
        }
    }

    /// Takes out what may not be in a block after `height`; which.
    pub fn expire(&mut self, height: u64) -> Vec<Digest> {
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

    /// The oldest transactions but those that `skip` names, up to `count` and
    /// `bytes`.
    pub fn oldest(
        &self,
        count: usize,
        bytes: usize,
        skip: impl Fn(&Digest) -> bool,
    ) -> Vec<Pending> {
        let mut chosen = Vec::new();
        let mut size = 0;
        for pending in self.arrivals.values() {
            if chosen.len() == count {
                break;
            }
            if skip(&pending.id) {
                continue;
            }
            // In order: a large one is not passed by smaller ones for ever.
            if size + pending.size > bytes {
                break;
            }
            size += pending.size;
            chosen.push(pending.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_proof::transaction::Payload;
    use hufu_proof::{Algorithm, Body, PublicKey, Signature};

    fn pending(nonce: u64, size: usize) -> Pending {
        let transaction = Transaction {
            body: Body {
                chain: Digest::default(),
                signer: PublicKey::new(Algorithm::Ed25519, &[1; 32]).unwrap(),
                nonce,
                expires: nonce,
                payload: Payload::Approve(Digest::default()),
            },
            signature: Signature::new(Algorithm::Ed25519, &[0; 64]).unwrap(),
        };
        Pending { id: transaction.id(), size, transaction: Arc::new(transaction) }
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
        assert_eq!(nonces(pool.oldest(3, 1000, |_| false)), [1, 2, 3]);
        assert_eq!(nonces(pool.oldest(9, 250, |_| false)), [1, 2]);
        let second = pending(2, 0).id;
        assert_eq!(nonces(pool.oldest(2, 1000, |id| *id == second)), [1, 3]);
        pool.remove(&second);
        assert_eq!(pool.bytes(), 400);
        assert_eq!(pool.expire(3).len(), 2);
        assert_eq!(nonces(pool.oldest(9, 1000, |_| false)), [4, 5]);
        assert_eq!(pool.insert(pending(9, MAX_BYTES)), Err(Refused::Full));
        assert_eq!((pool.len(), pool.bytes()), (2, 200));
    }
}
