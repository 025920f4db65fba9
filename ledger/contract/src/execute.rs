//! Execution of one action, and acceptance of a batch; what follows from them is
//! [`crate::chain`]'s.
//!
//! The order of checks is that of the format: asset and state, parameters,
//! policy, effects, invariants, limits; the first failure is the outcome. One
//! departure: for an action that *creates*, the policy is asked about the asset
//! as it would be, so its effects are computed before the policy is asked (and
//! an effect that fails comes first).

use hufu_proof::transaction::{Batch, Invocation};
use hufu_proof::{Name, Outcome, Value, codec};

use crate::contract::Contract;
use crate::expression::Scope;
use crate::package::{Action, AssetType, Start};
use crate::policy::request::{Circumstances, Question, Subject};
use crate::types::Type;
use crate::world::{Asset, Context, Principal, World};

/// What an action did.
pub(crate) struct Done {
    pub(crate) asset_type: Name,
    /// The state that it started from; `None` when it made the asset.
    pub(crate) from: Option<Name>,
    /// What the asset becomes.
    pub(crate) asset: Asset,
    pub(crate) emits: Option<Name>,
}

impl Contract {
    /// Executes one action, from the check of its asset and state on.
    ///
    /// # Errors
    /// The outcome that goes into the receipt.
    pub(crate) fn act(
        &self,
        invocation: &Invocation,
        context: &Context,
        world: &dyn World,
    ) -> Result<Done, Outcome> {
        let action = self.package.actions.get(&invocation.action).ok_or(Outcome::NoAction)?;
        let declared = self.package.assets.get(&action.asset).ok_or(Outcome::NoAction)?;
        let key = invocation.asset.as_str();
        Type::Id.check(&Value::Id(key.to_owned())).map_err(|_| Outcome::Parameter)?;
        let found = world.asset(&self.package.name, &action.asset, key);
        let before = match (action.start, found) {
            (Start::Nothing, Some(_)) => return Err(Outcome::AssetExists),
            (Start::Nothing, None) => None,
            (Start::Asset, None) => return Err(Outcome::NoAsset),
            (Start::Asset, Some(asset)) => {
                if !action.from.contains(&asset.state) {
                    return Err(Outcome::WrongState);
                }
                Some(asset)
            }
        };
        let from = before.as_ref().map(|asset| asset.state.clone());
        self.check_params(action, invocation, context, world)?;
        let after = match before {
            Some(before) => {
                self.permit(action, invocation, key, &before, context, world)?;
                self.effects(action, declared, invocation, before, context, world)?
            }
            None => {
                let blank = blank(action, declared, invocation)?;
                let after = self.effects(action, declared, invocation, blank, context, world)?;
                self.permit(action, invocation, key, &after, context, world)?;
                after
            }
        };
        self.check_asset(&action.asset, key, &after, context, world)?;
        if codec::encode(&after).len() > Asset::MAX {
            return Err(Outcome::Limit);
        }
        let (asset_type, emits) = (action.asset.clone(), action.emit.clone());
        Ok(Done { asset_type, from, asset: after, emits })
    }

    /// Checks a batch of a stream: the signing asset, the sequence, the rows,
    /// the policy, the invariants of rows. The key of the asset that signed.
    ///
    /// # Errors
    /// The outcome that goes into the receipt.
    pub(crate) fn accept(
        &self,
        batch: &Batch,
        context: &Context,
        world: &dyn World,
    ) -> Result<String, Outcome> {
        let contract = &self.package.name;
        let stream = self.package.streams.get(&batch.stream).ok_or(Outcome::NoAction)?;
        if batch.rows.len() > stream.max_rows as usize {
            return Err(Outcome::Oversized);
        }
        let principal = &context.principal;
        let device = principal.subject.as_str();
        let signer = world
            .asset(&stream.signer_contract, &stream.signer_asset, device)
            .ok_or(Outcome::NoAsset)?;
        if signer.fields.get("identity") != Some(&Value::Identity(principal.identity)) {
            return Err(Outcome::Forbidden);
        }
        let last = world.stream_sequence(contract, &batch.stream, &principal.identity);
        if !batch.sequence.follows(last) {
            return Err(Outcome::Sequence);
        }
        if batch.rows.is_empty() {
            return Err(Outcome::Parameter);
        }
        for row in &batch.rows {
            let typed = row.len() == stream.columns.len()
                && stream.columns.values().zip(row).all(|(ty, value)| ty.check(value).is_ok());
            if !typed {
                return Err(Outcome::Parameter);
            }
            for (ty, value) in stream.columns.values().zip(row) {
                ty.check_time(value, context.block_time_ms).map_err(|_| Outcome::Time)?;
            }
        }
        let question = Question {
            principal,
            action: "append",
            on: &batch.stream,
            subject: Subject::Stream {
                contract: &stream.signer_contract,
                asset_type: &stream.signer_asset,
                device,
            },
            circumstances: Circumstances::Append {
                rows: batch.rows.len(),
                height: context.block_height,
                time_ms: context.block_time_ms,
            },
            world,
            catalogue: self,
        };
        if !self.policies.permits(&question) {
            return Err(Outcome::Policy);
        }
        if let Some(invariants) = self.invariants.get(&batch.stream) {
            let params = Default::default();
            for row in &batch.rows {
                let scope = Scope { asset: None, params: &params, row, context, world };
                for (_, holds) in invariants {
                    match holds.holds(&scope) {
                        Ok(true) => {}
                        Ok(false) => return Err(Outcome::Invariant),
                        Err(_) => return Err(Outcome::Effect),
                    }
                }
            }
        }
        Ok(device.to_owned())
    }

    /// Whether `principal` may read the asset.
    pub fn visible(
        &self,
        principal: &Principal,
        asset_type: &Name,
        key: &str,
        asset: &Asset,
        world: &dyn World,
    ) -> bool {
        self.policies.permits(&Question {
            principal,
            action: "read",
            on: asset_type,
            subject: Subject::Asset { key, asset },
            circumstances: Circumstances::Read,
            world,
            catalogue: self,
        })
    }

    /// Whether `principal` may read the rows of a stream that `device` (the key
    /// of the signing asset) appended.
    pub fn stream_visible(
        &self,
        principal: &Principal,
        stream: &Name,
        device: &str,
        world: &dyn World,
    ) -> bool {
        let Some(declared) = self.package.streams.get(stream) else { return false };
        self.policies.permits(&Question {
            principal,
            action: "read",
            on: stream,
            subject: Subject::Stream {
                contract: &declared.signer_contract,
                asset_type: &declared.signer_asset,
                device,
            },
            circumstances: Circumstances::Read,
            world,
            catalogue: self,
        })
    }

    /// Every parameter is there, declared, typed, within bounds and of a plausible
    /// time; members and references exist.
    fn check_params(
        &self,
        action: &Action,
        invocation: &Invocation,
        context: &Context,
        world: &dyn World,
    ) -> Result<(), Outcome> {
        for (name, declared) in &action.params {
            match invocation.params.get(name) {
                Some(value) => {
                    let (ty, now) = (&declared.ty, context.block_time_ms);
                    ty.check(value).map_err(|_| Outcome::Parameter)?;
                    ty.check_time(value, now).map_err(|_| Outcome::Time)?;
                }
                None if declared.optional => {}
                None => return Err(Outcome::Parameter),
            }
        }
        // The key of a new asset may be repeated among the parameters.
        let key = self.package.assets.get(&action.asset).map(|asset| &asset.key);
        for (name, value) in &invocation.params {
            let repeats_key = action.start == Start::Nothing
                && Some(name) == key
                && matches!(value, Value::Id(value) if *value == invocation.asset);
            if !action.params.contains_key(name) && !repeats_key {
                return Err(Outcome::Parameter);
            }
        }
        for (name, declared) in &action.params {
            if let Some(value) = invocation.params.get(name) {
                self.check_targets(&declared.ty, value, world)?;
            }
        }
        Ok(())
    }

    fn check_targets(&self, ty: &Type, value: &Value, world: &dyn World) -> Result<(), Outcome> {
        match (ty, value) {
            (Type::Member, Value::Member(member)) => {
                world.member(&self.package.name, member).map(drop).ok_or(Outcome::Parameter)
            }
            (Type::Ref { contract, asset }, Value::Ref(key)) => {
                world.asset(contract, asset, key).map(drop).ok_or(Outcome::Effect)
            }
            (Type::List { of, .. }, Value::List(items)) => {
                items.iter().try_for_each(|item| self.check_targets(of, item, world))
            }
            (Type::Set { of, .. }, Value::Set(items)) => {
                items.iter().try_for_each(|item| self.check_targets(of, item, world))
            }
            _ => Ok(()),
        }
    }

    fn permit(
        &self,
        action: &Action,
        invocation: &Invocation,
        key: &str,
        asset: &Asset,
        context: &Context,
        world: &dyn World,
    ) -> Result<(), Outcome> {
        let permitted = self.policies.permits(&Question {
            principal: &context.principal,
            action: action.name.as_str(),
            on: &action.asset,
            subject: Subject::Asset { key, asset },
            circumstances: Circumstances::Action {
                declared: action,
                params: &invocation.params,
                via: context.via.as_deref(),
                height: context.block_height,
                time_ms: context.block_time_ms,
            },
            world,
            catalogue: self,
        });
        if permitted { Ok(()) } else { Err(Outcome::Policy) }
    }

    /// The asset after the action. All expressions see the asset as it was.
    fn effects(
        &self,
        action: &Action,
        declared: &AssetType,
        invocation: &Invocation,
        before: Asset,
        context: &Context,
        world: &dyn World,
    ) -> Result<Asset, Outcome> {
        let mut after = before.clone();
        for (name, parameter) in &action.params {
            if parameter.sets_field
                && let Some(value) = invocation.params.get(name)
            {
                after.fields.insert(name.clone(), value.clone());
            }
        }
        let scope = Scope {
            asset: Some((&invocation.asset, &before)),
            params: &invocation.params,
            row: &[],
            context,
            world,
        };
        for (field, expression) in self.effects.get(&action.name).into_iter().flatten() {
            let value = expression.evaluate(&scope).map_err(|_| Outcome::Effect)?;
            let ty = &declared.fields.get(field).ok_or(Outcome::Effect)?.ty;
            ty.check(&value).map_err(|_| Outcome::Effect)?;
            after.fields.insert(field.clone(), value);
        }
        if let Some(to) = &action.to {
            after.state = to.clone();
        }
        Ok(after)
    }

    fn check_asset(
        &self,
        asset_type: &Name,
        key: &str,
        asset: &Asset,
        context: &Context,
        world: &dyn World,
    ) -> Result<(), Outcome> {
        let params = Default::default();
        let scope = Scope { asset: Some((key, asset)), params: &params, row: &[], context, world };
        for (_, holds) in self.invariants.get(asset_type).into_iter().flatten() {
            match holds.holds(&scope) {
                Ok(true) => {}
                Ok(false) => return Err(Outcome::Invariant),
                Err(_) => return Err(Outcome::Effect),
            }
        }
        Ok(())
    }
}

/// A new asset before its effects: initial values and parameters.
fn blank(action: &Action, declared: &AssetType, invocation: &Invocation) -> Result<Asset, Outcome> {
    let state = declared.states.first().ok_or(Outcome::NoAction)?.clone();
    let mut fields = std::collections::BTreeMap::new();
    for (name, field) in &declared.fields {
        if let Some(initial) = &field.initial {
            fields.insert(name.clone(), initial.clone());
        }
        let sets = action.params.get(name).is_some_and(|parameter| parameter.sets_field);
        if sets && let Some(value) = invocation.params.get(name) {
            fields.insert(name.clone(), value.clone());
        }
    }
    Ok(Asset { state, fields })
}
