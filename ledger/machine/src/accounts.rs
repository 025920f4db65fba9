//! Who is charged for what is on the ledger, and how much each may still use.
//!
//! Everything in a block stays on every member's disk, so every transaction in
//! it is charged to an identity that the state knows, and to the member that
//! answers for it ([`hufu_proof::budget`]).
//!
//! # What is charged
//!
//! The encoded transaction, whatever becomes of it; but not a duplicate, which
//! its signer has sent once, and not what is over the budget or a quota: whoever
//! puts that into a block is a validator at fault. Transactions, and what is of the
//! present second, are counted only while there are quotas ([`hufu_proof::Quotas`]).
//!
//! # Where it is kept
//!
//! In a space of its own that is versioned like the state and is not in the
//! state tree: it changes with every transaction, and nobody needs a proof of
//! it. The latest values are kept in memory, because a block asks for one of
//! each signer.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_contract::cache::Generations;
use hufu_proof::budget::{day, second};
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Budget, Height, IdentityId, Name, Quota, Quotas, UnixMillis, codec};
use hufu_store::limits::MAX_VALUE;
use hufu_store::{Space, Store, Write};

use crate::error::MachineError;
use crate::event::Event;
use crate::key;
use crate::record::{IdentityRecord, Standings};

/// Identities and accounts that are kept in memory.
const REMEMBERED: usize = 65_536;

/// Who is charged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The holder of a key.
    Identity(IdentityId),
    /// All whom a member answers for.
    Member(Name),
}

impl Account {
    fn key(&self) -> Vec<u8> {
        match self {
            Self::Identity(identity) => [&b"identity/"[..], identity.0.as_bytes()].concat(),
            Self::Member(member) => [b"member/", member.as_str().as_bytes()].concat(),
        }
    }
}

/// What an account has used of its last day, and where there are quotas, of its last
/// second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Usage {
    /// Since 1970, by block time.
    day: u64,
    bytes: u64,
    /// Counted where there are quotas.
    counted: Counted,
}

/// What only quotas ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Counted {
    /// Of the day.
    transactions: u64,
    /// Since 1970, by block time.
    second: u64,
    second_transactions: u64,
    second_bytes: u64,
}

impl Usage {
    /// What of it is of this time.
    pub(crate) fn at(self, time_ms: UnixMillis) -> Self {
        let (day, second) = (day(time_ms), second(time_ms));
        let of_day = if self.day == day { self } else { Self::default() };
        let of_second = Counted { transactions: of_day.counted.transactions, ..self.counted };
        let counted = if of_second.second == second {
            of_second
        } else {
            let transactions = of_second.transactions;
            Counted { transactions, second, ..Counted::default() }
        };
        Self { day, bytes: of_day.bytes, counted }
    }

    /// Whether any of it counts on the day of this time.
    pub(crate) fn is_of_the_day(&self, time_ms: UnixMillis) -> bool {
        self.day == day(time_ms)
    }

    /// Bytes of the day.
    pub(crate) fn bytes(self) -> u64 {
        self.bytes
    }

    fn add(&mut self, bytes: u64, of_day: bool, of_second: bool) {
        let Counted { transactions, second_transactions, second_bytes, .. } = &mut self.counted;
        for (sum, more, counts) in [
            (&mut self.bytes, bytes, of_day),
            (transactions, 1, of_day),
            (second_bytes, bytes, of_second),
            (second_transactions, 1, of_second),
        ] {
            *sum = sum.saturating_add(if counts { more } else { 0 });
        }
    }

    /// With nothing of the second.
    fn of_the_day(self) -> Self {
        let Counted { transactions, second, .. } = self.counted;
        Self { counted: Counted { transactions, second, ..Counted::default() }, ..self }
    }

    /// What does not suffice when this much is added.
    fn over(&self, more: Load, bytes: u64, quota: &Quota) -> Option<Period> {
        let within = |used: u64, more: u64, most: Option<u64>| {
            most.is_none_or(|most| used.saturating_add(more) <= most)
        };
        let Counted { transactions, second_transactions, second_bytes, .. } = self.counted;
        if !within(self.bytes, more.bytes, Some(bytes))
            || !within(transactions, more.transactions, quota.transactions_a_day)
        {
            Some(Period::Day)
        } else if !within(second_transactions, more.transactions, quota.transactions_a_second)
            || !within(second_bytes, more.bytes, quota.bytes_a_second)
        {
            Some(Period::Second)
        } else {
            None
        }
    }

    /// Without quotas as before there were any, so that nothing more is written.
    fn encode(&self, quotas: bool) -> Vec<u8> {
        let Self { day, bytes, counted } = self;
        match quotas {
            true => codec::encode(&(day, bytes, counted)),
            false => codec::encode(&(day, bytes)),
        }
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, MachineError> {
        if row.len() > 16 {
            return decode("usage", row);
        }
        let (day, bytes) = decode("usage", row)?;
        Ok(Self { day, bytes, counted: Counted::default() })
    }
}

/// What is to be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many transactions.
    pub transactions: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Load {
    /// One transaction of this size.
    pub fn one(bytes: u64) -> Self {
        Self { transactions: 1, bytes }
    }

    /// This and that.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            transactions: self.transactions.saturating_add(other.transactions),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What is used up: the rest of a day, or of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A day of UTC, by block time.
    Day,
    /// A second.
    Second,
}

/// What does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Whose it is.
    pub whose: Whose,
    /// Of what it is used up.
    pub period: Period,
}

/// Whose budget or quota does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The signer's own.
    Identity,
    /// That of the member that answers for it.
    Member,
}

/// The latest value of something that changes with a height, and a height since
/// when it has been that.
struct Known<V> {
    value: V,
    since: Height,
}

type Latest<K, V> = Mutex<Generations<K, Known<V>>>;

/// The latest values.
pub(crate) struct Accounts {
    identities: Latest<IdentityId, Arc<IdentityRecord>>,
    usage: Latest<Account, Usage>,
    budget: Latest<(), Budget>,
    quotas: Latest<(), Quotas>,
    standings: Latest<(), Arc<Standings>>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            identities: Mutex::new(Generations::new(REMEMBERED)),
            usage: Mutex::new(Generations::new(REMEMBERED)),
            budget: Mutex::new(Generations::new(1)),
            quotas: Mutex::new(Generations::new(1)),
            standings: Mutex::new(Generations::new(1)),
        }
    }
}

impl Accounts {
    pub(crate) fn identity(
        &self,
        store: &dyn Store,
        identity: &IdentityId,
        height: Height,
    ) -> Result<Option<Arc<IdentityRecord>>, MachineError> {
        latest(&self.identities, store, identity, height, |height| {
            let row = store.read(Space::State, &key::identity(identity), height.get())?;
            Ok(row.map(|row| decode("identity", &row)).transpose()?.map(Arc::new))
        })
    }

    pub(crate) fn usage(
        &self,
        store: &dyn Store,
        account: &Account,
        height: Height,
    ) -> Result<Usage, MachineError> {
        let usage = latest(&self.usage, store, account, height, |height| {
            let row = store.read(Space::Usage, &account.key(), height.get())?;
            row.map_or(Ok(Usage::default()), |row| Usage::decode(&row)).map(Some)
        });
        Ok(usage?.unwrap_or_default())
    }

    /// Reads what accounts have used, at once, where it is not remembered.
    pub(crate) fn prefetch(
        &self,
        store: &dyn Store,
        mut accounts: Vec<Account>,
    ) -> Result<(), MachineError> {
        let mut remembered = lock(&self.usage);
        accounts.retain(|account| remembered.get(account).is_none());
        accounts.sort_unstable();
        accounts.dedup();
        if accounts.is_empty() {
            return Ok(());
        }
        // Read while it is locked, as in `latest`.
        let since = store.applied()?.map_or(Height::ZERO, |applied| Height(applied.height));
        let keys: Vec<Vec<u8>> = accounts.iter().map(Account::key).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let rows = store.read_many(Space::Usage, &keys, since.get())?;
        for (account, row) in accounts.into_iter().zip(rows) {
            let value = row.map_or(Ok(Usage::default()), |row| Usage::decode(&row))?;
            remembered.insert(account, Known { value, since });
        }
        Ok(())
    }

    pub(crate) fn budget(&self, store: &dyn Store, height: Height) -> Result<Budget, MachineError> {
        let budget = latest(&self.budget, store, &(), height, |height| {
            let row = store.read(Space::State, key::BUDGET, height.get())?;
            row.map_or(Ok(Budget::default()), |row| decode("budget", &row)).map(Some)
        });
        Ok(budget?.unwrap_or_default())
    }

    pub(crate) fn quotas(&self, store: &dyn Store, height: Height) -> Result<Quotas, MachineError> {
        let quotas = latest(&self.quotas, store, &(), height, |height| {
            let row = store.read(Space::State, key::QUOTAS, height.get())?;
            row.map_or(Ok(Quotas::default()), |row| decode("quotas", &row)).map(Some)
        });
        Ok(quotas?.unwrap_or_default())
    }

    /// How members stand.
    pub(crate) fn standings(
        &self,
        store: &dyn Store,
        height: Height,
    ) -> Result<Arc<Standings>, MachineError> {
        let standings = latest(&self.standings, store, &(), height, |height| {
            let row = store.read(Space::State, key::STANDINGS, height.get())?;
            let standings = row.map_or(Ok(Standings::default()), |row| decode("standings", &row));
            Ok(Some(Arc::new(standings?)))
        });
        Ok(standings?.unwrap_or_default())
    }

    /// Forgets what is remembered: another process has executed since.
    pub(crate) fn forget(&self) {
        *lock(&self.identities) = Generations::new(REMEMBERED);
        *lock(&self.usage) = Generations::new(REMEMBERED);
        *lock(&self.budget) = Generations::new(1);
        *lock(&self.quotas) = Generations::new(1);
        *lock(&self.standings) = Generations::new(1);
    }

    /// Hears what the execution of a height has changed, after it is durable:
    /// accounts, and `changed` values of the state.
    pub(crate) fn executed<'s>(
        &self,
        height: Height,
        charged: Vec<Charged>,
        changed: impl Fn(&[u8]) -> Option<&'s [u8]>,
        events: &[Event],
    ) -> Result<(), MachineError> {
        let mut identities = lock(&self.identities);
        for event in events {
            if let Event::Identity { identity, record, .. } = event {
                let value = Arc::new(record.clone());
                identities.insert(*identity, Known { value, since: height });
            }
        }
        drop(identities);
        let mut usage = lock(&self.usage);
        for Charged { account, usage: value, .. } in charged {
            usage.insert(account, Known { value, since: height });
        }
        drop(usage);
        if let Some(budget) = changed(key::BUDGET) {
            let value = decode("budget", budget)?;
            lock(&self.budget).insert((), Known { value, since: height });
        }
        if let Some(quotas) = changed(key::QUOTAS) {
            let value = decode("quotas", quotas)?;
            lock(&self.quotas).insert((), Known { value, since: height });
        }
        if let Some(standings) = changed(key::STANDINGS) {
            let value = Arc::new(decode("standings", standings)?);
            lock(&self.standings).insert((), Known { value, since: height });
        }
        Ok(())
    }
}

/// The value as of a height: what is remembered, if it was that already then.
fn latest<K: Clone + Eq + Hash + Borrow<K>, V: Clone>(
    known: &Latest<K, V>,
    store: &dyn Store,
    key: &K,
    height: Height,
    read: impl Fn(Height) -> Result<Option<V>, MachineError>,
) -> Result<Option<V>, MachineError> {
    let mut remembered = lock(known);
    if let Some(Known { value, since }) = remembered.get(key) {
        if *since <= height {
            return Ok(Some(value.clone()));
        }
        drop(remembered);
        return read(height);
    }
    // Read while it is locked: what is executed meanwhile is told afterwards,
    // and replaces what is found here.
    let applied = store.applied()?.map_or(Height::ZERO, |applied| Height(applied.height));
    let value = read(applied)?;
    if let Some(value) = &value {
        remembered.insert(key.clone(), Known { value: value.clone(), since: applied });
    }
    drop(remembered);
    if applied <= height { Ok(value) } else { read(height) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves its collection whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn decode<T: BorshDeserialize>(what: &'static str, row: &[u8]) -> Result<T, MachineError> {
    codec::decode(what, row, MAX_VALUE)
        .map_err(|error| MachineError::undecodable(format!("record of a {what}"), error))
}

/// A new value of an account.
pub(crate) struct Charged {
    account: Account,
    usage: Usage,
    /// Whether quotas are counted.
    quotas: bool,
}

impl Charged {
    pub(crate) fn write(&self) -> Write {
        Write::put(Space::Usage, self.account.key(), self.usage.encode(self.quotas))
    }
}

/// Adds up what is to be charged at one time, on top of what was used as of a
/// height.
pub struct Tally<'a> {
    accounts: &'a Accounts,
    store: &'a dyn Store,
    height: Height,
    time_ms: UnixMillis,
    budget: Budget,
    quotas: Quotas,
    identities: BTreeMap<IdentityId, Usage>,
    members: BTreeMap<Name, Usage>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(
        accounts: &'a Accounts,
        store: &'a dyn Store,
        height: Height,
        time_ms: UnixMillis,
    ) -> Result<Self, MachineError> {
        Ok(Self {
            accounts,
            store,
            height,
            time_ms,
            budget: accounts.budget(store, height)?,
            quotas: accounts.quotas(store, height)?,
            identities: BTreeMap::new(),
            members: BTreeMap::new(),
        })
    }

    /// What the identity and the member that answers for it have used.
    fn used(
        &mut self,
        identity: &IdentityId,
        member: &Name,
    ) -> Result<(&mut Usage, &mut Usage), MachineError> {
        if !self.identities.contains_key(identity) {
            let account = Account::Identity(*identity);
            let usage = self.accounts.usage(self.store, &account, self.height)?;
            self.identities.insert(*identity, usage.at(self.time_ms));
        }
        if !self.members.contains_key(member) {
            let account = Account::Member(member.clone());
            let usage = self.accounts.usage(self.store, &account, self.height)?;
            self.members.insert(member.clone(), usage.at(self.time_ms));
        }
        let missing = || MachineError::damaged("accounts");
        Ok((
            self.identities.get_mut(identity).ok_or_else(missing)?,
            self.members.get_mut(member).ok_or_else(missing)?,
        ))
    }

    /// Whether it matters for a block what those before it hold.
    pub fn has_rates(&self) -> bool {
        self.quotas.has_rates()
    }

    /// What an identity of this kind may use, and all of its member.
    fn limits(&self, record: &IdentityRecord) -> ((u64, Quota), (u64, Quota)) {
        let Budget { identity_bytes, member_bytes } = self.budget;
        let Quotas { identity, member } = self.quotas;
        match record.kind {
            IdentityKind::Member => {
                let all = member_bytes.saturating_add(self.budget.reserve());
                let all = (all, member.with_reserve());
                (all, all)
            }
            _ => ((identity_bytes, identity), (member_bytes, member)),
        }
    }

    /// What does not suffice when the identity adds `own`, and all whom its member
    /// answers for add `all`.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn over(
        &mut self,
        identity: &IdentityId,
        record: &IdentityRecord,
        own: Load,
        all: Load,
    ) -> Result<Option<Over>, MachineError> {
        self.excess(identity, record, own, all, |usage| usage)
    }

    /// [`Self::over`] of what is to wait for a block: of the day what was used
    /// counts as well, but in a second there may wait as much as a second takes.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn over_waiting(
        &mut self,
        identity: &IdentityId,
        record: &IdentityRecord,
        own: Load,
        all: Load,
    ) -> Result<Option<Over>, MachineError> {
        self.excess(identity, record, own, all, Usage::of_the_day)
    }

    fn excess(
        &mut self,
        identity: &IdentityId,
        record: &IdentityRecord,
        own: Load,
        all: Load,
        counts: fn(Usage) -> Usage,
    ) -> Result<Option<Over>, MachineError> {
        let (own_limits, all_limits) = self.limits(record);
        let (own_used, all_used) = self.used(identity, &record.owner)?;
        let of = |used: &Usage, more, (bytes, quota): (u64, Quota), whose| {
            counts(*used).over(more, bytes, &quota).map(|period| Over { whose, period })
        };
        let own = of(own_used, own, own_limits, Whose::Identity);
        Ok(own.or_else(|| of(all_used, all, all_limits, Whose::Member)))
    }

    /// Charges `bytes`, whether the budgets suffice or not.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn charge(
        &mut self,
        identity: &IdentityId,
        record: &IdentityRecord,
        bytes: u64,
    ) -> Result<(), MachineError> {
        self.charge_at(identity, record, bytes, self.time_ms)
    }

    /// Charges what stands in a block of another time: what of it is of this one.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn charge_at(
        &mut self,
        identity: &IdentityId,
        record: &IdentityRecord,
        bytes: u64,
        time_ms: UnixMillis,
    ) -> Result<(), MachineError> {
        let of_day = day(time_ms) == day(self.time_ms);
        let of_second = second(time_ms) == second(self.time_ms);
        let (own, all) = self.used(identity, &record.owner)?;
        for usage in [own, all] {
            usage.add(bytes, of_day, of_second);
        }
        Ok(())
    }

    /// Every account that was asked for, as it is now.
    pub(crate) fn finish(self) -> Vec<Charged> {
        let quotas = !self.quotas.is_unlimited();
        // What is remembered is what is written: otherwise a node that was started anew
        // would judge otherwise than one that was not.
        let kept = |usage: Usage| match quotas {
            true => usage,
            false => Usage { counted: Counted::default(), ..usage },
        };
        let charged = |account, usage| Charged { account, usage: kept(usage), quotas };
        let identities =
            self.identities.into_iter().map(|(id, usage)| charged(Account::Identity(id), usage));
        let members =
            self.members.into_iter().map(|(name, usage)| charged(Account::Member(name), usage));
        identities.chain(members).collect()
    }
}
