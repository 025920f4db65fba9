//! One transaction with all that follows from it: the actions that an action
//! calls, and those that triggers call.
//!
//! Order: an action's own effects; what it calls, in the order of the file; then
//! the triggers on the asset that changed, those of its own contract first, then
//! those of others, by name. Each is done with all that follows from it before the
//! next begins.
//!
//! - What an action calls is part of it: when that is refused, all is.
//! - What a trigger calls is not: refused, it leaves no trace but that it fired.
//! - Depth and number are bounded. A call over the bounds is refused with `limit`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hufu_proof::transaction::{Batch, Firing, Invocation};
use hufu_proof::{IdentityId, Name, Outcome, Sequence, Value};

use crate::contract::Contract;
use crate::expression::Scope;
use crate::trigger::{Asked, CheckedCall, CheckedTrigger, WaitsFor, row_columns};
use crate::world::{
    Acted, Asset, Cause, Context, Effects, Event, Fired, Member, Principal, StreamEffects, World,
    Write,
};

/// How deep calls go: the transaction's own action is the first.
pub const MAX_DEPTH: u32 = 5;
/// Most actions of one transaction, its own among them.
pub const MAX_ACTIONS: usize = 64;

/// The world with the contracts that are active in it.
pub trait Contracts: World {
    /// The active version of a contract.
    fn contract(&self, name: &Name) -> Option<Arc<Contract>>;

    /// The contracts that have triggers on assets or streams of `contract`, which
    /// is another.
    fn subscribers(&self, contract: &Name) -> BTreeSet<Name>;
}

impl Contract {
    /// Executes an action and all that follows from it, from the check of its asset
    /// and state on. What comes before (signature, identity, expiry, whether the
    /// contract is active) is the machine's.
    ///
    /// # Errors
    /// The outcome that goes into the receipt; nothing is to be written.
    pub fn apply(
        &self,
        invocation: &Invocation,
        context: &Context,
        world: &dyn Contracts,
    ) -> Result<Effects, Outcome> {
        let mut chain = Chain::new(world);
        chain.perform(self, invocation, context, 1)?;
        Ok(chain.finish())
    }

    /// Checks a batch of a stream, and executes what its rows trigger.
    ///
    /// # Errors
    /// The outcome that goes into the receipt; nothing is to be written.
    pub fn append(
        &self,
        batch: &Batch,
        context: &Context,
        world: &dyn Contracts,
    ) -> Result<StreamEffects, Outcome> {
        let device = self.accept(batch, context, world)?;
        let mut chain = Chain::new(world);
        chain.rows(self, batch, &device, context);
        Ok(StreamEffects { device, sequence: batch.sequence, triggered: chain.finish() })
    }

    /// Executes what a date calls, if it has come.
    ///
    /// # Errors
    /// The outcome that goes into the receipt; nothing is to be written.
    pub fn fire(
        &self,
        firing: &Firing,
        context: &Context,
        world: &dyn Contracts,
    ) -> Result<Effects, Outcome> {
        let trigger = self.triggers.get(&firing.trigger).ok_or(Outcome::NoAction)?;
        let WaitsFor::Date(from, due) = &trigger.waits_for else { return Err(Outcome::NoAction) };
        let key = firing.asset.as_str();
        let asset = world.asset(&self.package.name, &trigger.on, key).ok_or(Outcome::NoAsset)?;
        if !from.is_empty() && !from.contains(&asset.state) {
            return Err(Outcome::WrongState);
        }
        let context = context_via(self, &trigger.name, context);
        let context = Context { principal: Principal::clock(), ..context };
        let params = BTreeMap::new();
        let scope = Scope {
            asset: Some((key, &asset)),
            params: &params,
            row: &[],
            context: &context,
            world,
        };
        // Without a date, as without what it is computed from, there is none to come.
        let Ok(Value::Time(due)) = due.evaluate(&scope) else { return Err(Outcome::NotDue) };
        if due > context.block_time_ms.get() {
            return Err(Outcome::NotDue);
        }
        let asked = trigger.call.ask(&scope).map_err(|_| Outcome::Effect)?;
        let asked = asked.ok_or(Outcome::NotDue)?;
        let mut chain = Chain::new(world);
        chain.call(self, &trigger.call, asked, &context, 1)?;
        let (asset_type, key) = (trigger.on.clone(), firing.asset.clone());
        let cause = Cause { contract: self.package.name.clone(), asset_type, key };
        let (contract, trigger) = (self.package.name.clone(), trigger.name.clone());
        let outcome = Outcome::Accepted;
        chain.effects.fired.push(Fired { contract, trigger, cause, outcome });
        Ok(chain.finish())
    }

    /// When the dates of an asset come: by the triggers that wait for them.
    pub fn dates<'a>(
        &'a self,
        asset_type: &'a Name,
        key: &'a str,
        asset: &'a Asset,
        context: &'a Context,
        world: &'a dyn World,
    ) -> impl Iterator<Item = (&'a Name, u64)> {
        self.triggers.values().filter_map(move |trigger| {
            let WaitsFor::Date(from, due) = &trigger.waits_for else { return None };
            if trigger.on != *asset_type || !(from.is_empty() || from.contains(&asset.state)) {
                return None;
            }
            let params = BTreeMap::new();
            let asset = Some((key, asset));
            let scope = Scope { asset, params: &params, row: &[], context, world };
            match due.evaluate(&scope) {
                Ok(Value::Time(due)) => Some((&trigger.name, due)),
                _ => None,
            }
        })
    }

    /// Whether it waits for dates of assets of a type.
    pub fn has_dates(&self, asset_type: &Name) -> bool {
        let mut triggers = self.triggers.values();
        triggers.any(|one| one.on == *asset_type && matches!(one.waits_for, WaitsFor::Date(..)))
    }
}

/// The circumstances of what an action or trigger of `contract` calls.
fn context_via(contract: &Contract, name: &Name, context: &Context) -> Context {
    Context { via: Some(format!("{}/{name}", contract.package.name)), ..context.clone() }
}

/// What happened so far, and the world as it is after that.
struct Chain<'a> {
    below: &'a dyn Contracts,
    /// Actions begun, also those that were refused.
    actions: usize,
    effects: Effects,
}

/// How much had happened.
struct Place {
    writes: usize,
    events: usize,
    fired: usize,
    acted: usize,
}

impl World for Chain<'_> {
    fn asset(&self, contract: &Name, asset_type: &Name, key: &str) -> Option<Asset> {
        let mut latest = self.effects.writes.iter().rev();
        let written = latest.find(|write| {
            write.key == key && write.asset_type == *asset_type && write.contract == *contract
        });
        match written {
            Some(write) => Some(write.asset.clone()),
            None => self.below.asset(contract, asset_type, key),
        }
    }

    fn member(&self, contract: &Name, member: &Name) -> Option<Member> {
        self.below.member(contract, member)
    }

    fn stream_sequence(&self, contract: &Name, stream: &Name, identity: &IdentityId) -> Sequence {
        self.below.stream_sequence(contract, stream, identity)
    }
}

impl<'a> Chain<'a> {
    fn new(below: &'a dyn Contracts) -> Self {
        Self { below, actions: 0, effects: Effects::default() }
    }

    /// What happened; of an asset that was written several times, the last.
    fn finish(self) -> Effects {
        let Effects { writes, events, fired, acted } = self.effects;
        let mut last: Vec<Write> = Vec::with_capacity(writes.len());
        for write in writes {
            let same = |one: &&mut Write| {
                one.key == write.key
                    && one.asset_type == write.asset_type
                    && one.contract == write.contract
            };
            match last.iter_mut().find(same) {
                // Made and changed at once is made.
                Some(one) => one.asset = write.asset,
                None => last.push(write),
            }
        }
        Effects { writes: last, events, fired, acted }
    }

    /// One action, what it calls, and what its change triggers.
    fn perform(
        &mut self,
        contract: &Contract,
        invocation: &Invocation,
        context: &Context,
        depth: u32,
    ) -> Result<(), Outcome> {
        if depth > MAX_DEPTH || self.actions == MAX_ACTIONS {
            return Err(Outcome::Limit);
        }
        self.actions += 1;
        let done = contract.act(invocation, context, self)?;
        let (name, key) = (&contract.package.name, invocation.asset.as_str());
        let calls = contract.calls.get(&invocation.action);
        let after = calls.map(|_| done.asset.clone());
        let entered = done.from.as_ref() != Some(&done.asset.state);
        let created = done.from.is_none();
        self.effects.acted.push(Acted {
            contract: name.clone(),
            action: invocation.action.clone(),
            from: done.from,
        });
        self.effects.writes.push(Write {
            contract: name.clone(),
            asset_type: done.asset_type.clone(),
            key: key.to_owned(),
            created,
            asset: done.asset,
        });
        self.effects.events.extend(done.emits.map(|event| Event {
            contract: name.clone(),
            name: event,
            asset_type: done.asset_type.clone(),
            key: key.to_owned(),
        }));
        for call in calls.into_iter().flatten() {
            let scope = Scope {
                asset: after.as_ref().map(|asset| (key, asset)),
                params: &invocation.params,
                row: &[],
                context,
                world: &*self,
            };
            if let Some(asked) = call.ask(&scope).map_err(|_| Outcome::Effect)? {
                let context = context_via(contract, &invocation.action, context);
                self.call(contract, call, asked, &context, depth + 1)?;
            }
        }
        self.changed(contract, &done.asset_type, key, entered, context, depth);
        Ok(())
    }

    /// An action that `contract` calls.
    fn call(
        &mut self,
        contract: &Contract,
        call: &CheckedCall,
        asked: Asked,
        context: &Context,
        depth: u32,
    ) -> Result<(), Outcome> {
        let invocation = Invocation {
            contract: call.contract.clone(),
            action: call.action.clone(),
            asset: asked.target,
            params: asked.params,
        };
        if call.contract == contract.package.name {
            return self.perform(contract, &invocation, context, depth);
        }
        let callee = self.below.contract(&call.contract).ok_or(Outcome::NoContract)?;
        let known = contract.dependencies.get(&call.contract).ok_or(Outcome::NoContract)?;
        if known.version().major != callee.version().major {
            return Err(Outcome::NoContract);
        }
        self.perform(&callee, &invocation, context, depth)
    }

    /// Fires the triggers on an asset that was changed; `entered` when its state
    /// is another than before.
    fn changed(
        &mut self,
        contract: &Contract,
        asset_type: &Name,
        key: &str,
        entered: bool,
        context: &Context,
        depth: u32,
    ) {
        self.each_trigger(contract, asset_type, |chain, of, trigger| {
            let WaitsFor::Change(to) = &trigger.waits_for else { return };
            // What came before may have changed it again.
            let Some(asset) = chain.asset(&contract.package.name, asset_type, key) else { return };
            if !to.is_empty() && (!entered || !to.contains(&asset.state)) {
                return;
            }
            let cause = Cause {
                contract: contract.package.name.clone(),
                asset_type: asset_type.clone(),
                key: key.to_owned(),
            };
            let subject = (Some((key, &asset)), &[][..]);
            chain.trigger(of, trigger, subject, &cause, context, depth);
        });
    }

    /// Fires the triggers on the rows of a batch.
    fn rows(&mut self, contract: &Contract, batch: &Batch, device: &str, context: &Context) {
        let Some(stream) = contract.package.streams.get(&batch.stream) else { return };
        self.each_trigger(contract, &batch.stream, |chain, of, trigger| {
            let WaitsFor::Row(find) = &trigger.waits_for else { return };
            let columns = row_columns(stream);
            let params = BTreeMap::new();
            let cause = Cause {
                contract: stream.signer_contract.clone(),
                asset_type: stream.signer_asset.clone(),
                key: device.to_owned(),
            };
            for (position, values) in batch.rows.iter().enumerate() {
                let mut declared = values.iter();
                let row: Option<Vec<Value>> = columns
                    .keys()
                    .map(|column| match column.as_str() {
                        "device" => Some(Value::Ref(device.to_owned())),
                        "position" => i64::try_from(position).ok().map(Value::Int),
                        "sequence" => i64::try_from(batch.sequence.get()).ok().map(Value::Int),
                        _ => declared.next().cloned(),
                    })
                    .collect();
                let Some(row) = row else { return };
                let scope =
                    Scope { asset: None, params: &params, row: &row, context, world: &*chain };
                let found = match find {
                    None => None,
                    Some((contract, asset_type, key)) => {
                        let Ok(Value::Id(key)) = key.evaluate(&scope) else { continue };
                        match chain.asset(contract, asset_type, &key) {
                            Some(asset) => Some((key, asset)),
                            None => continue,
                        }
                    }
                };
                let asset = found.as_ref().map(|(key, asset)| (key.as_str(), asset));
                let going = chain.trigger(of, trigger, (asset, &row), &cause, context, 0);
                if !going {
                    return;
                }
            }
        });
    }

    /// Every trigger on an asset type or stream of a contract: its own first.
    fn each_trigger(
        &mut self,
        contract: &Contract,
        on: &Name,
        mut each: impl FnMut(&mut Self, &Contract, &CheckedTrigger),
    ) {
        let name = &contract.package.name;
        let concerns = |trigger: &&CheckedTrigger| trigger.contract == *name && trigger.on == *on;
        for trigger in contract.triggers.values().filter(concerns) {
            each(self, contract, trigger);
        }
        for subscriber in self.below.subscribers(name) {
            let Some(of) = self.below.contract(&subscriber) else { continue };
            for trigger in of.triggers.values().filter(concerns) {
                each(self, &of, trigger);
            }
        }
    }

    /// Fires a trigger if its condition holds. `false` when there was no room for it,
    /// which is told like any other refusal, once for all that would follow.
    fn trigger(
        &mut self,
        of: &Contract,
        trigger: &CheckedTrigger,
        (asset, row): (Option<(&str, &Asset)>, &[Value]),
        cause: &Cause,
        context: &Context,
        depth: u32,
    ) -> bool {
        let params = BTreeMap::new();
        let scope = Scope { asset, params: &params, row, context, world: &*self };
        let place = self.place();
        let asked = match trigger.call.ask(&scope) {
            Ok(None) => return true,
            // Whoever reads what is not there finds nothing to do, as a condition
            // that asks for it first would have said.
            Err(_) => Err(Outcome::Effect),
            Ok(Some(asked)) => Ok(asked),
        };
        let room = self.actions < MAX_ACTIONS;
        let outcome = match asked {
            _ if !room => Err(Outcome::Limit),
            Ok(asked) => {
                let context = context_via(of, &trigger.name, context);
                self.call(of, &trigger.call, asked, &context, depth + 1)
            }
            Err(outcome) => {
                // A condition that fails costs as much as an action.
                self.actions += 1;
                Err(outcome)
            }
        };
        if outcome.is_err() {
            self.back_to(&place);
        }
        self.effects.fired.push(Fired {
            contract: of.package.name.clone(),
            trigger: trigger.name.clone(),
            cause: cause.clone(),
            outcome: outcome.err().unwrap_or(Outcome::Accepted),
        });
        room
    }

    fn place(&self) -> Place {
        let Effects { writes, events, fired, acted } = &self.effects;
        let (writes, events) = (writes.len(), events.len());
        Place { writes, events, fired: fired.len(), acted: acted.len() }
    }

    /// Takes back what happened since.
    fn back_to(&mut self, place: &Place) {
        self.effects.writes.truncate(place.writes);
        self.effects.events.truncate(place.events);
        self.effects.fired.truncate(place.fired);
        self.effects.acted.truncate(place.acted);
    }
}
