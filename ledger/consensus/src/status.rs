//! What the ordering layer says of itself.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use commonware_consensus::types::{Epoch, View};
use hufu_proof::{Height, UnixMillis};

use crate::application::Round;
use crate::clock::{Clocks, Difference, Measurements};

/// A member's part in the votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participation {
    /// The member's name.
    pub member: String,
    /// Whether it is this node itself.
    pub own: bool,
    /// The latest view in which a vote of the member was seen since this node
    /// started, or of this node itself, in which it voted; `None` when there was
    /// none.
    ///
    /// Best effort: a member whose votes come late is seen late.
    pub last_view: Option<u64>,
    /// When a message of the member outside consensus last arrived; when there
    /// was none, as of this node itself, when this node began to listen. Each
    /// node sends everyone one every two seconds at least ([`crate::Gossip`]),
    /// so that one which is gone is told from one that waits in the same view
    /// because others are gone.
    pub last_heard: SystemTime,
    /// How its clock differs from this node's, where that is known; `None` of
    /// this node itself.
    pub clock: Option<Difference>,
}

/// This validator's data directory is older than what it has voted on, because
/// somebody put an older copy back; or its key votes elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WentBack {
    /// The height that was applied when this node started.
    pub started: Height,
    /// A height for which there is proof that it was here before, or that this
    /// validator's key voted for it.
    pub known: Height,
}

/// A snapshot of the ordering layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The epoch.
    pub epoch: u64,
    /// The latest view of the epoch that is known to be finalized.
    pub view: u64,
    /// The latest height that is known to be final.
    pub final_height: Height,
    /// The latest height that the ledger has applied.
    pub applied_height: Height,
    /// When this validator was restored from a backup, while it waits for the
    /// ledger to move on before it votes again.
    pub restored_ms: Option<UnixMillis>,
    /// Whether this node started from data that are older than its votes.
    pub went_back: Option<WentBack>,
    /// The members, in the order in which votes count them.
    pub members: Vec<Participation>,
}

impl Status {
    /// Whose clocks are wrong, as far as this node can tell.
    pub fn clocks(&self) -> Clocks {
        let others = self.members.iter().filter(|member| !member.own);
        Clocks::of(others.filter_map(|member| Some((member.member.as_str(), member.clock?))))
    }
}

/// What a [`Board`] begins with.
pub(crate) struct Beginning<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) applied_height: Height,
    /// The members, in the order in which votes count them.
    pub(crate) names: &'a [String],
    /// This node's own number among them.
    pub(crate) own: Option<usize>,
    pub(crate) started: SystemTime,
    pub(crate) restored_ms: Option<UnixMillis>,
}

/// Where the parts of the layer write what [`Status`] shows.
#[derive(Debug)]
pub(crate) struct Board(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    status: Status,
    /// By the validators' numbers.
    clocks: Vec<Measurements>,
}

impl Board {
    pub(crate) fn new(beginning: Beginning<'_>) -> Self {
        let Beginning { epoch, applied_height, names, own, started, restored_ms } = beginning;
        let members: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(number, member)| Participation {
                member: member.clone(),
                own: own == Some(number),
                last_view: None,
                last_heard: started,
                clock: None,
            })
            .collect();
        let clocks = members.iter().map(|_| Measurements::default()).collect();
        let status = Status {
            epoch: epoch.get(),
            view: 0,
            final_height: Height::ZERO,
            applied_height,
            restored_ms,
            went_back: None,
            members,
        };
        Self(Mutex::new(Inner { status, clocks }))
    }

    pub(crate) fn saw_vote(&self, validator: usize, view: View) {
        if let Some(member) = self.lock().status.members.get_mut(validator) {
            member.last_view = member.last_view.max(Some(view.get()));
        }
    }

    pub(crate) fn heard(&self, validator: usize, now: SystemTime) {
        if let Some(member) = self.lock().status.members.get_mut(validator) {
            member.last_heard = now;
        }
    }

    /// Everyone was asked for the time.
    pub(crate) fn asked_for_time(&self) {
        self.lock().clocks.iter_mut().for_each(Measurements::asked);
    }

    pub(crate) fn told_time(&self, validator: usize, difference: Difference) {
        if let Some(clock) = self.lock().clocks.get_mut(validator) {
            clock.answered(difference);
        }
    }

    pub(crate) fn saw_final(&self, round: Round, height: Height) {
        let status = &mut self.lock().status;
        // At the beginning of an epoch the last block is of the one before.
        if round.epoch == status.epoch {
            status.view = status.view.max(round.view);
        }
        status.final_height = status.final_height.max(height);
    }

    /// The latest round of the present epoch that is known to be finalized.
    pub(crate) fn finalized(&self) -> Round {
        let status = &self.lock().status;
        Round { epoch: status.epoch, view: status.view }
    }

    pub(crate) fn votes_again(&self) {
        self.lock().status.restored_ms = None;
    }

    /// Whether this validator waits after a restore.
    pub(crate) fn waits(&self) -> bool {
        self.lock().status.restored_ms.is_some()
    }

    /// Notes the highest height that shows that the data went back; says so when
    /// it is the first.
    pub(crate) fn went_back(&self, found: WentBack) {
        let noted = &mut self.lock().status.went_back;
        if noted.is_none() {
            tracing::warn!(
                started = found.started.get(),
                known = found.known.get(),
                "this node's data directory is older than what its validator has voted on, as when \
                 an older copy was put back; it catches up. If nobody did that, see that its vote \
                 key is used by no other machine"
            );
        }
        if noted.is_none_or(|noted| noted.known < found.known) {
            *noted = Some(found);
        }
    }

    pub(crate) fn applied(&self, height: Height) {
        let status = &mut self.lock().status;
        status.applied_height = status.applied_height.max(height);
    }

    pub(crate) fn snapshot(&self) -> Status {
        let inner = self.lock();
        let mut status = inner.status.clone();
        for (member, clock) in status.members.iter_mut().zip(&inner.clocks) {
            member.clock = clock.best().filter(|_| !member.own);
        }
        status
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_another_epoch_do_not_count() {
        let board = Board::new(Beginning {
            epoch: Epoch::new(1),
            applied_height: Height(100),
            names: &["one".to_owned()],
            own: Some(0),
            started: SystemTime::UNIX_EPOCH,
            restored_ms: None,
        });
        // The last block of the epoch before, when this one begins.
        board.saw_final(Round { epoch: 0, view: 300 }, Height(100));
        assert_eq!((board.snapshot().view, board.snapshot().final_height), (0, Height(100)));
        board.saw_final(Round { epoch: 1, view: 2 }, Height(101));
        assert_eq!((board.snapshot().view, board.snapshot().final_height), (2, Height(101)));
    }
}
