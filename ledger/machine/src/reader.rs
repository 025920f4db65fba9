//! Reading what was executed, from any thread, while the machine goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hufu_contract::Contract;
use hufu_proof::ancestry::MAX_DESCENDANTS;
use hufu_proof::state::StateProof;
use hufu_proof::{
    Block, Commitment, Digest, FinalityCertificate, FinalityProof, Genesis, Header, Height,
    LogEntry, LogIndex, Outcome, Receipt, Transaction,
};
use hufu_store::{Space, Store};

use crate::accounts::Accounts;
use crate::chain;
use crate::contracts::Contracts;
use crate::epoch::Epochs;
use crate::error::MachineError;
use crate::event::Event;
use crate::index;
use crate::kept::Held;
use crate::log::LogReader;
use crate::seen::Seen;
use crate::state::View;
use crate::{kept, told, tree};

/// How far back the newest certificate of finality is looked for when a machine
/// is opened.
const CERTIFIED_WITHIN: u64 = 4_096;

/// Headers beyond a height among which the first is looked for that commits to it.
const NEAR: u64 = 8;

/// A height that no certificate was seen for.
const NONE: u64 = u64::MAX;

/// Reads everything that was executed. Cheap to clone; every clone sees each
/// height as soon as it is durable.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) contracts: Arc<Contracts>,
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) chain: Digest,
    pub(crate) epochs: Epochs,
    pub(crate) accounts: Accounts,
    pub(crate) seen: Seen,
    /// The newest height with a certificate of finality.
    certified: AtomicU64,
    /// The earliest height that is kept.
    pub(crate) kept_from: Arc<AtomicU64>,
    /// What does not leave because somebody takes it.
    pub(crate) held: Held,
    /// The height of the snapshot that the record begins with.
    snapshot: Option<Height>,
}

/// A transaction and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The transaction.
    pub transaction: Transaction,
    /// What became of it.
    pub entry: LogEntry,
    /// Its place in the log.
    pub log_index: LogIndex,
}

/// All that a read model is told of a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The block.
    pub block: Arc<Block>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

impl Reader {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        genesis: Arc<Genesis>,
        applied: Height,
    ) -> Result<Self, MachineError> {
        let certified = chain::last_certified(&*store, applied, CERTIFIED_WITHIN)?;
        let chain = genesis.digest();
        let epochs = Epochs::load(&*store, &genesis, applied)?;
        let kept_from = kept::kept_from(&*store)?;
        let snapshot = chain::snapshot(&*store)?;
        let shared = Shared {
            store,
            contracts: Arc::default(),
            genesis,
            chain,
            epochs,
            accounts: Accounts::default(),
            seen: Seen::new(applied),
            certified: AtomicU64::new(certified.map_or(NONE, Height::get)),
            kept_from: Arc::new(AtomicU64::new(kept_from.get())),
            held: Held::default(),
            snapshot,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.shared.store
    }

    /// What the founders agreed on.
    pub fn genesis(&self) -> &Genesis {
        &self.shared.genesis
    }

    /// Its digest, which every header and transaction names.
    pub fn chain(&self) -> Digest {
        self.shared.chain
    }

    /// The last executed height.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn height(&self) -> Result<Height, MachineError> {
        let applied = self.store().applied()?;
        Ok(applied.map_or(Height::ZERO, |applied| Height(applied.height)))
    }

    /// What executing every block up to `height` resulted in.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn commitment(&self, height: Height) -> Result<Option<Commitment>, MachineError> {
        chain::commitment(self.store(), height)
    }

    /// The header of `height`.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn header(&self, height: Height) -> Result<Option<Header>, MachineError> {
        chain::header(self.store(), height)
    }

    /// The block of `height`.
    ///
    /// # Errors
    /// [`MachineError::Pruned`] when it is not kept any more; what the store meets.
    pub fn block(&self, height: Height) -> Result<Option<Block>, MachineError> {
        self.kept(height, chain::block(self.store(), height))
    }

    /// What was found of `height`; that it is not kept, where it is not there for
    /// that reason.
    fn kept<T>(
        &self,
        height: Height,
        found: Result<Option<T>, MachineError>,
    ) -> Result<Option<T>, MachineError> {
        match found {
            Ok(Some(found)) => Ok(Some(found)),
            // A body may be half gone.
            missing => self.check_kept(height).and(missing),
        }
    }

    /// The certificate of finality of `height`, where one was given.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn finality(&self, height: Height) -> Result<Option<FinalityCertificate>, MachineError> {
        chain::finality(self.store(), height)
    }

    /// The newest height that a certificate of finality was given for, among
    /// the last few thousand.
    pub fn certified(&self) -> Option<Height> {
        let known = self.shared.certified.load(Ordering::Acquire);
        (known != NONE).then_some(Height(known))
    }

    /// Sees whether there are newer certificates of finality than those known, where
    /// another process attaches them.
    pub(crate) fn look_for_certificates(&self, applied: Height) -> Result<(), MachineError> {
        let known = self.certified();
        if known.is_some_and(|known| known >= applied) {
            return Ok(());
        }
        let within = known.map_or(CERTIFIED_WITHIN, |known| applied.since(known));
        if let Some(found) = chain::last_certified(self.store(), applied, within)? {
            self.shared.certified.store(found.get(), Ordering::Release);
        }
        Ok(())
    }

    /// Attaches the certificate of finality of an executed height. Its votes
    /// are for the caller to have verified.
    ///
    /// # Errors
    /// [`MachineError::OtherBlock`] when it is of another block, or what the
    /// store meets; a height that is not executed yet is refused by the store.
    pub fn put_finality(
        &self,
        height: Height,
        certificate: &FinalityCertificate,
    ) -> Result<(), MachineError> {
        if let Some(header) = self.header(height)? {
            let expected = header.digest();
            if expected != certificate.block {
                let found = certificate.block;
                return Err(MachineError::OtherBlock { height, found, expected });
            }
        }
        self.store().attach(height.get(), vec![chain::finality_write(height, certificate)])?;
        let newer = |known: u64| (known == NONE || known < height.get()).then_some(height.get());
        let _ = self.shared.certified.fetch_update(Ordering::AcqRel, Ordering::Acquire, newer);
        Ok(())
    }

    /// The state as of `height`.
    ///
    /// # Errors
    /// [`MachineError::NotExecuted`] when the height is not executed yet,
    /// [`MachineError::Pruned`] when it is not kept any more; what the store meets.
    pub fn state_at(&self, height: Height) -> Result<View, MachineError> {
        let executed = self.height()?;
        if height > executed {
            return Err(MachineError::NotExecuted { height, executed });
        }
        self.check_kept(height)?;
        Ok(self.view(height))
    }

    pub(crate) fn view(&self, height: Height) -> View {
        let Shared { store, contracts, kept_from, .. } = &*self.shared;
        View::new(Arc::clone(store), Arc::clone(contracts), Arc::clone(kept_from), height)
    }

    /// The state as of the last executed height.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn state(&self) -> Result<View, MachineError> {
        Ok(self.view(self.height()?))
    }

    /// The package of a deployed contract, in its canonical encoding.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn package(&self, digest: &Digest) -> Result<Option<Vec<u8>>, MachineError> {
        Ok(crate::contracts::package(self.store(), digest)?)
    }

    /// The contract of a deployed package, active or not, compiled against the
    /// packages that it was deployed with.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn compiled_package(&self, digest: &Digest) -> Result<Option<Arc<Contract>>, MachineError> {
        self.shared.contracts.find(self.store(), digest)
    }

    /// A proposal, whatever became of it.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn proposal(
        &self,
        digest: &Digest,
    ) -> Result<Option<hufu_proof::transaction::Proposal>, MachineError> {
        crate::contracts::proposal(self.store(), digest)
    }

    /// What became of a transaction, without reading the transaction.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn entry(&self, id: &Digest) -> Result<Option<(LogIndex, LogEntry)>, MachineError> {
        let seen = &self.shared.seen;
        if seen.is_absent(id) {
            return Ok(None);
        }
        let height = self.height()?;
        let Some(place) = index::read(self.store(), id, u64::MAX)? else {
            seen.absent(*id, height);
            return Ok(None);
        };
        Ok(Some((place.log_index, place.entry(*id))))
    }

    /// A transaction and where it is. Of a transaction that was recorded more
    /// than once, the first record whose signature was good.
    ///
    /// # Errors
    /// [`MachineError::Pruned`] when it is not kept any more; what the store meets.
    pub fn transaction(&self, id: &Digest) -> Result<Option<Found>, MachineError> {
        let Some(place) = index::read(self.store(), id, u64::MAX)? else { return Ok(None) };
        let entry = place.entry(*id);
        let found = chain::transaction(self.store(), place.height, place.offset, place.length);
        let found = self.kept(place.height, found.map(Some))?;
        Ok(found.map(|transaction| Found { transaction, entry, log_index: place.log_index }))
    }

    /// Entries `begin..end` of the log, which must be executed. Reads the blocks
    /// that they are of.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails or does not have them.
    pub fn entries(&self, begin: LogIndex, end: LogIndex) -> Result<Vec<LogEntry>, MachineError> {
        let damaged = || MachineError::damaged("transaction log");
        let mut entries = Vec::new();
        let mut block: Option<Block> = None;
        for (first, run) in LogReader::new(self.store(), end.get()).runs(begin.get(), end.get())? {
            if block.as_ref().is_none_or(|block| block.header.height != run.height) {
                block = self.block(run.height)?;
            }
            let block = block.as_ref().ok_or_else(damaged)?;
            let transactions = block.transactions.get(run.index as usize..).ok_or_else(damaged)?;
            let places = (first..end.get()).zip(run.index..).zip(transactions).zip(run.entries);
            for (((at, index), transaction), (outcome, leaf)) in places {
                if at < begin.get() {
                    continue;
                }
                let transaction = transaction.id();
                let entry = LogEntry { transaction, height: run.height, index, outcome };
                if entry.leaf() != leaf {
                    return Err(damaged());
                }
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Hashes `begin..begin + width` of level 8 × `level` of the log: a tile of
    /// c2sp.org/tlog-tiles, where `begin` is a multiple of 256 and `width` at most
    /// 256. `None` when the log does not have them all.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn tile(
        &self,
        level: u8,
        begin: u64,
        width: u64,
    ) -> Result<Option<Vec<Digest>>, MachineError> {
        let known = self.commitment(self.height()?)?.map_or(0, |commitment| commitment.log_size);
        LogReader::new(self.store(), known).tile(level, begin, width)
    }

    /// The hashes of the complete subtrees that the log of `log_size` entries consists of,
    /// the largest first: with the entries after them, all that is needed to make paths of
    /// those. `log_size` entries must be executed.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails or does not have them.
    pub fn log_subtrees(&self, log_size: u64) -> Result<Vec<Digest>, MachineError> {
        LogReader::new(self.store(), log_size).subtrees()
    }

    /// The inclusion path of log entry `log_index` in the log of `log_size`
    /// entries; `None` when the log never had that size or the entry is not in
    /// it.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn log_path(
        &self,
        log_index: LogIndex,
        log_size: u64,
    ) -> Result<Option<Vec<Digest>>, MachineError> {
        let known = self.commitment(self.height()?)?.map_or(0, |commitment| commitment.log_size);
        if log_index.get() >= log_size || log_size > known {
            return Ok(None);
        }
        LogReader::new(self.store(), log_size).path(log_index).map(Some)
    }

    /// The first header that commits to `height` or a later one, with the proof
    /// that it is final. `None` while there is none: a height is committed to a
    /// few heights later.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn anchor(&self, height: Height) -> Result<Option<(Header, FinalityProof)>, MachineError> {
        let newest = self.height()?;
        let Some(first) = self.first_committing(height, newest)? else { return Ok(None) };
        let Some(header) = self.header(first)? else { return Ok(None) };
        let proof = self.finality_proof(&header)?;
        Ok(proof.map(|proof| (header, proof)))
    }

    /// The newest header that has a certificate of its own, and the proof.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn latest_anchor(&self) -> Result<Option<(Header, FinalityProof)>, MachineError> {
        let Some(height) = self.certified() else { return Ok(None) };
        let Some(header) = self.header(height)? else { return Ok(None) };
        let proof = self.finality_proof(&header)?;
        Ok(proof.map(|proof| (header, proof)))
    }

    /// The first height whose header commits to `height` or a later one.
    fn first_committing(
        &self,
        height: Height,
        newest: Height,
    ) -> Result<Option<Height>, MachineError> {
        // Headers commit to ever later heights, so this is a binary search.
        let commits = |at: Height| -> Result<bool, MachineError> {
            let header = self.header(at)?.ok_or_else(|| MachineError::damaged("header"))?;
            Ok(header.executed.height >= height)
        };
        let mut low = height.min(newest);
        // Most often it is among the next few: one range has them.
        let near = chain::headers(self.store(), low, low.plus(NEAR).min(newest).next())?;
        if let Some(found) = near.iter().find(|header| header.executed.height >= height) {
            return Ok(Some(found.height));
        }
        let Some(last) = near.last().filter(|last| last.height != newest) else { return Ok(None) };
        low = last.height.next();
        let mut step = NEAR;
        let mut high = low;
        loop {
            if commits(high)? {
                break;
            }
            if high == newest {
                return Ok(None);
            }
            low = high.next();
            high = high.plus(step).min(newest);
            step *= 2;
        }
        while low < high {
            let middle = low.plus(high.since(low) / 2);
            if commits(middle)? {
                high = middle;
            } else {
                low = middle.next();
            }
        }
        Ok(Some(high))
    }

    /// The proof that an executed header is final: the first certificate at or
    /// after it and the headers between. The genesis block is never voted on;
    /// its descendants prove it.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn finality_proof(&self, header: &Header) -> Result<Option<FinalityProof>, MachineError> {
        let Some((height, certificate)) = chain::next_finality(self.store(), header.height)? else {
            return Ok(None);
        };
        if height.since(header.height) > MAX_DESCENDANTS as u64 {
            return Ok(None);
        }
        let descendants = chain::headers(self.store(), header.height.next(), height.next())?;
        let Some(handovers) = self.handovers(certificate.epoch)? else { return Ok(None) };
        Ok(Some(FinalityProof { descendants, certificate, handovers }))
    }

    /// The receipt of a transaction, once a final header covers it.
    ///
    /// # Errors
    /// [`MachineError::Pruned`] when the transaction is not kept any more; what the
    /// store meets.
    pub fn receipt(&self, id: &Digest) -> Result<Option<Receipt>, MachineError> {
        match self.transaction(id)? {
            Some(found) => self.receipt_of(found),
            None => Ok(None),
        }
    }

    /// The receipt of a transaction whose body came from elsewhere, as from an
    /// archive: who takes it verifies that it is the one that was recorded.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn receipt_of(&self, found: Found) -> Result<Option<Receipt>, MachineError> {
        let Found { transaction, entry, log_index } = found;
        let Some((header, finality)) = self.anchor(entry.height)? else { return Ok(None) };
        let Some(log_path) = self.log_path(log_index, header.executed.log_size)? else {
            return Ok(None);
        };
        Ok(Some(Receipt { transaction, entry, log_index, log_path, header, finality }))
    }

    /// The proof of what `key` held, or that it held nothing, as of the first
    /// height at or after `height` that a final header commits to. Which height
    /// that is stands in the proof's header.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn state_proof(
        &self,
        key: &[u8],
        height: Height,
    ) -> Result<Option<StateProof>, MachineError> {
        let Some((header, finality)) = self.anchor(height)? else { return Ok(None) };
        self.state_proof_by(key, header, finality).map(Some)
    }

    /// The proof of what `key` held as of the newest height that a certified
    /// header commits to.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn latest_state_proof(&self, key: &[u8]) -> Result<Option<StateProof>, MachineError> {
        let Some((header, finality)) = self.latest_anchor()? else { return Ok(None) };
        self.state_proof_by(key, header, finality).map(Some)
    }

    fn state_proof_by(
        &self,
        key: &[u8],
        header: Header,
        finality: FinalityProof,
    ) -> Result<StateProof, MachineError> {
        let version = header.executed.height;
        let value = self.store().read(Space::State, key, version.get())?;
        let path = tree::path(self.store(), version, key, value.as_deref());
        // Looked at afterwards: what is read may leave meanwhile.
        self.check_kept(version)?;
        let path = path?;
        Ok(StateProof { key: key.to_vec(), value, path, header, finality })
    }

    /// The height of the snapshot that this record began with; `None` where every block
    /// was executed here.
    pub fn snapshot(&self) -> Option<Height> {
        self.shared.snapshot
    }

    /// All that a read model is told of an executed height.
    ///
    /// # Errors
    /// [`MachineError::Pruned`] when it is not kept any more; what the store meets.
    pub fn replay(&self, height: Height) -> Result<Option<Replay>, MachineError> {
        // Of what a snapshot has, nobody was told here.
        if let Some(snapshot) = self.shared.snapshot.filter(|snapshot| height <= *snapshot) {
            return Err(MachineError::Pruned { height, kept_from: snapshot.next() });
        }
        let Some(block) = self.block(height)? else { return Ok(None) };
        let damaged = || MachineError::damaged(format!("events of height {height}"));
        let told = self.kept(height, chain::told(self.store(), height))?.ok_or_else(damaged)?;
        let size = |at| Ok::<_, MachineError>(self.commitment(at)?.ok_or_else(damaged)?.log_size);
        let end = size(height)?;
        let begin = height.previous().map_or(Ok(0), size)?;
        let runs = LogReader::new(self.store(), end).runs(begin, end)?;
        let outcomes = runs.into_iter().flat_map(|(_, run)| run.entries);
        let outcomes: Vec<Outcome> = outcomes.map(|(outcome, _)| outcome).collect();
        let events = told::decode(&told, &block, LogIndex(begin), &outcomes)?;
        Ok(Some(Replay { block: Arc::new(block), events }))
    }
}
