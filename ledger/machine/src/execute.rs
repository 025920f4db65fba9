//! Executing the transactions of a block.
//!
//! The checks of a transaction, in this order; the first that fails is its
//! outcome:
//!
//! 1. size and form ([`crate::form`]), and the consortium it names;
//! 2. the signature, by an algorithm of the constitution;
//! 3. the signer: registered, of a member in good standing, active, within its
//!    validity at the block's time;
//! 4. expiry, and that it was not recorded before;
//! 5. the budgets of the signer and its member ([`crate::accounts`]);
//! 6. what its payload asks for ([`crate::certificates`], [`crate::proposals`],
//!    [`crate::declare`]; for contracts the rest of the order is in
//!    [`hufu_contract`]).
//!
//! # Duplicates
//!
//! A transaction is recorded under its identifier once its signature has been
//! found good, whatever its outcome after that; from then on the identifier is
//! a duplicate. What was refused before that (form, consortium, signature) does
//! not take the identifier: otherwise a faulty proposer could spoil somebody
//! else's transaction by recording it with a broken signature first.
//!
//! # What a refused transaction changes
//!
//! Nothing but the log and the accounts: what is recorded is charged. There is no
//! counter of a sender: identifiers are remembered instead.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use borsh::BorshSerialize;
use hufu_contract::cache::Generations;
use hufu_contract::{Asset, Context, Contract, Effects, Fired, Principal, PrincipalKind};
use hufu_proof::codec::{self, MAX_TRANSACTION};
use hufu_proof::transaction::{
    Batch, Firing, IdentityKind, Invocation, Look, MAX_LIFETIME, Proposal,
};
use hufu_proof::{
    Constitution, Digest, Height, IdentityId, LogEntry, LogIndex, Name, Outcome, Payload, Standing,
    Transaction, UnixMillis,
};
use hufu_store::{KeyRange, Space, Store, Write};

use crate::accounts::{Accounts, Charged, Load, Tally};
use crate::contracts::Contracts;
use crate::encoded::Encoded;
use crate::error::MachineError;
use crate::event::Event;
use crate::form;
use crate::index::{self, Place};
use crate::key;
use crate::record::{ContractRecord, IdentityRecord, Standings};
use crate::seen::Seen;
use crate::state::{State, world_from_state};

/// Most bytes of state and rows that the transactions of one block write
/// together; one that would write more is refused with `limit`. A small
/// transaction can rewrite a large asset, and a block has many.
pub const MAX_WRITTEN: usize = 16 * 1024 * 1024;

/// State values that were read or written lately; `None` for keys that hold
/// nothing.
pub(crate) type StateCache = RefCell<Generations<Vec<u8>, Option<Arc<[u8]>>>>;

/// State values kept in memory.
const CACHED_VALUES: usize = 131_072;

pub(crate) fn state_cache() -> StateCache {
    RefCell::new(Generations::new(CACHED_VALUES))
}

/// Why a transaction did not go on: its own fault, or the machine's.
pub(crate) enum Stop {
    Refused(Outcome),
    Failed(MachineError),
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Self::Refused(outcome)
    }
}

impl<E: Into<MachineError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Who signed the transaction being executed.
pub(crate) struct Signer {
    pub(crate) identity: IdentityId,
    pub(crate) record: IdentityRecord,
}

impl Signer {
    /// Refuses who is not a member.
    pub(crate) fn require_member(&self) -> Result<(), Outcome> {
        if self.record.kind == IdentityKind::Member { Ok(()) } else { Err(Outcome::Forbidden) }
    }
}

/// What the transaction being executed would change.
#[derive(Default)]
struct Pending {
    state: BTreeMap<Vec<u8>, Arc<[u8]>>,
    rows: Vec<Write>,
    events: Vec<Event>,
    proposal: Option<(Digest, Proposal)>,
    contract: Option<(Digest, Arc<Contract>)>,
    standings: Option<Standings>,
}

impl Pending {
    /// Bytes of the state and rows it would write.
    fn size(&self) -> usize {
        let state: usize = self.state.iter().map(|(key, value)| key.len() + value.len()).sum();
        let row = |row: &Write| row.key.len() + row.value.as_ref().map_or(0, Vec::len);
        state + self.rows.iter().map(row).sum::<usize>()
    }
}

/// The rules and the state below the block.
pub(crate) struct Ground<'a> {
    pub(crate) store: &'a Arc<dyn Store>,
    pub(crate) cache: &'a StateCache,
    pub(crate) contracts: &'a Contracts,
    pub(crate) genesis: &'a hufu_proof::Genesis,
    pub(crate) chain: Digest,
    pub(crate) accounts: &'a Accounts,
    pub(crate) seen: &'a Seen,
}

/// The execution of one block.
pub(crate) struct Execution<'a> {
    pub(crate) ground: Ground<'a>,
    pub(crate) height: Height,
    pub(crate) time_ms: UnixMillis,
    state: BTreeMap<Vec<u8>, Arc<[u8]>>,
    /// Plain rows; a map, because a key has one value in a height.
    rows: BTreeMap<(Space, Vec<u8>), Option<Vec<u8>>>,
    events: Vec<Event>,
    proposals: HashMap<Digest, Proposal>,
    contracts: HashMap<Digest, Arc<Contract>>,
    /// Which of this block's transactions an earlier one recorded.
    recorded: HashMap<Digest, Place>,
    /// Where this block's transactions are, by identifier.
    places: BTreeMap<Digest, Place>,
    /// The constitution that is in force at this height.
    pub(crate) constitution: Constitution,
    /// How members stand as of this transaction.
    pub(crate) standings: Standings,
    /// What this block's transactions are charged.
    tally: Tally<'a>,
    /// Bytes of state and rows this block writes so far.
    written: usize,
    pending: Pending,
    failure: RefCell<Option<MachineError>>,
}

/// What a block changes.
pub(crate) struct Changes {
    /// State by key.
    pub(crate) state: BTreeMap<Vec<u8>, Arc<[u8]>>,
    /// Plain rows.
    pub(crate) rows: Vec<Write>,
    pub(crate) charged: Vec<Charged>,
    /// Identifiers that were recorded for the first time.
    pub(crate) recorded: HashSet<Digest>,
    pub(crate) events: Vec<Event>,
    /// Contracts that were deployed.
    pub(crate) contracts: HashMap<Digest, Arc<Contract>>,
}

impl<'a> Execution<'a> {
    /// `recorded` are those of the block's transactions that are on the ledger
    /// already.
    pub(crate) fn new(
        ground: Ground<'a>,
        height: Height,
        time_ms: UnixMillis,
        recorded: HashMap<Digest, Place>,
    ) -> Result<Self, MachineError> {
        // Genesis has no transactions, so there is a height before.
        let before = height.minus(1);
        let tally = Tally::new(ground.accounts, &**ground.store, before, time_ms)?;
        let constitution = ground.genesis.constitution.clone();
        let mut execution = Self {
            ground,
            height,
            time_ms,
            state: BTreeMap::new(),
            rows: BTreeMap::new(),
            events: Vec::new(),
            proposals: HashMap::new(),
            contracts: HashMap::new(),
            recorded,
            places: BTreeMap::new(),
            constitution,
            standings: Standings::default(),
            tally,
            written: 0,
            pending: Pending::default(),
            failure: RefCell::new(None),
        };
        if let Some(constitution) = execution.amendments()?.at(height) {
            execution.constitution = constitution.clone();
        }
        execution.standings = execution.record("standings", key::STANDINGS)?.unwrap_or_default();
        Ok(execution)
    }

    pub(crate) fn finish(self) -> Changes {
        let Self { state, rows, events, contracts, places, tally, .. } = self;
        let write = |((space, key), value)| Write { space, key, value };
        let mut rows: Vec<Write> = rows.into_iter().map(write).collect();
        rows.extend(places.iter().map(|(id, place)| index::write(id, place)));
        let charged = tally.finish();
        rows.extend(charged.iter().map(Charged::write));
        let recorded = places.into_keys().collect();
        Changes { state, rows, charged, recorded, events, contracts }
    }

    /// Executes transaction number `index`, whose entry in the log will be
    /// number `log_index`.
    pub(crate) fn run(
        &mut self,
        index: u32,
        log_index: LogIndex,
        transaction: &Transaction,
        encoded: &Encoded,
        signed: bool,
    ) -> Result<LogEntry, MachineError> {
        let mut signer = None;
        let mut recorded = None;
        let attempt = self.attempt(index, transaction, encoded, signed, &mut signer, &mut recorded);
        let outcome = match attempt {
            Ok(()) => Outcome::Accepted,
            Err(Stop::Refused(outcome)) => outcome,
            Err(Stop::Failed(error)) => return Err(error),
        };
        if let Some(error) = self.failure.borrow_mut().take() {
            return Err(error);
        }
        let id = encoded.id;
        let place = Place {
            log_index,
            height: self.height,
            index,
            outcome,
            offset: encoded.offset,
            length: encoded.length,
            taken: recorded.is_some(),
        };
        // Whoever comes first keeps the identifier; see Duplicates.
        let first = match recorded {
            Some(before) => !before,
            None => !self.places.contains_key(&id) && !self.recorded.contains_key(&id),
        };
        if first {
            self.places.insert(id, place);
        }
        // A duplicate was charged when it was sent; neither it nor what is over
        // the budget is in a block but by a validator's fault.
        if let (Some(signer), Some(false)) = (&signer, recorded)
            && outcome != Outcome::OverBudget
        {
            let bytes = u64::from(encoded.length);
            self.tally.charge(&signer.identity, &signer.record, bytes)?;
        }
        let (signer, member) = match signer {
            Some(Signer { identity, record }) => (identity, Some(record.owner)),
            None => (transaction.body.signer.identity(), None),
        };
        let logged = Event::transaction(transaction, id, signer, index, log_index, outcome, member);
        self.events.push(logged);
        let pending = std::mem::take(&mut self.pending);
        if outcome.is_accepted() {
            self.state.extend(pending.state);
            for row in pending.rows {
                self.rows.insert((row.space, row.key), row.value);
            }
            self.events.extend(pending.events);
            self.proposals.extend(pending.proposal);
            self.contracts.extend(pending.contract);
            if let Some(standings) = pending.standings {
                self.standings = standings;
            }
        }
        Ok(LogEntry { transaction: id, height: self.height, index, outcome })
    }

    /// The checks in their order, and the effects into `pending`. `recorded`
    /// becomes `Some(whether it was recorded before)` once the signature is good.
    fn attempt(
        &mut self,
        index: u32,
        transaction: &Transaction,
        encoded: &Encoded,
        signed: bool,
        found: &mut Option<Signer>,
        recorded: &mut Option<bool>,
    ) -> Result<(), Stop> {
        let body = &transaction.body;
        if encoded.length as usize > MAX_TRANSACTION {
            return Err(Outcome::Oversized.into());
        }
        form::check(&body.payload)?;
        if body.chain != self.ground.chain {
            return Err(Outcome::WrongChain.into());
        }
        if !signed || !self.constitution.algorithms.contains(&body.signer.algorithm()) {
            return Err(Outcome::Signature.into());
        }
        let before = self.places.get(&encoded.id).is_some_and(|place| place.taken)
            || self.recorded.get(&encoded.id).is_some_and(|place| place.taken);
        *recorded = Some(before);

        let identity = body.signer.identity();
        let record = self.record("identity", &key::identity(&identity))?;
        let record: IdentityRecord = record.ok_or(Outcome::UnknownSigner)?;
        let signer = found.insert(Signer { identity, record });
        if let Some(outcome) = self.standings.refusal(&signer.record.owner) {
            return Err(outcome.into());
        }
        if !signer.record.is_active_at(self.time_ms) {
            return Err(Outcome::InactiveSigner.into());
        }
        let latest = self.height.plus(MAX_LIFETIME);
        if !(self.height..=latest).contains(&body.expires) {
            return Err(Outcome::Expired.into());
        }
        if before {
            return Err(Outcome::Duplicate.into());
        }
        let load = Load::one(u64::from(encoded.length));
        if self.tally.over(&signer.identity, &signer.record, load, load)?.is_some() {
            return Err(Outcome::OverBudget.into());
        }
        self.act(encoded.id, index, signer, &body.payload)?;
        let size = self.pending.size();
        if self.written + size > MAX_WRITTEN {
            return Err(Outcome::Limit.into());
        }
        self.written += size;
        Ok(())
    }

    /// What the payload asks for, into `pending`.
    fn act(
        &mut self,
        id: Digest,
        index: u32,
        signer: &Signer,
        payload: &Payload,
    ) -> Result<(), Stop> {
        match payload {
            Payload::Issue(issuances) => self.issue(id, signer, issuances),
            Payload::Revoke(revocation) => self.revoke(id, signer, revocation),
            Payload::Invoke(invocation) => self.invoke(id, signer, invocation),
            Payload::Append(batch) => self.append(id, index, signer, batch),
            Payload::Propose(proposal) => self.propose(id, signer, proposal),
            Payload::Approve(digest) => self.approve(id, signer, digest),
            Payload::Look(look) => self.look(id, signer, look),
            Payload::Certify(certifications) => self.certify(id, signer, certifications),
            Payload::Declare(declaration) => self.declare(id, signer, declaration),
            Payload::Fire(firing) => self.fire(id, signer, firing),
        }
    }

    fn invoke(&mut self, id: Digest, signer: &Signer, invocation: &Invocation) -> Result<(), Stop> {
        let context = self.context(signer)?;
        let name = &invocation.contract;
        let contract = self.active(name)?.ok_or(Outcome::NoContract)?;
        let effects = contract.apply(invocation, &context, &*self)?;
        self.happened(id, effects)
    }

    /// A date has come.
    fn fire(&mut self, id: Digest, signer: &Signer, firing: &Firing) -> Result<(), Stop> {
        // Whoever points at it is charged, and has no other part in it.
        let context = self.context(signer)?;
        let contract = self.active(&firing.contract)?.ok_or(Outcome::NoContract)?;
        let effects = contract.fire(firing, &context, &*self)?;
        self.happened(id, effects)
    }

    /// Writes what contracts did, and tells read models.
    fn happened(&mut self, id: Digest, effects: Effects) -> Result<(), Stop> {
        let Effects { writes, events, fired, acted: _ } = effects;
        for write in writes {
            let hufu_contract::Write { contract, asset_type, key, created, asset } = write;
            let bytes = codec::encode(&asset);
            if bytes.len() > Asset::MAX {
                return Err(Outcome::Limit.into());
            }
            self.pending.state.insert(key::asset(&contract, &asset_type, &key), bytes.into());
            self.tell(Event::Asset { transaction: id, contract, asset_type, key, created, asset });
        }
        for event in events {
            let hufu_contract::Event { contract, name, asset_type, key } = event;
            self.tell(Event::Emitted { transaction: id, contract, name, asset_type, key });
        }
        for Fired { contract, trigger, cause, outcome } in fired {
            self.tell(Event::Fired { transaction: id, contract, trigger, cause, outcome });
        }
        Ok(())
    }

    fn append(
        &mut self,
        id: Digest,
        index: u32,
        signer: &Signer,
        batch: &Batch,
    ) -> Result<(), Stop> {
        let context = self.context(signer)?;
        let contract = self.active(&batch.contract)?.ok_or(Outcome::NoContract)?;
        let effects = contract.append(batch, &context, &*self)?;
        let key = key::sequence(&batch.contract, &batch.stream, &signer.identity);
        self.put(key, &effects.sequence);
        self.tell(Event::Rows {
            transaction: id,
            index,
            contract: batch.contract.clone(),
            stream: batch.stream.clone(),
            signer: signer.identity,
            device: effects.device,
            sequence: effects.sequence,
            // Bounded by the size of a transaction.
            rows: batch.rows.len() as u32,
        });
        self.happened(id, effects.triggered)
    }

    /// Somebody looked at something.
    fn look(&mut self, id: Digest, signer: &Signer, look: &Look) -> Result<(), Stop> {
        signer.require_member()?;
        // Whoever was asked records it: a regulator may look on any member's node.
        let member = signer.record.owner.clone();
        if look.height > self.height {
            return Err(Outcome::Parameter.into());
        }
        self.tell(Event::Look {
            transaction: id,
            member,
            subject: look.subject.clone(),
            height: look.height,
            answer: look.answer,
        });
        Ok(())
    }

    /// What a contract is told of the signer.
    fn context(&self, signer: &Signer) -> Result<Context, Outcome> {
        match signer.record.kind {
            IdentityKind::Member | IdentityKind::Device => {}
            // They authenticate connections and nothing else.
            IdentityKind::Client | IdentityKind::Server => return Err(Outcome::Forbidden),
        }
        Ok(Context {
            principal: Principal {
                identity: signer.identity,
                member: Some(signer.record.owner.clone()),
                kind: PrincipalKind::Signer(signer.record.kind),
                subject: signer.record.subject.clone(),
            },
            via: None,
            block_height: self.height,
            block_time_ms: self.time_ms,
        })
    }

    /// Writes a record, if the transaction is accepted.
    pub(crate) fn put<T: BorshSerialize + ?Sized>(&mut self, key: Vec<u8>, record: &T) {
        self.put_bytes(key, codec::encode(record));
    }

    /// Writes an encoded record, if the transaction is accepted.
    pub(crate) fn put_bytes(&mut self, key: Vec<u8>, record: Vec<u8>) {
        self.pending.state.insert(key, record.into());
    }

    /// Writes plain rows, if the transaction is accepted.
    pub(crate) fn put_rows(&mut self, rows: Vec<Write>) {
        self.pending.rows.extend(rows);
    }

    /// Tells read models, if the transaction is accepted.
    pub(crate) fn tell(&mut self, event: Event) {
        self.pending.events.push(event);
    }

    /// Keeps a proposal for the rest of the block, if the transaction is
    /// accepted.
    pub(crate) fn keep_proposal(&mut self, digest: Digest, proposal: Proposal) {
        self.pending.proposal = Some((digest, proposal));
    }

    /// A proposal of this block or an earlier one.
    pub(crate) fn proposal(&self, digest: &Digest) -> Result<Option<Proposal>, MachineError> {
        match self.proposals.get(digest) {
            Some(proposal) => Ok(Some(proposal.clone())),
            None => crate::contracts::proposal(&**self.ground.store, digest),
        }
    }

    /// Keeps how members stand for the rest of the block, and writes it, if the
    /// transaction is accepted.
    pub(crate) fn put_standings(&mut self, standings: Standings) {
        self.put(key::STANDINGS.to_vec(), &standings);
        self.pending.standings = Some(standings);
    }

    /// Keeps a contract that becomes active, if the transaction is accepted.
    pub(crate) fn keep_contract(&mut self, digest: Digest, contract: Contract) {
        self.pending.contract = Some((digest, Arc::new(contract)));
    }

    /// Every active contract, compiled.
    pub(crate) fn all_active(&self) -> Result<BTreeMap<Name, Arc<Contract>>, MachineError> {
        let prefix = b"contract/";
        let range = KeyRange::prefix(prefix);
        let below = self.ground.store.scan(Space::State, &range, u64::MAX, usize::MAX)?;
        let mut keys: BTreeSet<Vec<u8>> = below.into_iter().map(|(key, _)| key).collect();
        let here = self.state.range(prefix.to_vec()..);
        keys.extend(here.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)));
        let mut active = BTreeMap::new();
        for key in keys {
            let name = crate::state::name_of(&key[prefix.len()..])?;
            if let Some(contract) = self.active(&name)? {
                active.insert(name, contract);
            }
        }
        Ok(active)
    }

    fn compiled(&self, digest: &Digest) -> Result<Arc<Contract>, MachineError> {
        match self.contracts.get(digest) {
            Some(contract) => Ok(Arc::clone(contract)),
            None => self.ground.contracts.get(&**self.ground.store, digest),
        }
    }
}

impl State for Execution<'_> {
    fn value(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, MachineError> {
        if let Some(value) = self.pending.state.get(key).or_else(|| self.state.get(key)) {
            return Ok(Some(Arc::clone(value)));
        }
        if let Some(value) = self.ground.cache.borrow_mut().get(key) {
            return Ok(value.clone());
        }
        let value = self.ground.store.read_latest(Space::State, key)?.map(Arc::from);
        self.ground.cache.borrow_mut().insert(key.to_vec(), value.clone());
        Ok(value)
    }

    fn active(&self, name: &Name) -> Result<Option<Arc<Contract>>, MachineError> {
        let record: Option<ContractRecord> = self.record("contract", &key::contract(name))?;
        record.map(|record| self.compiled(&record.digest)).transpose()
    }

    fn standing(&self, member: &Name) -> Result<Standing, MachineError> {
        Ok(self.standings.of(member))
    }

    fn fail(&self, error: MachineError) {
        self.failure.borrow_mut().get_or_insert(error);
    }
}

world_from_state!(Execution<'_>);
