//! A store that is read beside the one that writes it, from any number of
//! processes: it takes no epoch and writes nothing.
//!
//! What it shows is as of the applied height that it last asked for
//! ([`crate::Store::refresh`]), so that everything that is read between two
//! questions is of one record.

use std::sync::PoisonError;

use crate::foundationdb::keys::{Keys, Memory};
use crate::foundationdb::session::Session;
use crate::foundationdb::{FoundationStore, Options, Purpose, applied_in, check_format, epoch_in};
use crate::{Applied, StoreError};

impl FoundationStore {
    /// Opens a store on a cluster to read it, beside whoever writes it.
    ///
    /// # Errors
    /// As [`Self::open`]; [`StoreError::NothingToRead`] when nobody has made the
    /// store yet.
    pub fn open_reader(options: &Options) -> Result<Self, StoreError> {
        Self::open_for(options, Purpose::Read)
    }

    /// The epoch of whoever may write the store, as the cluster has it now.
    ///
    /// # Errors
    /// [`StoreError`] when the cluster does not answer.
    pub fn epoch_now(&self) -> Result<u64, StoreError> {
        Ok(look(&self.session, &self.keys)?.0)
    }
}

impl FoundationStore {
    /// [`crate::Store::refresh`].
    pub(super) fn look_again(&self) -> Result<bool, StoreError> {
        if self.purpose != Purpose::Read {
            return Ok(false);
        }
        let (_, applied) = look(&self.session, &self.keys)?;
        let before = self.visible();
        let now = applied.as_ref().map(|applied| applied.height);
        if now < before {
            return Err(StoreError::WentBack { before: before.unwrap_or(0), now });
        }
        if now > before {
            // In this order: whoever sees the height reads in a later transaction.
            self.session.renew();
            *self.visible.write().unwrap_or_else(PoisonError::into_inner) = applied;
        }
        Ok(now > before)
    }
}

/// The epoch of whoever may write, and the applied height, as of now.
pub(super) fn look(session: &Session, keys: &Keys) -> Result<(u64, Option<Applied>), StoreError> {
    let (format, epoch, applied) = session.read_now(|transaction| {
        let get = |of| transaction.get(&keys.memory(of), true);
        let (format, epoch, applied) =
            (get(Memory::Format), get(Memory::Epoch), get(Memory::Applied));
        Ok((format.value()?, epoch.value()?, applied.value()?))
    })?;
    check_format(&format.ok_or(StoreError::NothingToRead)?)?;
    Ok((epoch_in(epoch)?, applied_in(applied)?))
}
