//! Who is charged for what is on the ledger, and how much each may still use.
//!
//! Everything in a block stays on every member's disk, so every transaction in
//! it is charged to an identity that the state knows, and to the member that
//! answers for it ([`hufu_proof::budget`]).
//!
//! # What is charged
//!
//! The encoded transaction, whatever becomes of it; but not a duplicate, which
//! its signer has sent once, and not what is over the budget: whoever puts that
//! into a block is a validator at fault.
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
use hufu_proof::budget::day;
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Budget, Height, IdentityId, Name, UnixMillis, codec};
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

/// What an account has used of its last day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Usage {
    /// Since 1970, by block time.
    day: u64,
    bytes: u64,
}

impl Usage {
    pub(crate) fn on(self, day: u64) -> u64 {
        if self.day == day { self.bytes } else { 0 }
    }
}

/// Whose budget does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
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
    standings: Latest<(), Arc<Standings>>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            identities: Mutex::new(Generations::new(REMEMBERED)),
            usage: Mutex::new(Generations::new(REMEMBERED)),
            budget: Mutex::new(Generations::new(1)),
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
            row.map_or(Ok(Usage::default()), |row| decode("usage", &row)).map(Some)
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
            let value = row.map_or(Ok(Usage::default()), |row| decode("usage", &row))?;
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
        for Charged { account, usage: value } in charged {
            usage.insert(account, Known { value, since: height });
        }
        drop(usage);
        if let Some(budget) = changed(key::BUDGET) {
            let value = decode("budget", budget)?;
            lock(&self.budget).insert((), Known { value, since: height });
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
}

impl Charged {
    pub(crate) fn write(&self) -> Write {
        Write::put(Space::Usage, self.account.key(), codec::encode(&self.usage))
    }
}

/// Adds up what is to be charged on one day, on top of what was used as of a
/// height.
pub struct Tally<'a> {
    accounts: &'a Accounts,
    store: &'a dyn Store,
    height: Height,
    day: u64,
    budget: Budget,
    identities: BTreeMap<IdentityId, u64>,
    members: BTreeMap<Name, u64>,
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
            day: day(time_ms),
            budget: accounts.budget(store, height)?,
            identities: BTreeMap::new(),
            members: BTreeMap::new(),
        })
    }

    /// Bytes used by the identity and by the member that answers for it.
    fn used(
        &mut self,
        identity: &IdentityId,
        member: &Name,
    ) -> Result<(&mut u64, &mut u64), MachineError> {
        if !self.identities.contains_key(identity) {
            let account = Account::Identity(*identity);
            let usage = self.accounts.usage(self.store, &account, self.height)?;
            self.identities.insert(*identity, usage.on(self.day));
        }
        if !self.members.contains_key(member) {
            let account = Account::Member(member.clone());
            let usage = self.accounts.usage(self.store, &account, self.height)?;
            self.members.insert(member.clone(), usage.on(self.day));
        }
        let missing = || MachineError::damaged("accounts");
        Ok((
            self.identities.get_mut(identity).ok_or_else(missing)?,
            self.members.get_mut(member).ok_or_else(missing)?,
        ))
    }

    /// Whose budget does not suffice when the identity adds `own` bytes, and all
    /// whom its member answers for add `all` bytes.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn over(
        &mut self,
        identity: &IdentityId,
        record: &IdentityRecord,
        own: u64,
        all: u64,
    ) -> Result<Option<Over>, MachineError> {
        let Budget { identity_bytes, member_bytes } = self.budget;
        let (own_limit, all_limit) = match record.kind {
            IdentityKind::Member => {
                let all = member_bytes.saturating_add(self.budget.reserve());
                (all, all)
            }
            _ => (identity_bytes, member_bytes),
        };
        let (own_used, all_used) = self.used(identity, &record.owner)?;
        Ok(if own_used.saturating_add(own) > own_limit {
            Some(Over::Identity)
        } else if all_used.saturating_add(all) > all_limit {
            Some(Over::Member)
        } else {
            None
        })
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
        let (own, all) = self.used(identity, &record.owner)?;
        *own = own.saturating_add(bytes);
        *all = all.saturating_add(bytes);
        Ok(())
    }

    /// Every account that was asked for, as it is now.
    pub(crate) fn finish(self) -> Vec<Charged> {
        let day = self.day;
        let charged = |account, bytes| Charged { account, usage: Usage { day, bytes } };
        let identities =
            self.identities.into_iter().map(|(id, bytes)| charged(Account::Identity(id), bytes));
        let members =
            self.members.into_iter().map(|(name, bytes)| charged(Account::Member(name), bytes));
        identities.chain(members).collect()
    }
}
