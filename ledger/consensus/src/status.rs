//! What the ordering layer says of itself.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A member's part in the votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participation {
    /// The member's name.
    pub member: String,
    /// The latest view in which a vote of the member was seen since this node
    /// started; `None` when there was none.
    ///
    /// Best effort: a member whose votes come late is seen late.
    pub last_view: Option<u64>,
    /// When a message of the member outside consensus last arrived; when there
    /// was none, as of this node itself, when this node began to listen. Each
    /// node sends everyone one every two seconds at least ([`crate::Gossip`]),
    /// so that one which is gone is told from one that waits in the same view
    /// because others are gone.
    pub last_heard: SystemTime,
}

/// A snapshot of the ordering layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The epoch.
    pub epoch: u64,
    /// The latest view of the epoch that is known to be finalized.
    pub view: u64,
    /// The latest height that is known to be final.
    pub final_height: u64,
    /// The latest height that the ledger has applied.
    pub applied_height: u64,
    /// When this validator was restored from a backup, milliseconds since 1970,
    /// while it waits for the ledger to move on before it votes again.
    pub restored_ms: Option<u64>,
    /// The members, in the order in which votes count them.
    pub members: Vec<Participation>,
}

/// Where the parts of the layer write what [`Status`] shows.
#[derive(Debug)]
pub(crate) struct Board(Mutex<Status>);

impl Board {
    pub(crate) fn new(
        epoch: u64,
        applied_height: u64,
        names: &[String],
        started: SystemTime,
        restored_ms: Option<u64>,
    ) -> Self {
        let members = names
            .iter()
            .map(|name| Participation {
                member: name.clone(),
                last_view: None,
                last_heard: started,
            })
            .collect();
        let (view, final_height) = (0, 0);
        Self(Mutex::new(Status { epoch, view, final_height, applied_height, restored_ms, members }))
    }

    pub(crate) fn saw_vote(&self, validator: usize, view: u64) {
        if let Some(member) = self.lock().members.get_mut(validator) {
            member.last_view = member.last_view.max(Some(view));
        }
    }

    pub(crate) fn heard(&self, validator: usize, now: SystemTime) {
        if let Some(member) = self.lock().members.get_mut(validator) {
            member.last_heard = now;
        }
    }

    pub(crate) fn saw_final(&self, epoch: u64, view: u64, height: u64) {
        let mut status = self.lock();
        // At the beginning of an epoch the last block is of the one before.
        if epoch == status.epoch {
            status.view = status.view.max(view);
        }
        status.final_height = status.final_height.max(height);
    }

    pub(crate) fn votes_again(&self) {
        self.lock().restored_ms = None;
    }

    pub(crate) fn applied(&self, height: u64) {
        let mut status = self.lock();
        status.applied_height = status.applied_height.max(height);
    }

    pub(crate) fn snapshot(&self) -> Status {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_another_epoch_do_not_count() {
        let board = Board::new(1, 100, &["one".to_owned()], SystemTime::UNIX_EPOCH, None);
        // The last block of the epoch before, when this one begins.
        board.saw_final(0, 300, 100);
        assert_eq!((board.snapshot().view, board.snapshot().final_height), (0, 100));
        board.saw_final(1, 2, 101);
        assert_eq!((board.snapshot().view, board.snapshot().final_height), (2, 101));
    }
}
