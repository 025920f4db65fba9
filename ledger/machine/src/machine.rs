//! The machine itself: one block after another.

use std::collections::BTreeMap;
use std::sync::Arc;

use hufu_proof::block::HEADER_VERSION;
use hufu_proof::{Block, Commitment, Digest, Genesis, Header, Height, LogEntry, LogIndex, codec};
use hufu_store::{Applied, Space, Store, Write};

use crate::encoded::{self, EncodedBlock};
use crate::epoch::Epoch;
use crate::error::MachineError;
use crate::event::Event;
use crate::execute::{Changes, Execution, Ground, StateCache, state_cache};
use crate::log::Log;
use crate::members::{Form, identity_record, member_record};
use crate::prefetch::prefetch;
use crate::reader::{Reader, Shared};
use crate::tree::{self, NodeCache, node_cache};
use crate::{chain, key, revoked, told};

/// What executing a block resulted in, after it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The block's digest.
    pub digest: Digest,
    /// What every block up to it resulted in.
    pub commitment: Commitment,
    /// What became of its transactions, in their order.
    pub entries: Vec<LogEntry>,
    /// Place of the first entry in the log.
    pub first_log_index: LogIndex,
    /// What read models are told.
    pub events: Vec<Event>,
}

/// The deterministic state machine over a store.
///
/// There is one; it executes finalized blocks in order. Reading goes through
/// [`Machine::reader`], from any thread.
pub struct Machine {
    reader: Reader,
    genesis_block: Block,
    /// The last executed header, with its digest.
    header: Header,
    digest: Digest,
    commitment: Commitment,
    log: Log,
    cache: StateCache,
    nodes: NodeCache,
    /// What was staged, of which the store did not say whether it is visible.
    unsettled: Option<Computed>,
    poisoned: bool,
}

impl Machine {
    /// Opens the machine on `store`; executes the genesis block if the store is
    /// empty.
    ///
    /// # Errors
    /// [`MachineError`]; a store of another consortium, or whose tree or log
    /// does not fit its commitment, is refused.
    pub fn open(store: Arc<dyn Store>, genesis: Genesis) -> Result<Self, MachineError> {
        genesis.check()?;
        let start = Start::of(&genesis)?;
        let genesis_digest = start.block.digest();
        if store.applied()?.is_none() {
            start.write(&*store)?;
        }
        let applied = store.applied()?.ok_or_else(|| MachineError::damaged("applied height"))?;
        check_consortium(&*store, genesis_digest)?;
        let (header, commitment) = tip(&*store, &applied)?;
        let (height, digest) = (commitment.height, header.digest());
        if tree::root(&*store, height)? != commitment.state_root {
            return Err(MachineError::damaged("state tree"));
        }
        let log = Log::open(&*store, commitment.log_size)?;
        if log.root()? != commitment.log_root {
            return Err(MachineError::damaged("transaction log"));
        }
        revoked::complete(&*store, height)?;
        let reader = Reader::new(store, Arc::new(genesis), height)?;
        Ok(Self {
            reader,
            genesis_block: start.block,
            header,
            digest,
            commitment,
            log,
            cache: state_cache(),
            nodes: node_cache(),
            unsettled: None,
            poisoned: false,
        })
    }

    /// Reads what was executed.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// What the founders agreed on.
    pub fn genesis(&self) -> &Genesis {
        self.reader.genesis()
    }

    /// The first block, which every founder makes alike.
    pub fn genesis_block(&self) -> &Block {
        &self.genesis_block
    }

    /// What the last executed height resulted in: what a proposer puts into the
    /// header of a new block.
    pub fn applied(&self) -> Commitment {
        self.commitment
    }

    /// The last executed header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The digest of the last executed block.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Executes a finalized block and makes the result durable. `signed` says
    /// for each transaction whether its signature is good
    /// ([`crate::signatures::verify_batch`]).
    ///
    /// # Errors
    /// [`MachineError`]. Where that passes ([`MachineError::passes`]), the same
    /// block is to be given again. After another failure of the store the machine is
    /// to be opened again, and continues from the last durable height.
    pub fn execute(&mut self, block: &Block, signed: &[bool]) -> Result<Executed, MachineError> {
        if self.poisoned {
            return Err(MachineError::Poisoned);
        }
        if signed.len() != block.transactions.len() {
            let (verdicts, transactions) = (signed.len(), block.transactions.len());
            return Err(MachineError::Verdicts { verdicts, transactions });
        }
        let unsettled = self.unsettled.take();
        if let Some(computed) = unsettled.filter(|of| of.executed.digest == block.digest()) {
            return self.settle(block, computed);
        }
        let height = block.header.height;
        let invalid = |rule| MachineError::Invalid { height, rule };
        let encoded = encoded::encode(block).ok_or_else(|| invalid("size"))?;
        self.check_header(&block.header)?;
        if encoded.transactions_root != block.header.transactions_root {
            return Err(invalid("transactions_root is the Merkle root of the transactions"));
        }
        let mut computed = self.compute(block, &encoded, signed)?;
        let next = self.reader.next_epoch(&block.header)?;
        if let Some(next) = &next {
            computed.writes.push(chain::epoch_write(next.number, next.first));
        }
        computed.next = next;
        let writes = std::mem::take(&mut computed.writes);
        // Unless the store says that it is away.
        self.poisoned = true;
        if let Err(error) = self.reader.shared().store.stage(height.get(), writes) {
            // Nothing of it is visible, and nothing is remembered of it.
            self.poisoned = !error.passes();
            return Err(error.into());
        }
        self.settle(block, computed)
    }

    /// Makes visible what is staged, and remembers it.
    fn settle(&mut self, block: &Block, computed: Computed) -> Result<Executed, MachineError> {
        // Until it is remembered, the store may be ahead of memory.
        self.poisoned = true;
        if let Err(error) = self.reader.shared().store.flip(applied(&computed.executed)) {
            self.poisoned = !error.passes();
            self.unsettled = error.passes().then_some(computed);
            return Err(error.into());
        }
        let height = block.header.height;
        let Computed { executed, changes, log, tree, next, writes: _ } = computed;
        if let Some(membership) = changes.state.get(key::MEMBERSHIP) {
            self.reader.shared().epochs.changed(membership)?;
        }
        if let Some(next) = next {
            self.reader.shared().epochs.begin(next);
        }
        let accounts = &self.reader.shared().accounts;
        let changed = |key: &[u8]| changes.state.get(key).map(|value| &**value);
        accounts.executed(height, changes.charged, changed, &executed.events)?;
        self.reader.shared().seen.executed(height, changes.recorded);
        let mut cache = self.cache.borrow_mut();
        for (key, value) in changes.state {
            cache.insert(key, Some(value));
        }
        drop(cache);
        for (digest, contract) in changes.contracts {
            self.reader.shared().contracts.remember(digest, contract);
        }
        tree.remember(&self.nodes);
        self.log = log;
        self.header = block.header.clone();
        self.digest = executed.digest;
        self.commitment = executed.commitment;
        self.poisoned = false;
        Ok(executed)
    }

    fn compute(
        &self,
        block: &Block,
        encoded: &EncodedBlock,
        signed: &[bool],
    ) -> Result<Computed, MachineError> {
        let header = &block.header;
        let Shared { store, contracts, genesis, chain, accounts, seen, .. } = self.reader.shared();
        let ground =
            Ground { store, cache: &self.cache, contracts, genesis, chain: *chain, accounts, seen };
        let recorded = prefetch(&ground, block, &encoded.transactions)?;
        let mut execution = Execution::new(ground, header.height, header.time_ms, recorded)?;
        let mut log = self.log.clone();
        let first_log_index = log.next();
        let mut writes = Vec::with_capacity(block.transactions.len() * 4 + 64);
        let mut entries = Vec::with_capacity(block.transactions.len());
        let transactions = block.transactions.iter().zip(&encoded.transactions).zip(signed);
        for (index, ((transaction, encoded), signed)) in transactions.enumerate() {
            let log_index = LogIndex(first_log_index.get() + index as u64);
            // A block has far fewer than 2^32 transactions: it was encoded.
            let entry = execution.run(index as u32, log_index, transaction, encoded, *signed)?;
            entries.push(entry);
        }
        log.append(header.height, &entries, &mut writes)?;
        let mut changes = execution.finish();
        let state: Vec<(&[u8], &[u8])> =
            changes.state.iter().map(|(key, value)| (key.as_slice(), &**value)).collect();
        if store.is_remote() {
            let keys = state.iter().map(|(key, _)| *key);
            tree::prefetch(&**store, &self.nodes, header.height.minus(1), keys)?;
        }
        let tree = tree::update(&**store, &self.nodes, header.height, &state)?;
        let commitment = Commitment {
            height: header.height,
            state_root: tree.root,
            log_size: log.size(),
            log_root: log.root()?,
        };
        let digest = header.digest();
        let mut events = vec![Event::block(block)];
        events.append(&mut changes.events);
        writes.append(&mut changes.rows);
        writes.extend(state_writes(&state));
        writes.extend(tree.writes());
        let told = told::encode(block, &events);
        writes.extend(chain::writes(header, &encoded.bytes, &commitment, &told)?);
        let executed = Executed { digest, commitment, entries, first_log_index, events };
        Ok(Computed { executed, changes, log, tree, next: None, writes })
    }

    /// The rules that validators check before they vote, checked again because
    /// everything after rests on them.
    fn check_header(&self, header: &Header) -> Result<(), MachineError> {
        let height = header.height;
        let expected = self.header.height.next();
        if height != expected {
            return Err(MachineError::NotNext { height, expected });
        }
        check_child(&self.header, &self.digest, header)
            .map_err(|rule| MachineError::Invalid { height, rule })?;
        let found = header.executed;
        if found.height > self.commitment.height {
            let rule = "executed is of a height before the block's";
            return Err(MachineError::Invalid { height, rule });
        }
        let own = self.reader.commitment(found.height)?;
        let own = own.ok_or_else(|| MachineError::damaged("commitments"))?;
        if own != found {
            return Err(MachineError::Diverged { expected: Box::new(own), found: Box::new(found) });
        }
        Ok(())
    }
}

/// The store is of the consortium whose genesis block has this digest.
pub(crate) fn check_consortium(store: &dyn Store, expected: Digest) -> Result<(), MachineError> {
    let first = chain::header(store, Height::ZERO)?;
    let found = first.ok_or_else(|| MachineError::damaged("chain of headers"))?.digest();
    if found != expected {
        return Err(MachineError::OtherConsortium { found, expected });
    }
    Ok(())
}

/// The last executed header, and what executing it resulted in.
pub(crate) fn tip(
    store: &dyn Store,
    applied: &Applied,
) -> Result<(Header, Commitment), MachineError> {
    let height = Height(applied.height);
    let header = chain::header(store, height)?;
    let header = header.ok_or_else(|| MachineError::damaged("chain of headers"))?;
    let commitment: Commitment = codec::decode("commitment", &applied.commitment, 1_024)
        .map_err(|error| MachineError::undecodable("commitment", error))?;
    if header.digest().0 != applied.block || commitment.height != height {
        return Err(MachineError::damaged("applied height"));
    }
    Ok((header, commitment))
}

/// The digest of the block that the founders begin with.
pub(crate) fn genesis_block(genesis: &Genesis) -> Result<Digest, MachineError> {
    Ok(Start::of(genesis)?.block.digest())
}

/// Checks what a header owes to its parent, whose digest is `digest`; the rule
/// that it breaks otherwise. Whether `executed` is right is for those to check
/// who have executed that height ([`Reader::commitment`]).
///
/// # Errors
/// The rule.
pub fn check_child(parent: &Header, digest: &Digest, header: &Header) -> Result<(), &'static str> {
    let rules = [
        (header.version == HEADER_VERSION, "version is the one of this software"),
        (header.chain == parent.chain, "chain is the consortium's"),
        (header.height.follows(parent.height), "height is the parent's plus one"),
        (header.parent == *digest, "parent is the digest of the block before"),
        (header.time_ms >= parent.time_ms, "time_ms is not before the parent's"),
        (
            header.executed.height >= parent.executed.height,
            "executed is not of an earlier height than the parent's",
        ),
        (header.executed.height < header.height, "executed is of a height before the block's"),
    ];
    rules.into_iter().find(|(kept, _)| !kept).map_or(Ok(()), |(_, rule)| Err(rule))
}

/// A block's result before it is written.
struct Computed {
    executed: Executed,
    changes: Changes,
    log: Log,
    tree: tree::TreeUpdate,
    /// The epoch that begins after it.
    next: Option<Epoch>,
    writes: Vec<Write>,
}

fn applied(executed: &Executed) -> Applied {
    Applied {
        height: executed.commitment.height.get(),
        block: executed.digest.0,
        commitment: codec::encode(&executed.commitment),
    }
}

fn state_writes<'a>(state: &'a [(&'a [u8], &'a [u8])]) -> impl Iterator<Item = Write> + 'a {
    state.iter().map(|(key, value)| Write::put(Space::State, *key, *value))
}

/// The genesis block and its state.
struct Start {
    block: Block,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    events: Vec<Event>,
}

impl Start {
    fn of(genesis: &Genesis) -> Result<Self, MachineError> {
        let (state, mut members) = genesis_state(genesis);
        let pairs: Vec<(&[u8], &[u8])> =
            state.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
        let tree = tree::update(&Nothing, &node_cache(), Height::ZERO, &pairs)?;
        let log = Log::new();
        let commitment = Commitment {
            height: Height::ZERO,
            state_root: tree.root,
            log_size: log.size(),
            log_root: log.root()?,
        };
        let block = Block::genesis(genesis.digest(), genesis.created_ms, commitment);
        let mut events = vec![Event::Block {
            height: Height::ZERO,
            digest: block.digest(),
            time_ms: block.header.time_ms,
            transactions: 0,
        }];
        events.append(&mut members);
        Ok(Self { block, state, events })
    }

    fn write(&self, store: &dyn Store) -> Result<(), MachineError> {
        let pairs: Vec<(&[u8], &[u8])> =
            self.state.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
        let tree = tree::update(&Nothing, &node_cache(), Height::ZERO, &pairs)?;
        let header = &self.block.header;
        let encoded =
            encoded::encode(&self.block).ok_or_else(|| MachineError::damaged("genesis block"))?;
        let mut writes: Vec<Write> = state_writes(&pairs).chain(tree.writes()).collect();
        let told = told::encode(&self.block, &self.events);
        writes.extend(chain::writes(header, &encoded.bytes, &header.executed, &told)?);
        store.stage(0, writes)?;
        store.flip(Applied {
            height: 0,
            block: self.block.digest().0,
            commitment: codec::encode(&header.executed),
        })?;
        Ok(())
    }
}

/// The state that the founders agreed on, and what read models are told of it.
fn genesis_state(genesis: &Genesis) -> (BTreeMap<Vec<u8>, Vec<u8>>, Vec<Event>) {
    let mut state = BTreeMap::new();
    let mut events = Vec::new();
    state.insert(key::CONSTITUTION.to_vec(), codec::encode(&genesis.constitution));
    state.insert(key::AUTHORITY.to_vec(), codec::encode(&genesis.authority));
    for member in &genesis.members {
        let record = member_record(member);
        let bytes = Form::of_genesis(genesis).bytes(&record);
        state.insert(key::member(&member.name), bytes);
        for name in &member.names {
            let owner = Some(member.name.clone());
            state.insert(key::network_name(name), codec::encode(&owner));
        }
        events.push(Event::Member { transaction: None, name: member.name.clone(), record });
        let identity = member.statement_key.identity();
        let record = identity_record(member);
        state.insert(key::identity(&identity), codec::encode(&record));
        events.push(Event::Identity { transaction: None, identity, record });
    }
    (state, events)
}

/// A store with nothing in it, for the tree of height 0.
struct Nothing;

impl Store for Nothing {
    fn fence(&self) -> u64 {
        0
    }
    fn applied(&self) -> Result<Option<Applied>, hufu_store::StoreError> {
        Ok(None)
    }
    fn stage(&self, height: u64, _: Vec<Write>) -> Result<(), hufu_store::StoreError> {
        Err(hufu_store::StoreError::NotStaged(height))
    }
    fn flip(&self, applied: Applied) -> Result<(), hufu_store::StoreError> {
        Err(hufu_store::StoreError::NotStaged(applied.height))
    }
    fn attach(&self, height: u64, _: Vec<Write>) -> Result<(), hufu_store::StoreError> {
        Err(hufu_store::StoreError::NotStaged(height))
    }
    fn read(&self, _: Space, _: &[u8], _: u64) -> Result<Option<Vec<u8>>, hufu_store::StoreError> {
        Ok(None)
    }
    fn read_many(
        &self,
        _: Space,
        keys: &[&[u8]],
        _: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, hufu_store::StoreError> {
        Ok(vec![None; keys.len()])
    }
    fn scan(
        &self,
        _: Space,
        _: &hufu_store::KeyRange,
        _: u64,
        _: usize,
    ) -> Result<Vec<hufu_store::Row>, hufu_store::StoreError> {
        Ok(Vec::new())
    }
    fn prune(
        &self,
        _: Space,
        _: hufu_store::Old<'_>,
    ) -> Result<hufu_store::Pruned, hufu_store::StoreError> {
        Ok(hufu_store::Pruned::default())
    }
}
