//! Epochs: which height belongs to which, and who verifies its certificates.
//!
//! One engine votes for one epoch. The epoch's last block is for the ledger to
//! name ([`crate::Application::is_last`]); nothing is built on it before the
//! next epoch begins, for which the node is started anew. Delivery goes on over
//! all epochs, because their blocks are in one archive.
//!
//! Messages about votes carry the epoch they are for, and are dropped by nodes
//! in another one. A node that has missed the end of an epoch says in which one
//! it is ([`crate::gossip`]), is told where that ended, and fetches the
//! certificate of the last block; what it is told it verifies.

use std::sync::Arc;

use commonware_consensus::types::{Epoch, EpochInfo, Epocher, Height};
use commonware_cryptography::certificate::{Provider, Scoped};
use commonware_p2p::utils::mux::{Muxer, SubReceiver, SubSender};
use commonware_p2p::{Receiver, Sender};
use commonware_runtime::{Handle, Spawner};

use crate::error::Error;
use crate::keys::PublicKey;
use crate::scheme::VoteScheme;

/// The last heights of the epochs that are over; the present one has no end.
#[derive(Clone, Debug)]
pub(crate) struct Epochs(Arc<[Height]>);

impl Epochs {
    /// `ends` are ascending.
    pub(crate) fn new(ends: impl IntoIterator<Item = Height>) -> Self {
        Self(ends.into_iter().collect())
    }

    /// The present epoch.
    pub(crate) fn present(&self) -> Epoch {
        Epoch::new(self.0.len() as u64)
    }

    /// The last height of an epoch that is over.
    pub(crate) fn end(&self, epoch: Epoch) -> Option<Height> {
        self.0.get(usize::try_from(epoch.get()).ok()?).copied()
    }
}

impl Epocher for Epochs {
    fn containing(&self, height: Height) -> Option<EpochInfo> {
        let epoch = self.0.partition_point(|end| *end < height);
        let epoch = Epoch::new(epoch as u64);
        Some(EpochInfo::new(epoch, height, self.first(epoch)?, self.last(epoch)?))
    }

    fn first(&self, epoch: Epoch) -> Option<Height> {
        match epoch.previous() {
            None => Some(Height::zero()),
            Some(before) => self.end(before).map(Height::next),
        }
    }

    fn last(&self, epoch: Epoch) -> Option<Height> {
        if epoch == self.present() {
            return Some(Height::new(u64::MAX));
        }
        self.end(epoch)
    }
}

/// The validators of each epoch so far. Only the present one's can vote.
#[derive(Clone)]
pub(crate) struct Schemes(Arc<[Arc<VoteScheme>]>);

impl Schemes {
    pub(crate) fn new(past: impl IntoIterator<Item = VoteScheme>, present: VoteScheme) -> Self {
        Self(past.into_iter().chain([present]).map(Arc::new).collect())
    }
}

impl Provider for Schemes {
    type Scope = Epoch;
    type Scheme = VoteScheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<VoteScheme>> {
        let scheme = self.0.get(usize::try_from(epoch.get()).ok()?)?;
        Some(Scoped::scheme(scheme.clone()))
    }
}

/// A connection for the messages of one epoch.
pub(crate) type OfEpoch<S> = (SubSender<S>, SubReceiver<PublicKey>);

/// Lets only messages of `epoch` through.
pub(crate) async fn only<E, S, R>(
    context: E,
    epoch: Epoch,
    (sender, receiver): (S, R),
) -> Result<(OfEpoch<S>, Handle<()>), Error>
where
    E: Spawner,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let (muxer, mut handle) = Muxer::new(context.child("mux"), sender, receiver);
    let running = context.spawn(move |_| async move {
        // It ends with the network.
        let _ = muxer.run().await;
    });
    let link = handle.register(epoch.get()).await.map_err(|_| Error::Stopped)?;
    Ok((link, running))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_belong_to_epochs_without_a_gap() {
        let epochs = Epochs::new([10, 11, 20].map(Height::new));
        assert_eq!(epochs.present(), Epoch::new(3));
        let bounds = |height| {
            let info = epochs.containing(Height::new(height)).unwrap();
            (info.epoch().get(), info.first().get(), info.last().get())
        };
        assert_eq!(bounds(0), (0, 0, 10));
        assert_eq!(bounds(10), (0, 0, 10));
        assert_eq!(bounds(11), (1, 11, 11));
        assert_eq!(bounds(12), (2, 12, 20));
        assert_eq!(bounds(21), (3, 21, u64::MAX));
        assert_eq!(bounds(u64::MAX), (3, 21, u64::MAX));
        assert_eq!((epochs.first(Epoch::new(4)), epochs.last(Epoch::new(4))), (None, None));
        let only = Epochs::new([]);
        let info = only.containing(Height::new(7)).unwrap();
        assert_eq!((info.epoch().get(), info.first().get(), info.last().get()), (0, 0, u64::MAX));
    }
}
