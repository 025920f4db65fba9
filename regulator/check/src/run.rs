//! Runs one case.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hufu_contract::case::{Case, Request, Step, Then};
use hufu_contract::{Context, Contract, Effects, Principal, PrincipalKind, Problem, Sources, Type};
use hufu_proof::transaction::{Firing, IdentityKind, Proposal};
use hufu_proof::{Name, Outcome, Payload, Sequence};
use hufu_readmodel::{ControlQuery, Limits};
use hufu_report::Cell;
use serde_json::Value as Json;

use crate::coverage::Coverage;
use crate::report::CaseResult;
use crate::world::{MEMBERS, World, WorldError};

/// Runs `case` in a world of its own, with the package and what it requires
/// deployed.
pub(crate) fn run(
    case: &Case,
    contract: &Arc<Contract>,
    sources: &Sources,
    required: &[&Sources],
    coverage: &mut Coverage,
) -> CaseResult {
    let mut runner = match Runner::start(case, contract, sources, required, coverage) {
        Ok(runner) => runner,
        Err(error) => return result(case, vec![fault(case, 0, &error)]),
    };
    for step in &case.steps {
        // After a step that came out otherwise, the rest would mislead.
        if let Err(problem) = runner.step(step) {
            runner.failures.push(problem);
            return result(case, runner.failures);
        }
    }
    for then in &case.then {
        if let Err(problem) = runner.then(then) {
            runner.failures.push(problem);
        }
    }
    result(case, runner.failures)
}

fn result(case: &Case, failures: Vec<Problem>) -> CaseResult {
    CaseResult {
        path: case.path.clone(),
        title: case.title.clone(),
        checks: case.steps.len() + case.then.len(),
        failures,
    }
}

/// The machinery failed; with all causes.
fn fault(case: &Case, line: u32, error: &WorldError) -> Problem {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    Problem::new(case.path.as_str(), line, "fixture world", message)
}

struct Runner<'a> {
    case: &'a Case,
    contract: &'a Arc<Contract>,
    world: World,
    /// Batches accepted so far, by contract, stream and device.
    sequences: BTreeMap<(Name, Name, String), Sequence>,
    failures: Vec<Problem>,
    coverage: &'a mut Coverage,
}

impl<'a> Runner<'a> {
    fn start(
        case: &'a Case,
        contract: &'a Arc<Contract>,
        sources: &Sources,
        required: &[&Sources],
        coverage: &'a mut Coverage,
    ) -> Result<Self, WorldError> {
        let members = members_of(case);
        for (device, owner) in &case.devices {
            if !members.contains(owner.as_str()) || members.contains(device.as_str()) {
                let members = listed(&members);
                let message = format!(
                    "device `{device}` of `{owner}`: owners are {members}, and devices are called \
                     otherwise"
                );
                return Err(WorldError::Fixture(message));
            }
        }
        let mut world = World::new(&members, &case.devices)?;
        world.know(Arc::clone(contract));
        for package in required.iter().copied().chain([sources]) {
            let proposal = Proposal::Deploy { package: package.to_bytes() };
            govern(&mut world, proposal, "the package")?;
        }
        for grant in &case.grants {
            let proposal = Proposal::Grant {
                contract: grant.contract.clone().unwrap_or_else(|| contract.name().clone()),
                role: grant.role.clone(),
                member: grant.member.clone(),
            };
            govern(&mut world, proposal, "a grant")?;
        }
        let (sequences, failures) = (BTreeMap::new(), Vec::new());
        Ok(Self { case, contract, world, sequences, failures, coverage })
    }

    fn problem(&self, line: u32, thing: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem::new(self.case.path.as_str(), line, thing, message)
    }

    /// The package's contract or one it requires.
    fn contract(&self, line: u32, name: &Name) -> Result<&'a Arc<Contract>, Problem> {
        if name == self.contract.name() {
            return Ok(self.contract);
        }
        self.contract.dependencies().get(name).ok_or_else(|| {
            let message = format!("`{name}` is neither this package nor one it requires");
            self.problem(line, "contract", message)
        })
    }

    fn known(&self, line: u32, who: &str) -> Result<(), Problem> {
        if self.world.knows(who) {
            return Ok(());
        }
        let message = format!(
            "`{who}` is not in the fixture world; there are {}, and the devices of the case",
            listed(&members_of(self.case))
        );
        Err(self.problem(line, "as", message))
    }

    fn step(&mut self, step: &Step) -> Result<(), Problem> {
        self.known(step.line, &step.by)?;
        let contract = self.contract(step.line, &step.contract)?;
        let thing = format!("{} {}/{}", step.by, step.contract, step.action);
        let expected = match &step.refused {
            None => "accepted".to_owned(),
            Some(code) => code.clone(),
        };
        let payload = match self.payload(contract, step) {
            Ok(payload) => payload,
            // What cannot be written down is what the ledger calls so.
            Err((code, _)) if code == expected => {
                if step.contract == *self.contract.name() {
                    self.coverage.refused(&step.action, Outcome::Parameter);
                }
                // Time passes all the same.
                if !step.after.is_zero() {
                    let passed = self.world.pass(step.after);
                    passed.map_err(|error| fault(self.case, step.line, &error))?;
                }
                return Ok(());
            }
            Err((_, message)) => return Err(self.problem(step.line, thing, message)),
        };
        let effects = self.foreseen(step, contract, &payload);
        let outcome = self
            .world
            .submit(&step.by, payload, step.after)
            .map_err(|error| fault(self.case, step.line, &error))?;
        if outcome.code() != expected {
            let message = format!("expected {}, was {outcome}", phrase(&expected));
            return Err(self.problem(step.line, thing, message));
        }
        let own = self.contract.name();
        if outcome.is_accepted() {
            let effects = effects.map_err(|error| fault(self.case, step.line, &error))?;
            self.coverage.did(own, &effects);
        } else if step.contract == *own {
            self.coverage.refused(&step.action, outcome);
        }
        if let (Request::Append { .. }, Outcome::Accepted) = (&step.request, outcome) {
            let place = (step.contract.clone(), step.action.clone(), step.by.clone());
            let last = self.sequences.entry(place).or_default();
            *last = last.next();
        }
        Ok(())
    }

    /// What a transaction would do in the next block; nothing where it would be
    /// refused.
    fn foreseen(
        &self,
        step: &Step,
        contract: &Contract,
        payload: &Payload,
    ) -> Result<Effects, WorldError> {
        let state = self.world.machine.reader().state()?;
        let context = Context {
            principal: self.principal(&step.by)?,
            via: None,
            block_height: state.height().next(),
            block_time_ms: self.world.next_time(step.after),
        };
        let effects = match payload {
            Payload::Invoke(call) => contract.apply(call, &context, &state),
            Payload::Append(batch) => {
                contract.append(batch, &context, &state).map(|effects| effects.triggered)
            }
            Payload::Fire(firing) => contract.fire(firing, &context, &state),
            _ => Ok(Effects::default()),
        };
        state.check()?;
        Ok(effects.unwrap_or_default())
    }

    /// A member or device of the case.
    fn principal(&self, who: &str) -> Result<Principal, WorldError> {
        let member = match self.case.devices.get(who) {
            Some(owner) => owner.clone(),
            None => Name::new(who).map_err(|error| WorldError::Fixture(error.to_string()))?,
        };
        let kind = match self.case.devices.contains_key(who) {
            true => IdentityKind::Device,
            false => IdentityKind::Member,
        };
        let (identity, kind) = (self.world.identity(who)?, PrincipalKind::Signer(kind));
        Ok(Principal { identity, member: Some(member), kind, subject: who.to_owned() })
    }

    /// The transaction of a step; or the code it would be refused with, and why
    /// it cannot be written down.
    fn payload(&self, contract: &Contract, step: &Step) -> Result<Payload, (String, String)> {
        let refuse = |error: hufu_contract::InputError| {
            use hufu_contract::InputError as Error;
            let code = match error {
                Error::NoAction { .. } | Error::NoStream { .. } => Outcome::NoAction,
                _ => Outcome::Parameter,
            };
            (code.code().to_owned(), error.to_string())
        };
        match &step.request {
            Request::Invoke { on, params } => {
                let types = contract.action(step.action.as_str()).map(|action| &action.params);
                let params: BTreeMap<String, Json> = params
                    .iter()
                    .map(|(name, json)| {
                        let ty = types.and_then(|types| types.get(name.as_str()));
                        (name.clone(), self.named_identity(ty.map(|param| &param.ty), json))
                    })
                    .collect();
                let invocation = contract.invocation(step.action.as_str(), on.as_deref(), &params);
                invocation.map(Payload::Invoke).map_err(refuse)
            }
            Request::Fire { on } => Ok(Payload::Fire(Firing {
                contract: step.contract.clone(),
                trigger: step.action.clone(),
                asset: on.clone(),
            })),
            Request::Append { rows, sequence } => {
                let place = (step.contract.clone(), step.action.clone(), step.by.clone());
                let next = self.sequences.get(&place).copied().unwrap_or_default().next();
                let batch =
                    contract.batch(step.action.as_str(), sequence.unwrap_or(next), rows.iter());
                batch.map(Payload::Append).map_err(refuse)
            }
        }
    }

    /// In place of an identity, a case may write the name of its holder.
    fn named_identity(&self, ty: Option<&Type>, json: &Json) -> Json {
        if let (Some(Type::Identity), Json::String(who)) = (ty, json)
            && self.world.knows(who)
            && let Ok(identity) = self.world.identity(who)
        {
            return Json::String(identity.to_string());
        }
        json.clone()
    }

    fn then(&mut self, then: &Then) -> Result<(), Problem> {
        match then {
            Then::Control { line, control, params, after, findings } => {
                self.control(*line, control, params, *after, findings)
            }
            Then::Sees { line, by, contract, asset_type, key, visible } => {
                self.sees(*line, by, contract, asset_type, key, *visible)
            }
            Then::Asset { line, contract, asset_type, key, state, fields } => {
                self.asset(*line, contract, asset_type, key, state.as_ref(), fields)
            }
        }
    }

    fn control(
        &mut self,
        line: u32,
        id: &Name,
        params: &BTreeMap<String, Json>,
        after: Duration,
        expected: &[String],
    ) -> Result<(), Problem> {
        let Some(control) = self.contract.control(id.as_str()) else {
            return Err(self.problem(line, id.as_str(), "the package has no such control"));
        };
        let mut values: BTreeMap<Name, Cell> = BTreeMap::new();
        for (name, parameter) in &control.parameters {
            let value = match params.get(name.as_str()) {
                None => parameter.default.clone(),
                Some(json) => parameter
                    .ty
                    .from_json(json)
                    .map_err(|message| self.problem(line, format!("{id}.{name}"), message))?,
            };
            values.insert(name.clone(), hufu_readmodel::value::cell(&value));
        }
        if let Some(unknown) =
            params.keys().find(|name| !control.parameters.contains_key(name.as_str()))
        {
            let thing = format!("{id}.{unknown}");
            return Err(self.problem(line, thing, "the control has no such parameter"));
        }
        self.world.pass(after).map_err(|error| fault(self.case, line, &error))?;
        let height = self.world.machine.header().height.get();
        let query =
            ControlQuery { sql: &control.sql, subject: &control.subject, parameters: &values };
        let found = self
            .world
            .model
            .reader()
            .snapshot(height, hufu_readmodel::Scope::Whole)
            .and_then(|mut snapshot| snapshot.control(&query, &Limits::CONTROL))
            .map_err(|error| self.problem(line, id.as_str(), error.to_string()))?;
        let names = &found.columns;
        let subjects: Vec<&str> = found.found.iter().map(|one| one.subject.as_str()).collect();
        if subjects != expected {
            let message = format!(
                "expected findings [{}], found [{}]",
                expected.join(", "),
                subjects.join(", ")
            );
            return Err(self.problem(line, id.as_str(), message));
        }
        self.coverage.controlled(id, found.found.len());
        for found in &found.found {
            for (name, cell) in names.iter().zip(&found.row) {
                let Some(column) = control.columns.get(name.as_str()) else { continue };
                if !hufu_readmodel::infer::declared(&column.ty).fits(cell) {
                    let message = format!("`{name}` is declared as {}, and is {cell}", column.ty);
                    return Err(self.problem(line, id.as_str(), message));
                }
            }
        }
        // A finding that nothing recorded explains is none.
        if let Some(bare) = found.found.iter().find(|one| one.evidence_total == 0) {
            let message = format!("the finding on `{}` has no evidence", bare.subject);
            return Err(self.problem(line, id.as_str(), message));
        }
        Ok(())
    }

    fn sees(
        &mut self,
        line: u32,
        by: &str,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        expected: bool,
    ) -> Result<(), Problem> {
        self.known(line, by)?;
        let compiled = self.contract(line, contract)?;
        let broken = |error: WorldError| fault(self.case, line, &error);
        let principal = self.principal(by).map_err(broken)?;
        let state = self.world.machine.reader().state().map_err(|error| broken(error.into()))?;
        let visible = if compiled.stream(asset_type.as_str()).is_some() {
            compiled.stream_visible(&principal, asset_type, key, &state)
        } else {
            let asset = state
                .asset_record(contract, asset_type, key)
                .map_err(|error| broken(error.into()))?;
            let Some(asset) = asset else {
                let thing = format!("{contract}/{asset_type} {key}");
                return Err(self.problem(line, thing, "there is no such asset"));
            };
            compiled.visible(&principal, asset_type, key, &asset, &state)
        };
        state.check().map_err(|error| broken(error.into()))?;
        if contract == self.contract.name() {
            self.coverage.asked_to_see(asset_type, expected);
        }
        if visible != expected {
            let words = |visible| if visible { "sees" } else { "does not see" };
            let thing = format!("{by}, {contract}/{asset_type} {key}");
            let message = format!("expected that it {} it; it {}", words(expected), words(visible));
            return Err(self.problem(line, thing, message));
        }
        Ok(())
    }

    fn asset(
        &self,
        line: u32,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        state: Option<&Name>,
        fields: &BTreeMap<String, Json>,
    ) -> Result<(), Problem> {
        let compiled = self.contract(line, contract)?;
        let thing = format!("{contract}/{asset_type} {key}");
        let refuse = |message: String| Err(self.problem(line, thing.as_str(), message));
        let Some(declared) = compiled.asset_type(asset_type.as_str()) else {
            return refuse("there is no such asset type".into());
        };
        let found = self
            .world
            .machine
            .reader()
            .state()
            .and_then(|view| view.asset_record(contract, asset_type, key))
            .map_err(|error| fault(self.case, line, &error.into()))?;
        let Some(found) = found else { return refuse("there is no such asset".into()) };
        if let Some(state) = state
            && *state != found.state
        {
            return refuse(format!("expected state `{state}`, is `{}`", found.state));
        }
        for (name, json) in fields {
            let Some(field) = declared.fields.get(name.as_str()) else {
                return refuse(format!("there is no field `{name}`"));
            };
            let expected = match field.ty.from_json(&self.named_identity(Some(&field.ty), json)) {
                Ok(value) => value,
                Err(message) => return refuse(format!("`{name}` {message}")),
            };
            let is = found.fields.get(name.as_str());
            if is != Some(&expected) {
                let is = is.map_or(Json::Null, |value| field.ty.to_json(value));
                return refuse(format!("expected {name} = {json}, is {is}"));
            }
        }
        Ok(())
    }
}

/// The members of a case's world.
fn members_of(case: &Case) -> BTreeSet<&str> {
    MEMBERS.into_iter().chain(case.members.iter().map(Name::as_str)).collect()
}

fn listed(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

fn govern(world: &mut World, proposal: Proposal, what: &str) -> Result<(), WorldError> {
    match world.submit("authority", Payload::Propose(proposal), Duration::ZERO)? {
        Outcome::Accepted => Ok(()),
        outcome => Err(WorldError::Fixture(format!("{what} was {outcome}"))),
    }
}

fn phrase(code: &str) -> String {
    if code == "accepted" { "ok".into() } else { format!("refused: {code}") }
}
