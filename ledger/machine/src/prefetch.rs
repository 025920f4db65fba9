//! What the transactions of a block will ask of the store, read in sets before
//! they run.
//!
//! A store on a cluster answers a set of keys in the time of one. So what is
//! known beforehand is read beforehand: where each transaction was recorded
//! before, who signed it, the contract, its stream's last sequence number, the
//! asset, and what the signer has used today. What depends on what was read (an
//! asset that a guard refers to) is read when it is asked for; the state tree has
//! a way of its own ([`crate::tree::prefetch`]).
//!
//! Nothing of it decides anything: an execution finds the same values, only
//! sooner.

use std::collections::HashMap;
use std::sync::Arc;

use hufu_contract::Contract;
use hufu_proof::{Block, Digest, Name, Payload};
use hufu_store::Space;

use crate::accounts::Account;
use crate::encoded::Encoded;
use crate::error::MachineError;
use crate::execute::Ground;
use crate::index::{self, Place};
use crate::key;
use crate::record::ContractRecord;
use crate::state;

/// Reads ahead for `block`; returns which of its transactions were recorded
/// before, and where.
pub(crate) fn prefetch(
    ground: &Ground<'_>,
    block: &Block,
    encoded: &[Encoded],
) -> Result<HashMap<Digest, Place>, MachineError> {
    let store = &**ground.store;
    let ids = encoded.iter().map(|encoded| &encoded.id);
    let unknown = ground.seen.unknown(ids);
    let recorded = index::read_many(store, &unknown, block.header.height.get())?;
    if !store.is_remote() {
        // Who asks for the rest is answered as quickly.
        return Ok(recorded);
    }

    let mut keys = vec![key::AMENDMENTS.to_vec(), key::STANDINGS.to_vec()];
    let mut accounts = Vec::new();
    for transaction in &block.transactions {
        let identity = transaction.body.signer.identity();
        keys.push(key::identity(&identity));
        match &transaction.body.payload {
            Payload::Invoke(call) => keys.push(key::contract(&call.contract)),
            Payload::Fire(firing) => keys.push(key::contract(&firing.contract)),
            Payload::Append(batch) => {
                keys.push(key::contract(&batch.contract));
                keys.push(key::sequence(&batch.contract, &batch.stream, &identity));
            }
            _ => {}
        }
        accounts.push(Account::Identity(identity));
    }
    read_ahead(ground, keys)?;
    ground.accounts.prefetch(store, accounts)?;

    let mut contracts: HashMap<&Name, Option<Arc<Contract>>> = HashMap::new();
    let mut assets = Vec::new();
    for transaction in &block.transactions {
        let Payload::Invoke(call) = &transaction.body.payload else { continue };
        let contract =
            contracts.entry(&call.contract).or_insert_with(|| active(ground, &call.contract));
        let action = contract.as_ref().and_then(|contract| contract.action(call.action.as_str()));
        if let Some(action) = action {
            assets.push(key::asset(&call.contract, &action.asset, &call.asset));
        }
    }
    read_ahead(ground, assets)?;
    Ok(recorded)
}

/// Reads into the cache what is not there yet.
fn read_ahead(ground: &Ground<'_>, mut keys: Vec<Vec<u8>>) -> Result<(), MachineError> {
    let mut cache = ground.cache.borrow_mut();
    keys.retain(|key| cache.get(key).is_none());
    keys.sort_unstable();
    keys.dedup();
    let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let values = ground.store.read_many(Space::State, &asked, u64::MAX)?;
    for (key, value) in keys.into_iter().zip(values) {
        cache.insert(key, value.map(Arc::from));
    }
    Ok(())
}

/// The active version of a contract as of the height before. A failure is met
/// again by whoever asks for the contract.
fn active(ground: &Ground<'_>, name: &Name) -> Option<Arc<Contract>> {
    let record = ground.cache.borrow_mut().get(&key::contract(name))?.clone()?;
    let record: ContractRecord = state::decode("contract", &record).ok()?;
    ground.contracts.get(&**ground.store, &record.digest).ok()
}
