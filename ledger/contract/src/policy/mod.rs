//! Who may do what and who may see what: Cedar.
//!
//! Policies are parsed and validated once, sorted by action and resource type.
//! A request builds only the entities and attributes that its policies mention.
//!
//! Rules it keeps:
//! - Nothing is permitted by default, and an error in any policy that applies
//!   denies (Cedar by itself would skip that policy, also a `forbid`).
//! - Validation is strict, also for warnings: a policy that can never apply is a
//!   mistake. Attributes are followed at most [`MAX_LEVEL`] deep.
//! - Policies are bounded in length before they are parsed, on a stack that has
//!   room for whatever nests in that ([`length`]).
//! - Policies nest at most [`MAX_NESTING`] deep, so that evaluation never comes
//!   near the limit of a stack, which is not the same on every machine.

mod length;
pub(crate) mod matrix;
mod memo;
pub(crate) mod request;
pub(crate) mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use cedar_policy::{
    ActionConstraint, EntityId, EntityTypeName, EntityUid, Policy, PolicySet, ResourceConstraint,
    Schema, ValidationMode, Validator,
};
use hufu_proof::Name;
use miette::Diagnostic;
use serde_json::Value as Json;

use crate::package::{AssetType, Package};
use crate::problem::Problem;
use crate::reader::line_of;
use crate::sources::POLICY;

/// How many attributes of entities may be followed one after another.
pub const MAX_LEVEL: u32 = 3;
/// Deepest nesting of a policy's conditions, as counted in its JSON form.
pub const MAX_NESTING: usize = 200;
/// Stack of the thread that parses policies, in bytes: enough for the deepest
/// nesting of [`length::MAX_TOKENS`], whatever the machine and whoever asks.
const STACK: usize = 256 * 1024 * 1024;
/// Most policies in a package.
pub const MAX_POLICIES: usize = 256;

/// The policies of a contract, ready to decide.
#[derive(Debug)]
pub(crate) struct Policies {
    /// By action and name of the asset type or stream.
    guards: BTreeMap<(Name, Name), Guard>,
    pub(crate) names: request::Names,
    memo: memo::Memo,
    /// All policies in the order of the file, in Cedar's JSON form.
    pub(crate) trees: Vec<Json>,
}

/// The policies that apply to one action on one type.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) policies: PolicySet,
    /// Names of all attributes they mention.
    pub(crate) attributes: BTreeSet<String>,
    /// Whether they ask what a member other than the principal is.
    pub(crate) asks_members: bool,
    /// Whether they ask for the circumstances: parameters, rows, the block.
    pub(crate) asks_context: bool,
    /// Nodes of their conditions.
    pub(crate) cost: u64,
}

impl Policies {
    /// Parses and validates `source` against the package's declarations.
    ///
    /// # Panics
    /// When the system gives no thread: what a package is must not depend on
    /// that, so there is no answer then.
    pub(crate) fn compile(
        source: &str,
        package: &Package,
        dependencies: &BTreeMap<&Name, &BTreeMap<Name, AssetType>>,
    ) -> Result<Self, Vec<Problem>> {
        std::thread::scope(|scope| {
            let compiling = std::thread::Builder::new()
                .name("policies".to_owned())
                .stack_size(STACK)
                .spawn_scoped(scope, || Self::compile_here(source, package, dependencies))
                .expect("the system gives a thread");
            match compiling.join() {
                Ok(compiled) => compiled,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn compile_here(
        source: &str,
        package: &Package,
        dependencies: &BTreeMap<&Name, &BTreeMap<Name, AssetType>>,
    ) -> Result<Self, Vec<Problem>> {
        let problem = |message: String| vec![Problem::new(POLICY, 0, "", message)];
        if let Some(begin) = length::too_long(source) {
            let message = format!("over {} words and signs; split the policy", length::MAX_TOKENS);
            return Err(vec![Problem::new(POLICY, line_of(source, begin), "", message)]);
        }
        let text = schema::text(package, dependencies);
        let (schema, _) = Schema::from_cedarschema_str(&text).map_err(|error| {
            problem(format!("no schema follows from contract.toml: {}", chain(&error)))
        })?;
        let policies = PolicySet::from_str(source).map_err(|errors| {
            errors.iter().map(|error| located(source, "", error)).collect::<Vec<_>>()
        })?;
        if policies.templates().next().is_some() {
            return Err(problem("templates (?principal, ?resource) are not accepted".into()));
        }
        if policies.policies().count() > MAX_POLICIES {
            return Err(problem(format!("more than {MAX_POLICIES} policies")));
        }
        // `policy0`, `policy1`, ...: in the order of the file.
        let mut ordered: Vec<&Policy> = policies.policies().collect();
        ordered.sort_by_key(|policy| {
            let id: &str = policy.id().as_ref();
            id.trim_start_matches("policy").parse::<usize>().unwrap_or(usize::MAX)
        });
        let mut problems = Vec::new();
        let mut trees = Vec::new();
        for policy in &ordered {
            match policy.to_json() {
                Ok(tree) if nesting(&tree) <= MAX_NESTING => trees.push(tree),
                Ok(_) => problems.push(Problem::new(
                    POLICY,
                    0,
                    policy.id().to_string(),
                    "its conditions are nested too deep; split the policy",
                )),
                Err(error) => {
                    problems.push(Problem::new(POLICY, 0, policy.id().to_string(), chain(&error)))
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let validator = Validator::new(schema);
        let result = validator.validate_with_level(&policies, ValidationMode::Strict, MAX_LEVEL);
        for error in result.validation_errors() {
            problems.push(located(source, error.policy_id().as_ref(), error));
        }
        for warning in result.validation_warnings() {
            problems.push(located(source, warning.policy_id().as_ref(), warning));
        }
        if !problems.is_empty() {
            problems.sort();
            problems.dedup();
            return Err(problems);
        }
        let names = request::Names::new(package, dependencies)
            .ok_or_else(|| problem("a name is not one of Cedar's".into()))?;
        let guards = guards(&ordered, &trees, package, &names).map_err(problem)?;
        Ok(Self { guards, names, memo: memo::Memo::default(), trees })
    }

    pub(crate) fn guard(&self, action: &str, on: &Name) -> Option<&Guard> {
        // Actions and types are names, so the key is only built from names.
        let action = Name::new(action).ok()?;
        self.guards.get(&(action, on.clone()))
    }
}

/// Sorts policies by the action and type they can apply to.
fn guards(
    policies: &[&Policy],
    trees: &[Json],
    package: &Package,
    names: &request::Names,
) -> Result<BTreeMap<(Name, Name), Guard>, String> {
    let mut guards = BTreeMap::new();
    let read = Name::new("read").map_err(|error| error.to_string())?;
    let append = Name::new("append").map_err(|error| error.to_string())?;
    let mut pairs: Vec<(&Name, &Name)> =
        package.actions.values().map(|action| (&action.name, &action.asset)).collect();
    pairs.extend(package.type_names().into_iter().map(|name| (&read, name)));
    pairs.extend(package.streams.keys().map(|stream| (&append, stream)));
    for (action, on) in pairs {
        let action_uid = entity("Action", action.as_str())?;
        let on_type = names.type_of(on).ok_or("a type without a name")?;
        let mut guard = Guard {
            policies: PolicySet::new(),
            attributes: BTreeSet::new(),
            asks_members: false,
            asks_context: false,
            cost: 0,
        };
        for (policy, tree) in policies.iter().zip(trees) {
            let acts = match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(uid) => uid == action_uid,
                ActionConstraint::In(uids) => uids.contains(&action_uid),
            };
            let concerns = match policy.resource_constraint() {
                ResourceConstraint::Any => true,
                ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) => {
                    uid.type_name() == on_type
                }
                ResourceConstraint::Is(ty) | ResourceConstraint::IsIn(ty, _) => ty == *on_type,
            };
            if acts && concerns {
                guard.policies.add((*policy).clone()).map_err(|error| chain(&error))?;
                collect(tree.get("conditions").unwrap_or(&Json::Null), &mut guard);
                guard.cost += 10;
            }
        }
        guard.asks_members |= ["kinds", "jurisdictions"]
            .iter()
            .any(|attribute| guard.attributes.contains(*attribute));
        guards.insert((action.clone(), on.clone()), guard);
    }
    Ok(guards)
}

/// Collects attributes and counts nodes of a condition in Cedar's JSON form.
fn collect(tree: &Json, guard: &mut Guard) {
    guard.cost += 1;
    match tree {
        Json::Object(map) => {
            for (key, value) in map {
                if matches!(key.as_str(), "." | "has")
                    && let Some(Json::String(attribute)) = value.get("attr")
                {
                    guard.attributes.insert(attribute.clone());
                }
                guard.asks_members |= key == "in";
                guard.asks_context |= key == "Var" && value == "context";
                collect(value, guard);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, guard)),
        _ => {}
    }
}

/// How deep a JSON tree is. The tree was made from a policy of bounded length by
/// a parser that bounds its own recursion.
fn nesting(tree: &Json) -> usize {
    let mut deepest = 0;
    let mut open = vec![(tree, 1)];
    while let Some((tree, depth)) = open.pop() {
        deepest = deepest.max(depth);
        match tree {
            Json::Object(map) => open.extend(map.values().map(|value| (value, depth + 1))),
            Json::Array(items) => open.extend(items.iter().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    deepest
}

pub(crate) fn entity(type_name: &str, id: &str) -> Result<EntityUid, String> {
    let type_name = EntityTypeName::from_str(type_name).map_err(|error| chain(&error))?;
    Ok(EntityUid::from_type_name_and_id(type_name, EntityId::new(id)))
}

/// A Cedar error as a problem with its line.
fn located(source: &str, policy: &str, error: &impl Diagnostic) -> Problem {
    let at = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    let mut message = chain(error);
    // Cedar repeats the policy's number in front of what is wrong with it.
    if let Some(rest) = message.strip_prefix(&format!("for policy `{policy}`, ")) {
        message = rest.to_owned();
    }
    if let Some(help) = error.help() {
        message.push_str("; ");
        message.push_str(&help.to_string());
    }
    Problem::new(POLICY, at.map_or(0, |at| line_of(source, at)), policy, message)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text.push_str(": ");
            text.push_str(&inner);
        }
        source = error.source();
    }
    text
}
