//! Epochs: which validators vote for which heights.
//!
//! A block is the last of its epoch when the state that its header commits to
//! has a membership of a later version than the epoch's own; the members of
//! that state are the validators of the next epoch, which begins with the next
//! height. Validators have waited for that state before they voted for the
//! block, so all of them see the end of an epoch in the same block, and a
//! stranger can be shown it ([`hufu_proof::Handover`]).
//!
//! What changes after that state and before the end is for the epoch after the
//! next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hufu_proof::membership::Seat;
use hufu_proof::{Genesis, Handover, Header, Height, Membership, Name, Standing, codec};
use hufu_store::limits::MAX_VALUE;
use hufu_store::{Space, Store};

use crate::error::MachineError;
use crate::reader::Reader;
use crate::{chain, key, tree};

/// A period in which one set of validators votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number, from 0.
    pub number: u64,
    /// Its first height; of epoch 0 that of the genesis block.
    pub first: Height,
    /// Who votes.
    pub membership: Membership,
}

/// The epochs as far as they are executed.
pub(crate) struct Epochs {
    /// By their numbers; there is always one.
    begun: RwLock<Vec<Arc<Epoch>>>,
    /// The newest membership's version.
    version: AtomicU64,
    /// How the epochs that are over ended, as far as somebody asked.
    handovers: RwLock<Vec<Handover>>,
}

impl Epochs {
    /// Those that a store knows of, whose applied height this is.
    pub(crate) fn load(
        store: &dyn Store,
        genesis: &Genesis,
        applied: Height,
    ) -> Result<Self, MachineError> {
        let founders = Membership::founders(genesis);
        let mut begun =
            vec![Arc::new(Epoch { number: 0, first: Height::ZERO, membership: founders })];
        begun.extend(later(store, applied, 1)?);
        let version = membership_at(store, applied)?.map_or(0, |newest| newest.version);
        Ok(Self {
            begun: RwLock::new(begun),
            version: AtomicU64::new(version),
            handovers: RwLock::default(),
        })
    }

    /// Takes in what a store knows of now that another process writes.
    pub(crate) fn catch_up(&self, store: &dyn Store, applied: Height) -> Result<(), MachineError> {
        let more = later(store, applied, self.begun().len())?;
        self.begun.write().unwrap_or_else(PoisonError::into_inner).extend(more);
        let version = membership_at(store, applied)?.map_or(0, |newest| newest.version);
        self.version.store(version, Ordering::Release);
        Ok(())
    }

    /// Records that the membership has changed.
    pub(crate) fn changed(&self, membership: &[u8]) -> Result<(), MachineError> {
        self.version.store(decode(membership)?.version, Ordering::Release);
        Ok(())
    }

    /// Records that an epoch begins.
    pub(crate) fn begin(&self, epoch: Epoch) {
        self.begun.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(epoch));
    }

    fn begun(&self) -> Vec<Arc<Epoch>> {
        self.begun.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The epochs of a store from the one with the number `known` on, which is not 0.
fn later(
    store: &dyn Store,
    applied: Height,
    known: usize,
) -> Result<Vec<Arc<Epoch>>, MachineError> {
    let mut later = Vec::new();
    for (number, first) in (1..).zip(chain::epochs(store)?).skip(known - 1) {
        // What was staged and not applied is executed again.
        if first > applied.next() {
            break;
        }
        let membership = match chain::handover(store, number)? {
            Some(handover) => handover.membership,
            None => {
                let last = before(store, first)?;
                let last = last.ok_or_else(|| MachineError::damaged("chain of headers"))?;
                let membership = membership_at(store, last.executed.height)?;
                membership.ok_or_else(|| MachineError::damaged("epochs"))?
            }
        };
        later.push(Arc::new(Epoch { number, first, membership }));
    }
    Ok(later)
}

/// The membership as of `height`, once it is not that of the founders.
pub(crate) fn membership_at(
    store: &dyn Store,
    height: Height,
) -> Result<Option<Membership>, MachineError> {
    store.read(Space::State, key::MEMBERSHIP, height.get())?.map(|value| decode(&value)).transpose()
}

/// The header before the first of an epoch.
fn before(store: &dyn Store, first: Height) -> Result<Option<Header>, MachineError> {
    first.previous().map_or(Ok(None), |last| chain::header(store, last))
}

fn decode(value: &[u8]) -> Result<Membership, MachineError> {
    codec::decode("membership", value, MAX_VALUE)
        .map_err(|error| MachineError::undecodable("record of the membership", error))
}

impl Reader {
    /// The epochs that have begun, by their numbers. The last one is that of
    /// the next height.
    pub fn epochs(&self) -> Vec<Arc<Epoch>> {
        self.shared().epochs.begun()
    }

    /// The epoch of the next height.
    pub fn epoch(&self) -> Arc<Epoch> {
        let begun = self.shared().epochs.begun.read().unwrap_or_else(PoisonError::into_inner);
        // There is always epoch 0.
        Arc::clone(&begun[begun.len() - 1])
    }

    /// The members as of the last executed height: those who vote, or will with
    /// the next epoch.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn membership(&self) -> Result<Membership, MachineError> {
        let changed = membership_at(self.store(), self.height()?)?;
        Ok(changed.unwrap_or_else(|| Membership::founders(self.genesis())))
    }

    /// The suspended members as of the last executed height: they follow and do not
    /// vote.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn suspended(&self) -> Result<Vec<Seat>, MachineError> {
        let state = self.state()?;
        let seat = |name: &Name| {
            let record = state.member_record(name)?;
            Ok(record.ok_or_else(|| MachineError::damaged("record of a member"))?.seat(name))
        };
        self.standings(state.height())?.that_are(Standing::Suspended).map(seat).collect()
    }

    /// Whether a block of `epoch` with this header is the last of the epoch. The
    /// height that the header commits to must be executed.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn is_last(&self, header: &Header, epoch: &Epoch) -> Result<bool, MachineError> {
        let version = epoch.membership.version;
        // As good as always: nobody has changed since the epoch began.
        if self.shared().epochs.version.load(Ordering::Acquire) == version {
            return Ok(false);
        }
        let then = membership_at(self.store(), header.executed.height)?;
        Ok(then.is_some_and(|then| then.version > version))
    }

    /// The epoch that begins after a block with this header, if it is the last
    /// of the present one.
    pub(crate) fn next_epoch(&self, header: &Header) -> Result<Option<Epoch>, MachineError> {
        let epoch = self.epoch();
        if !self.is_last(header, &epoch)? {
            return Ok(None);
        }
        let membership = membership_at(self.store(), header.executed.height)?;
        let membership = membership.ok_or_else(|| MachineError::damaged("membership"))?;
        Ok(Some(Epoch { number: epoch.number + 1, first: header.height.next(), membership }))
    }

    /// How the epochs before `epoch` ended; `None` while the certificate of a
    /// last header is missing, or when there was no such epoch.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn handovers(&self, epoch: u64) -> Result<Option<Vec<Handover>>, MachineError> {
        let Ok(count) = usize::try_from(epoch) else { return Ok(None) };
        let epochs = &self.shared().epochs;
        let mut known = epochs.handovers.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.len() < count {
            for next in self.epochs().iter().skip(known.len() + 1).take(count - known.len()) {
                let Some(handover) = self.handover(next)? else { return Ok(None) };
                known.push(handover);
            }
            let mut kept = epochs.handovers.write().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < known.len() {
                kept.clone_from(&known);
            }
        }
        if known.len() < count {
            return Ok(None);
        }
        known.truncate(count);
        Ok(Some(known))
    }

    /// How the epoch before `next` ended.
    fn handover(&self, next: &Epoch) -> Result<Option<Handover>, MachineError> {
        if let Some(kept) = chain::handover(self.store(), next.number)? {
            return Ok(Some(kept));
        }
        let header = before(self.store(), next.first)?;
        let header = header.ok_or_else(|| MachineError::damaged("header"))?;
        let Some(certificate) = self.finality(header.height)? else { return Ok(None) };
        let membership = next.membership.clone();
        let value = codec::encode(&membership);
        let path = tree::path(self.store(), header.executed.height, key::MEMBERSHIP, Some(&value))?;
        Ok(Some(Handover { header, certificate, membership, path }))
    }
}
