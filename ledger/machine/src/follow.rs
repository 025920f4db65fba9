//! Reading what a machine in another process executes, from the store that both
//! have: it executes and writes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hufu_proof::{Commitment, Genesis, Header, Height};
use hufu_store::Store;

use crate::error::MachineError;
use crate::kept;
use crate::machine::{check_consortium, genesis_block, tip};
use crate::reader::Reader;

/// What another process has executed, as of when it was last asked.
pub struct Follower {
    store: Arc<dyn Store>,
    reader: Reader,
    header: Header,
    commitment: Commitment,
}

impl Follower {
    /// Opens a store that another process writes.
    ///
    /// # Errors
    /// [`MachineError::Empty`] while nothing was executed in it;
    /// [`MachineError::OtherConsortium`]; what the store meets.
    pub fn open(store: Arc<dyn Store>, genesis: Genesis) -> Result<Self, MachineError> {
        genesis.check()?;
        let applied = store.applied()?.ok_or(MachineError::Empty)?;
        check_consortium(&*store, genesis_block(&genesis)?)?;
        let (header, commitment) = tip(&*store, &applied)?;
        let reader = Reader::new(Arc::clone(&store), Arc::new(genesis), Height(applied.height))?;
        Ok(Self { store, reader, header, commitment })
    }

    /// Reads what was executed.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// What the last executed height resulted in.
    pub fn applied(&self) -> Commitment {
        self.commitment
    }

    /// The last executed header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Asks what was executed since. Whether there is more than before; the reader
    /// shows it then.
    ///
    /// # Errors
    /// What the store meets; what was read before stays.
    pub fn refresh(&mut self) -> Result<bool, MachineError> {
        let more = self.store.refresh()?;
        let applied = self.store.applied()?.ok_or(MachineError::Empty)?;
        let height = Height(applied.height);
        // Also after a call that failed half way.
        let told = self.commitment.height == height;
        if !told {
            let (header, commitment) = tip(&*self.store, &applied)?;
            let shared = self.reader.shared();
            shared.epochs.catch_up(&*self.store, height)?;
            shared.accounts.forget();
            shared.seen.forget(height);
            shared.kept_from.store(kept::kept_from(&*self.store)?.get(), Ordering::Release);
            (self.header, self.commitment) = (header, commitment);
        }
        self.reader.look_for_certificates(height)?;
        Ok(more || !told)
    }
}
