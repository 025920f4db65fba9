//! Compiled contracts, kept in memory, compiled again from the store when they
//! are not.
//!
//! In the space of packages:
//!
//! | row | holds |
//! |---|---|
//! | `k` + digest (large) | the package, in its canonical encoding |
//! | `d` + digest | the packages it was checked against, by name |
//! | `p` + digest of a proposal (large) | the proposal |

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use hufu_contract::sources::CONTRACT;
use hufu_contract::{Contract, Sources, manifest};
use hufu_proof::transaction::Proposal;
use hufu_proof::{Digest, Name, Outcome, codec};
use hufu_store::limits::MAX_VALUE;
use hufu_store::{Space, Store, StoreError, Write, large};

use crate::error::MachineError;

fn package_key(digest: &Digest) -> Vec<u8> {
    [&b"k"[..], digest.as_bytes()].concat()
}

fn dependencies_key(digest: &Digest) -> Vec<u8> {
    [&b"d"[..], digest.as_bytes()].concat()
}

fn proposal_key(digest: &Digest) -> Vec<u8> {
    [&b"p"[..], digest.as_bytes()].concat()
}

/// The rows of a deployed package.
pub(crate) fn package_writes(
    digest: &Digest,
    package: &[u8],
    dependencies: &BTreeMap<Name, Digest>,
) -> Result<Vec<Write>, StoreError> {
    let mut writes: Vec<Write> =
        large::writes(Space::Packages, &package_key(digest), package)?.collect();
    let dependencies = codec::encode(dependencies);
    writes.push(Write::put(Space::Packages, dependencies_key(digest), dependencies));
    Ok(writes)
}

/// The rows of a proposal.
pub(crate) fn proposal_writes(
    digest: &Digest,
    proposal: &Proposal,
) -> Result<Vec<Write>, StoreError> {
    let bytes = codec::encode(proposal);
    Ok(large::writes(Space::Packages, &proposal_key(digest), &bytes)?.collect())
}

/// A proposal.
pub(crate) fn proposal(
    store: &dyn Store,
    digest: &Digest,
) -> Result<Option<Proposal>, MachineError> {
    let bytes = large::read(store, Space::Packages, &proposal_key(digest), u64::MAX)?;
    bytes
        .map(|bytes| {
            codec::decode("proposal", &bytes, codec::MAX_TRANSACTION)
                .map_err(|error| MachineError::undecodable("proposal", error))
        })
        .transpose()
}

/// The package with this digest.
pub(crate) fn package(store: &dyn Store, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    large::read(store, Space::Packages, &package_key(digest), u64::MAX)
}

/// Checks a package against the contracts it may use.
pub(crate) fn compile(
    package: &[u8],
    dependencies: &BTreeMap<Name, Arc<Contract>>,
) -> Result<Contract, Outcome> {
    let sources = Sources::from_bytes(package).map_err(|_| Outcome::Package)?;
    hufu_contract::check(&sources, dependencies).map_err(|_| Outcome::Package)
}

/// The contract's name in a package, whether or not it passes its check.
pub(crate) fn name(package: &[u8]) -> Option<Name> {
    let sources = Sources::from_bytes(package).ok()?;
    Some(manifest::header(sources.text(CONTRACT)?).ok()?.name)
}

/// Compiled contracts by the digest of their package.
#[derive(Default)]
pub(crate) struct Contracts {
    compiled: RwLock<HashMap<Digest, Arc<Contract>>>,
}

impl Contracts {
    /// The contract of a package that was deployed.
    pub(crate) fn get(
        &self,
        store: &dyn Store,
        digest: &Digest,
    ) -> Result<Arc<Contract>, MachineError> {
        self.find(store, digest)?
            .ok_or_else(|| MachineError::damaged(format!("contract package {digest}")))
    }

    /// The contract of a package, if it was ever deployed: compiled against the
    /// packages it was deployed with, whatever is active now.
    pub(crate) fn find(
        &self,
        store: &dyn Store,
        digest: &Digest,
    ) -> Result<Option<Arc<Contract>>, MachineError> {
        if let Some(contract) = self.read().get(digest) {
            return Ok(Some(Arc::clone(contract)));
        }
        let Some(package) = package(store, digest)? else { return Ok(None) };
        // What was deployed passed its check then and must pass it again.
        let damaged = || MachineError::damaged(format!("contract package {digest}"));
        let row = store.read_latest(Space::Packages, &dependencies_key(digest))?;
        let names: BTreeMap<Name, Digest> =
            codec::decode("dependencies", &row.ok_or_else(damaged)?, MAX_VALUE)
                .map_err(|error| MachineError::undecodable("contract dependencies", error))?;
        let mut dependencies = BTreeMap::new();
        for (name, digest) in names {
            // A package depends on what was deployed before it: this ends.
            dependencies.insert(name, self.get(store, &digest)?);
        }
        let contract = Arc::new(compile(&package, &dependencies).map_err(|_| damaged())?);
        self.remember(*digest, Arc::clone(&contract));
        Ok(Some(contract))
    }

    /// Keeps a contract that was deployed.
    pub(crate) fn remember(&self, digest: Digest, contract: Arc<Contract>) {
        self.compiled.write().unwrap_or_else(PoisonError::into_inner).insert(digest, contract);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Digest, Arc<Contract>>> {
        self.compiled.read().unwrap_or_else(PoisonError::into_inner)
    }
}
