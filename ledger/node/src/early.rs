//! Transactions that came before their signer.
//!
//! A node that has executed the block with a new certificate passes on what its
//! holder sends at once; a node that is a block behind does not know the signer
//! yet. It keeps such a transaction for a few heights instead of refusing it.
//! Only validators pass transactions on, and what they make a node keep is
//! bounded.

use std::collections::VecDeque;

use hufu_proof::{Height, Transaction, codec};

/// How many heights a signer is waited for.
const HEIGHTS: u64 = 8;
/// Most transactions kept.
const MAX_TRANSACTIONS: usize = 1024;
/// Most bytes of them.
const MAX_BYTES: usize = 4 * 1024 * 1024;

struct Waiting {
    transaction: Transaction,
    size: usize,
    /// The applied height when it came.
    since: Height,
}

/// Transactions whose signers are not known yet.
#[derive(Default)]
pub(crate) struct Early {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Early {
    /// Keeps a transaction that came when `since` was applied; the oldest give
    /// way.
    pub(crate) fn keep(&mut self, transaction: Transaction, since: Height) {
        let size = codec::encode(&transaction).len();
        self.bytes += size;
        self.waiting.push_back(Waiting { transaction, size, since });
        while self.waiting.len() > MAX_TRANSACTIONS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.size;
        }
    }

    /// Whether something waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes everything out that has not waited too long, with the heights at
    /// which it came; now `applied` is applied.
    pub(crate) fn take(&mut self, applied: Height) -> Vec<(Transaction, Height)> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
            .into_iter()
            .filter(|one| applied <= one.since.plus(HEIGHTS))
            .map(|one| (one.transaction, one.since))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_proof::{Algorithm, Body, Digest, Payload, PublicKey, Signature};

    fn transaction(nonce: u64) -> Transaction {
        Transaction {
            body: Body {
                chain: Digest::default(),
                signer: PublicKey::new(Algorithm::Ed25519, &[1; 32]).unwrap(),
                nonce,
                expires: Height(9),
                payload: Payload::Approve(Digest::default()),
            },
            signature: Signature::new(Algorithm::Ed25519, &[3; 64]).unwrap(),
        }
    }

    #[test]
    fn the_number_and_the_time_are_bounded() {
        let mut early = Early::default();
        for nonce in 0..2 * MAX_TRANSACTIONS as u64 {
            early.keep(transaction(nonce), Height(100));
        }
        early.keep(transaction(u64::MAX), Height(105));
        let kept = early.take(Height(100 + HEIGHTS));
        assert_eq!(kept.len(), MAX_TRANSACTIONS);
        assert_eq!(kept[0].0.body.nonce, MAX_TRANSACTIONS as u64 + 1);
        assert!(early.is_empty());
        for (transaction, since) in kept {
            early.keep(transaction, since);
        }
        let kept = early.take(Height(101 + HEIGHTS));
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].1, Height(105));
    }
}
