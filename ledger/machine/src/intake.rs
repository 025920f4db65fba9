//! What may be in a block: what somebody known can be charged for.
//!
//! The state that counts is the one that the block's header commits to: every
//! validator has executed that height before it votes, so all of them judge
//! alike, however far each has come. As of that height
//! - the signer of each transaction is registered, of a member in good standing,
//!   and active at the block's time;
//! - what the block adds leaves each identity and each member within its budget
//!   and its quotas of the day and the second of the block.
//!
//! A block that breaks this is not voted for ([`Reader::uncharged`]). What
//! happens between that height and the block (a revocation, what blocks in
//! between use) is found when it is executed, and the transaction, whose signer
//! is known, is recorded as refused and charged.

use std::sync::Arc;

use hufu_proof::{Block, Budget, Constitution, Height, IdentityId, Outcome, Quotas, UnixMillis};

use crate::accounts::{Account, Load, Tally};
use crate::error::MachineError;
use crate::reader::Reader;
use crate::record::{IdentityRecord, Standings};

impl Reader {
    /// What is recorded of a signer as of a height that was executed.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn signer(
        &self,
        identity: &IdentityId,
        height: Height,
    ) -> Result<Option<Arc<IdentityRecord>>, MachineError> {
        self.shared().accounts.identity(self.store(), identity, height)
    }

    /// How members stand as of a height that was executed.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn standings(&self, height: Height) -> Result<Arc<Standings>, MachineError> {
        self.shared().accounts.standings(self.store(), height)
    }

    /// The constitution that is in force for the block after a height that was
    /// executed.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn constitution(&self, height: Height) -> Result<Constitution, MachineError> {
        let amendments = self.view(height).amendments()?;
        Ok(amendments.at(height.next()).unwrap_or(&self.genesis().constitution).clone())
    }

    /// What may be recorded in a day, as of a height that was executed.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn budget(&self, height: Height) -> Result<Budget, MachineError> {
        self.shared().accounts.budget(self.store(), height)
    }

    /// What else limits what may be recorded, as of a height that was executed.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn quotas(&self, height: Height) -> Result<Quotas, MachineError> {
        self.shared().accounts.quotas(self.store(), height)
    }

    /// Bytes that an account has used on the day of a block time, as of a height
    /// that was executed.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn used(
        &self,
        account: &Account,
        height: Height,
        time_ms: UnixMillis,
    ) -> Result<u64, MachineError> {
        Ok(self.shared().accounts.usage(self.store(), account, height)?.at(time_ms).bytes())
    }

    /// A tally of the day of a block time, on top of what was used as of a height
    /// that was executed.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn tally(&self, height: Height, time_ms: UnixMillis) -> Result<Tally<'_>, MachineError> {
        Tally::new(&self.shared().accounts, self.store(), height, time_ms)
    }

    /// The first transaction of a block that may not be in it, because nobody
    /// can be charged for it, and what is wrong. The height that the block's
    /// header commits to must be executed; `sizes` are the encoded sizes of the
    /// transactions in bytes.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn uncharged(
        &self,
        block: &Block,
        sizes: &[usize],
    ) -> Result<Option<(usize, Outcome)>, MachineError> {
        let (height, time_ms) = (block.header.executed.height, block.header.time_ms);
        let mut tally = self.tally(height, time_ms)?;
        let standings = self.standings(height)?;
        for (index, (transaction, size)) in block.transactions.iter().zip(sizes).enumerate() {
            let identity = transaction.body.signer.identity();
            let Some(record) = self.signer(&identity, height)? else {
                return Ok(Some((index, Outcome::UnknownSigner)));
            };
            if let Some(outcome) = standings.refusal(&record.owner) {
                return Ok(Some((index, outcome)));
            }
            if !record.is_active_at(time_ms) {
                return Ok(Some((index, Outcome::InactiveSigner)));
            }
            let size = *size as u64;
            let load = Load::one(size);
            if tally.over(&identity, &record, load, load)?.is_some() {
                return Ok(Some((index, Outcome::OverBudget)));
            }
            tally.charge(&identity, &record, size)?;
        }
        Ok(None)
    }
}
