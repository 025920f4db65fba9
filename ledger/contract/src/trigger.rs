//! What a contract calls by itself, checked: `then` of actions, and triggers.
//!
//! A call is judged like an action that the signer asked for: the called action's
//! guard, effects and invariants hold as ever, with the signer as principal and
//! `context.via` saying who calls. So a contract lends nobody rights that its
//! signer does not have; only where a date has come there is no signer, and the
//! guard decides on `principal.kind == "clock"`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hufu_proof::{Name, Value};

use crate::contract::{Catalogue, Contract};
use crate::expression::evaluate::Fault;
use crate::expression::{Checked, Environment, ExpressionError, Scope};
use crate::package::{
    Action, AssetType, AssetTypes as _, Call, Package, Source, Start, Stream, Trigger,
};
use crate::problem::Problem;
use crate::reader::line_of;
use crate::sources::CONTRACT;
use crate::types::{Clock, Type};

/// Most steps that the triggers of one package on one stream may take for a
/// batch.
const MAX_BATCH_COST: u64 = 5_000_000;

/// A call, with its expressions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckedCall {
    pub(crate) contract: Name,
    pub(crate) action: Name,
    target: Checked,
    with: BTreeMap<Name, Checked>,
    when: Option<Checked>,
}

/// What a call asks for.
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) params: BTreeMap<Name, Value>,
}

impl CheckedCall {
    /// What it asks for; `None` when its condition does not hold.
    pub(crate) fn ask(&self, scope: &Scope<'_>) -> Result<Option<Asked>, Fault> {
        if let Some(when) = &self.when
            && !when.holds(scope)?
        {
            return Ok(None);
        }
        let target = match self.target.evaluate(scope)? {
            Value::Id(key) | Value::Ref(key) => key,
            _ => return Err(Fault::Type),
        };
        let mut params = BTreeMap::new();
        for (name, expression) in &self.with {
            params.insert(name.clone(), expression.evaluate(scope)?);
        }
        Ok(Some(Asked { target, params }))
    }

    /// Steps that its expressions take at most.
    pub(crate) fn cost(&self) -> u64 {
        let when = self.when.iter().map(Checked::cost).sum::<u64>();
        when + self.target.cost() + self.with.values().map(Checked::cost).sum::<u64>()
    }
}

/// A trigger, with its expressions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckedTrigger {
    pub(crate) name: Name,
    /// The contract of what it waits for.
    pub(crate) contract: Name,
    /// The stream or asset type.
    pub(crate) on: Name,
    pub(crate) waits_for: WaitsFor,
    pub(crate) call: CheckedCall,
}

/// What a trigger waits for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WaitsFor {
    /// A row; the asset that is `asset`: contract, type, key.
    Row(Option<(Name, Name, Checked)>),
    /// A change of an asset; the states it waits for, any when empty.
    Change(Vec<Name>),
    /// A date; the states in which it counts, all when empty.
    Date(Vec<Name>, Checked),
}

impl fmt::Display for CheckedCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{} on {}", self.contract, self.action, self.target.source())?;
        for (name, expression) in &self.with {
            write!(formatter, ", {name} = {}", expression.source())?;
        }
        match &self.when {
            Some(when) => write!(formatter, ", when {}", when.source()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for CheckedTrigger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |states: &[Name]| states.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        write!(formatter, "{}/{}", self.contract, self.on)?;
        match &self.waits_for {
            WaitsFor::Row(None) => {}
            WaitsFor::Row(Some((contract, asset, key))) => {
                write!(formatter, " with {contract}/{asset} {}", key.source())?;
            }
            WaitsFor::Change(to) => write!(formatter, " to {}", list(to))?,
            WaitsFor::Date(from, due) => {
                write!(formatter, " in {} at {}", list(from), due.source())?;
            }
        }
        write!(formatter, ": {}", self.call)
    }
}

/// The columns that a trigger sees beside those of its stream: `device`,
/// `position` in the batch, `sequence`.
pub(crate) fn row_columns(stream: &Stream) -> BTreeMap<Name, Type> {
    let mut columns = stream.columns.clone();
    let (contract, asset) = (stream.signer_contract.clone(), stream.signer_asset.clone());
    let added = [
        ("device", Type::Ref { contract, asset }),
        ("position", Type::int()),
        ("sequence", Type::int()),
    ];
    for (name, ty) in added {
        // Streams have no columns of these names.
        if let Ok(name) = Name::new(name) {
            columns.insert(name, ty);
        }
    }
    columns
}

/// Checks calls and triggers of a package.
pub(crate) struct Checker<'a> {
    pub(crate) catalogue: Catalogue<'a>,
    pub(crate) text: &'a str,
    pub(crate) problems: &'a mut Vec<Problem>,
}

type Calls = BTreeMap<Name, Vec<CheckedCall>>;

impl<'a> Checker<'a> {
    fn package(&self) -> &'a Package {
        self.catalogue.package
    }

    fn report(&mut self, at: usize, thing: String, message: impl Into<String>) {
        let line = if at == 0 { 0 } else { line_of(self.text, at) };
        self.problems.push(Problem::new(CONTRACT, line, thing, message));
    }

    fn wrong(&mut self, source: &Source, thing: String, error: ExpressionError) {
        self.report(source.at + error.at, thing, error.message);
    }

    /// What actions call.
    pub(crate) fn calls(&mut self) -> Calls {
        let mut calls = Calls::new();
        for (name, action) in &self.package().actions {
            let Some(asset) = self.package().assets.get(&action.asset) else { continue };
            for (number, call) in action.then.iter().enumerate() {
                let thing = format!("action.{name}.then[{}]", number + 1);
                let environment = Environment {
                    asset: Some(asset),
                    unset: &[],
                    params: &action.params,
                    row: None,
                    catalogue: &self.catalogue.clone(),
                };
                if let Some(checked) = self.call(&thing, call, &environment) {
                    calls.entry(name.clone()).or_default().push(checked);
                }
            }
        }
        self.circles(&calls);
        calls
    }

    /// An action that would call itself, over others of the package.
    fn circles(&mut self, calls: &Calls) {
        let own = &self.package().name;
        for start in calls.keys() {
            let (mut open, mut met) = (vec![start], Vec::new());
            while let Some(action) = open.pop() {
                for call in calls.get(action).into_iter().flatten() {
                    if call.contract == *own && !met.contains(&&call.action) {
                        met.push(&call.action);
                        open.push(&call.action);
                    }
                }
            }
            if met.contains(&start) {
                let message = "calls itself, directly or over others; end the circle";
                self.report(0, format!("action.{start}.then"), message);
            }
        }
    }

    /// The triggers.
    pub(crate) fn triggers(&mut self) -> BTreeMap<Name, CheckedTrigger> {
        let mut triggers = BTreeMap::new();
        let mut batch_costs: BTreeMap<(Name, Name), u64> = BTreeMap::new();
        for (name, trigger) in &self.package().triggers {
            let thing = format!("trigger.{name}");
            let Some(checked) = self.trigger(&thing, trigger) else { continue };
            if let WaitsFor::Row(_) = checked.waits_for
                && let Some(stream) = self.stream(&trigger.contract, &trigger.on)
            {
                let place = (trigger.contract.clone(), trigger.on.clone());
                let total = batch_costs.entry(place).or_default();
                *total += checked.cost() * u64::from(stream.max_rows);
                if *total > MAX_BATCH_COST {
                    let message = format!(
                        "with those before it takes up to {total} steps for a batch of `{}`; at \
                         most {MAX_BATCH_COST} are accepted: make its condition shorter, or the \
                         stream's batches smaller",
                        trigger.on
                    );
                    self.report(trigger.at, thing, message);
                    continue;
                }
            }
            triggers.insert(name.clone(), checked);
        }
        triggers
    }

    fn stream(&self, contract: &Name, stream: &Name) -> Option<&'a Stream> {
        if *contract == self.package().name {
            self.package().streams.get(stream)
        } else {
            self.catalogue.dependencies.get(contract)?.package.streams.get(stream)
        }
    }

    fn trigger(&mut self, thing: &str, trigger: &Trigger) -> Option<CheckedTrigger> {
        let none = BTreeMap::new();
        let catalogue = self.catalogue;
        let (columns, asset, waits_for) =
            if let Some(stream) = self.stream(&trigger.contract, &trigger.on) {
                if !trigger.to.is_empty() || trigger.due.is_some() {
                    let message = "`to` and `due` are for assets; this is a stream";
                    self.report(trigger.at, thing.to_owned(), message);
                    return None;
                }
                let columns = row_columns(stream);
                let found = match &trigger.find {
                    None => None,
                    Some(find) => {
                        let Some(asset) = catalogue.asset_type(&find.contract, &find.asset) else {
                            let message =
                                format!("there is no asset type {}/{}", find.contract, find.asset);
                            self.report(trigger.at, format!("{thing}.find"), message);
                            return None;
                        };
                        let environment = Environment {
                            asset: None,
                            unset: &[],
                            params: &none,
                            row: Some(&columns),
                            catalogue: &catalogue,
                        };
                        let key = self.expression(
                            &format!("{thing}.find.key"),
                            &find.key,
                            &Type::Id,
                            &environment,
                        )?;
                        Some((asset, (find.contract.clone(), find.asset.clone(), key)))
                    }
                };
                let (asset, found) = found.unzip();
                (Some(columns), asset, WaitsFor::Row(found))
            } else if let Some(asset) = catalogue.asset_type(&trigger.contract, &trigger.on) {
                for state in trigger.to.iter().chain(&trigger.from) {
                    if !asset.states.contains(state) {
                        let message = format!("{} has no state `{state}`", trigger.on);
                        self.report(trigger.at, thing.to_owned(), message);
                    }
                }
                if trigger.find.is_some() {
                    let message = "is for streams; of an asset, `asset` is the one that changed";
                    self.report(trigger.at, format!("{thing}.find"), message);
                }
                let waits_for = match &trigger.due {
                    None => WaitsFor::Change(trigger.to.clone()),
                    Some(due) => {
                        let environment = Environment {
                            asset: Some(asset),
                            unset: &[],
                            params: &none,
                            row: None,
                            catalogue: &catalogue,
                        };
                        let due = self.date(&format!("{thing}.due"), due, &environment)?;
                        WaitsFor::Date(trigger.from.clone(), due)
                    }
                };
                (None, Some(asset), waits_for)
            } else {
                let message =
                    format!("there is no stream or asset type {}/{}", trigger.contract, trigger.on);
                self.report(trigger.at, format!("{thing}.on"), message);
                return None;
            };
        let environment = Environment {
            asset,
            unset: &[],
            params: &none,
            row: columns.as_ref(),
            catalogue: &catalogue,
        };
        let call = self.call(thing, &trigger.call, &environment)?;
        let (name, contract, on) =
            (trigger.name.clone(), trigger.contract.clone(), trigger.on.clone());
        Some(CheckedTrigger { name, contract, on, waits_for, call })
    }

    /// An expression for a time, of whichever clock.
    fn date(
        &mut self,
        thing: &str,
        source: &Source,
        environment: &Environment<'_>,
    ) -> Option<Checked> {
        match environment.check(&source.expression, &Type::time(Clock::Block)) {
            Ok(checked) => Some(checked),
            Err(_) => self.expression(thing, source, &Type::time(Clock::Signer), environment),
        }
    }

    fn expression(
        &mut self,
        thing: &str,
        source: &Source,
        wanted: &Type,
        environment: &Environment<'_>,
    ) -> Option<Checked> {
        match environment.check(&source.expression, wanted) {
            Ok(checked) => Some(checked),
            Err(error) => {
                self.wrong(source, thing.to_owned(), error);
                None
            }
        }
    }

    /// The action that a call names, and the asset type it makes or changes.
    fn callee(&self, call: &Call) -> Option<(&'a Action, &'a AssetType)> {
        let package = if call.contract == self.package().name {
            self.package()
        } else {
            let contract: &'a Arc<Contract> = self.catalogue.dependencies.get(&call.contract)?;
            &contract.package
        };
        let action = package.actions.get(&call.action)?;
        Some((action, package.assets.get(&action.asset)?))
    }

    fn call(
        &mut self,
        thing: &str,
        call: &Call,
        environment: &Environment<'_>,
    ) -> Option<CheckedCall> {
        let Some((action, asset)) = self.callee(call) else {
            let message = format!("there is no action {}/{}", call.contract, call.action);
            self.report(call.at, format!("{thing}.do"), message);
            return None;
        };
        let before = self.problems.len();
        let target =
            self.expression(&format!("{thing}.target"), &call.target, &Type::Id, environment);
        let mut with = BTreeMap::new();
        for (name, source) in &call.with {
            let thing = format!("{thing}.with.{name}");
            let Some(parameter) = action.params.get(name) else {
                let message = format!("{}/{} has no such parameter", call.contract, call.action);
                self.report(source.at, thing, message);
                continue;
            };
            if let Some(checked) = self.expression(&thing, source, &parameter.ty, environment) {
                with.insert(name.clone(), checked);
            }
        }
        for (name, parameter) in &action.params {
            let repeats_key = action.start == Start::Nothing && *name == asset.key;
            if !parameter.optional && !repeats_key && !call.with.contains_key(name) {
                let message =
                    format!("gives no `{name}`, which {}/{} asks for", call.contract, call.action);
                self.report(call.at, thing.to_owned(), message);
            }
        }
        let when = match &call.when {
            None => None,
            Some(when) => {
                Some(self.expression(&format!("{thing}.when"), when, &Type::Bool, environment)?)
            }
        };
        if self.problems.len() > before {
            return None;
        }
        let (contract, action) = (call.contract.clone(), call.action.clone());
        Some(CheckedCall { contract, action, target: target?, with, when })
    }
}

impl CheckedTrigger {
    /// Steps that its expressions take at most, once.
    pub(crate) fn cost(&self) -> u64 {
        self.call.cost()
            + match &self.waits_for {
                WaitsFor::Row(Some((_, _, key))) => key.cost() + 50,
                WaitsFor::Date(_, due) => due.cost(),
                WaitsFor::Row(None) | WaitsFor::Change(_) => 0,
            }
    }
}
