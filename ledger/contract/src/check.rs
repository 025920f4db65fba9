//! The check that a package must pass before it becomes a contract: at
//! `hufu policy check`, and again on every node when it is deployed.

use std::collections::BTreeMap;
use std::sync::Arc;

use hufu_proof::Name;

use crate::contract::{Catalogue, Contract};
use crate::control;
use crate::expression::{Environment, ExpressionError};
use crate::manifest;
use crate::package::{Action, AssetType, AssetTypes as _, Package, Source, Start};
use crate::policy::{self, Policies};
use crate::problem::Problem;
use crate::reader::{line_of, word};
use crate::sources::{CONTRACT, POLICY, README, Sources};
use crate::trigger::Checker;
use crate::types::Type;

/// Checks a package and compiles it. `dependencies` are the active contracts by
/// name; those the package requires must be among them.
///
/// # Errors
/// Everything that is wrong with the package, each with its file and line,
/// sorted.
pub fn check(
    sources: &Sources,
    dependencies: &BTreeMap<Name, Arc<Contract>>,
) -> Result<Contract, Vec<Problem>> {
    let mut problems = Vec::new();
    for path in [CONTRACT, POLICY, README] {
        if sources.text(path).is_none() {
            problems.push(Problem::new(path, 0, "", "is missing; every package has this file"));
        }
    }
    let text = sources.text(CONTRACT).unwrap_or_default();
    let (package, found) = if text.is_empty() { (None, Vec::new()) } else { manifest::read(text) };
    problems.extend(found);
    let Some(package) = package else {
        problems.sort();
        return Err(problems);
    };
    let contract = assemble(sources, package, dependencies, text, &mut problems);
    problems.sort();
    problems.dedup();
    match contract {
        Some(contract) if problems.is_empty() => Ok(contract),
        _ => Err(problems),
    }
}

fn assemble(
    sources: &Sources,
    package: Package,
    dependencies: &BTreeMap<Name, Arc<Contract>>,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Option<Contract> {
    // Without a required contract, most of what follows would mislead.
    let dependencies = requirements(&package, dependencies, problems)?;
    names(&package, problems);
    let catalogue = Catalogue { package: &package, dependencies: &dependencies };
    references(&catalogue, problems);
    let mut report = |at: usize, thing: String, error: ExpressionError| {
        let line = line_of(text, at + error.at);
        problems.push(Problem::new(CONTRACT, line, thing, error.message));
    };
    let mut effects: BTreeMap<Name, BTreeMap<Name, _>> = BTreeMap::new();
    for (name, action) in &package.actions {
        let Some(asset) = package.assets.get(&action.asset) else { continue };
        let unset = unset_fields(action, asset);
        let environment = Environment {
            asset: Some(asset),
            unset: &unset,
            params: &action.params,
            row: None,
            catalogue: &catalogue,
        };
        for (field, Source { expression, at }) in &action.set {
            let Some(declared) = asset.fields.get(field) else { continue };
            match environment.check(expression, &declared.ty) {
                Ok(checked) => {
                    effects.entry(name.clone()).or_default().insert(field.clone(), checked);
                }
                Err(error) => report(*at, format!("action.{name}.set.{field}"), error),
            }
        }
    }
    let mut checker = Checker { catalogue, text, problems };
    let (calls, triggers) = (checker.calls(), checker.triggers());
    let mut report = |at: usize, thing: String, error: ExpressionError| {
        let line = line_of(text, at + error.at);
        problems.push(Problem::new(CONTRACT, line, thing, error.message));
    };
    let mut invariants: BTreeMap<Name, Vec<_>> = BTreeMap::new();
    let none = BTreeMap::new();
    for (name, invariant) in &package.invariants {
        let environment = Environment {
            asset: package.assets.get(&invariant.on),
            unset: &[],
            params: &none,
            row: package.streams.get(&invariant.on).map(|stream| &stream.columns),
            catalogue: &catalogue,
        };
        match environment.check(&invariant.holds.expression, &Type::Bool) {
            Ok(checked) => {
                invariants.entry(invariant.on.clone()).or_default().push((name.clone(), checked));
            }
            Err(error) => report(invariant.holds.at, format!("invariant.{name}.holds"), error),
        }
    }
    for (path, case) in sources.files().filter(|(path, _)| path.starts_with("cases/")) {
        if let Err(found) = crate::case::parse(path, case) {
            problems.extend(found);
        }
    }
    let controls = control::read(sources, &package)
        .map_err(|found| problems.extend(found))
        .unwrap_or_default();
    // The schema follows from the declarations: with mistakes in them, what
    // Cedar says would mislead.
    if problems.iter().any(|problem| problem.file == CONTRACT) {
        return None;
    }
    let source = sources.text(POLICY)?;
    let types: BTreeMap<&Name, &BTreeMap<Name, AssetType>> =
        dependencies.iter().map(|(name, contract)| (name, &contract.package.assets)).collect();
    match Policies::compile(source, &package, &types) {
        Ok(policies) => Some(Contract {
            digest: sources.digest(),
            policies,
            dependencies,
            effects,
            calls,
            triggers,
            invariants,
            controls,
            package,
        }),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

/// Fields that a creating action sets by an expression: expressions cannot use
/// them, since all are evaluated on what was there before.
fn unset_fields(action: &Action, asset: &AssetType) -> Vec<Name> {
    match action.start {
        Start::Asset => Vec::new(),
        Start::Nothing => {
            let set = |field: &&Name| {
                action.set.contains_key(*field) && asset.fields[*field].initial.is_none()
            };
            asset.fields.keys().filter(set).cloned().collect()
        }
    }
}

/// Finds the required contracts; `None` when one is missing.
fn requirements(
    package: &Package,
    active: &BTreeMap<Name, Arc<Contract>>,
    problems: &mut Vec<Problem>,
) -> Option<BTreeMap<Name, Arc<Contract>>> {
    let mut found = BTreeMap::new();
    for (name, requirement) in &package.requires {
        let message = match active.get(name) {
            Some(contract) if contract.version().major == requirement.major => {
                found.insert(name.clone(), Arc::clone(contract));
                continue;
            }
            Some(contract) => format!(
                "requires {requirement}, but {name}@{} is there; adapt the package to it",
                contract.version()
            ),
            None => format!("requires {requirement}, which is not there; deploy it first"),
        };
        problems.push(Problem::new(CONTRACT, 0, "package.requires", message));
    }
    (found.len() == package.requires.len()).then_some(found)
}

/// Names that are different here but the same in Cedar or SQL.
fn names(package: &Package, problems: &mut Vec<Problem>) {
    let mut types = BTreeMap::new();
    for name in package.type_names() {
        let mut problem =
            |message: String| problems.push(Problem::new(CONTRACT, 0, name.as_str(), message));
        if policy::schema::is_reserved_type(name) {
            problem("is a type of Cedar; choose another name".into());
        }
        if let Some(other) = types.insert(policy::schema::type_name(name), name) {
            problem(format!("is the same as `{other}` in Cedar and SQL; choose another name"));
        }
    }
    // The namespace of the contract in others' policies, and its schema in SQL.
    let namespace = Name::new(&policy::schema::namespace(&package.name));
    if let Ok(Err(message)) = namespace.map(|name| word(&name)) {
        problems.push(Problem::new(CONTRACT, 0, "package.name", message));
    }
    for name in package.type_names() {
        let table = Name::new(&crate::contract::sql_name(name));
        if let Ok(Err(message)) = table.map(|name| word(&name)) {
            problems.push(Problem::new(CONTRACT, 0, name.as_str(), message));
        }
    }
}

/// References to asset types that are not there, and what cannot sign.
fn references(catalogue: &Catalogue<'_>, problems: &mut Vec<Problem>) {
    let package = catalogue.package;
    let missing = |thing: String, ty: &Type, problems: &mut Vec<Problem>| {
        let target = match ty {
            Type::Ref { contract, asset } => Some((contract, asset)),
            Type::List { of, .. } | Type::Set { of, .. } => match of.as_ref() {
                Type::Ref { contract, asset } => Some((contract, asset)),
                _ => None,
            },
            _ => None,
        };
        if let Some((contract, asset)) = target
            && (*contract == package.name || package.requires.contains_key(contract))
            && catalogue.asset_type(contract, asset).is_none()
        {
            let message = format!("refers to {contract}/{asset}, which is not there");
            problems.push(Problem::new(CONTRACT, 0, thing, message));
        }
    };
    for (name, asset) in &package.assets {
        for (field, declared) in &asset.fields {
            missing(format!("asset.{name}.fields.{field}"), &declared.ty, problems);
        }
    }
    for (name, action) in &package.actions {
        for (param, declared) in &action.params {
            missing(format!("action.{name}.params.{param}"), &declared.ty, problems);
        }
    }
    for (name, stream) in &package.streams {
        for (column, ty) in &stream.columns {
            missing(format!("stream.{name}.rows.{column}"), ty, problems);
        }
        let signer = catalogue.asset_type(&stream.signer_contract, &stream.signer_asset);
        let identity = signer.and_then(|asset| asset.fields.get("identity"));
        if !identity.is_some_and(|field| field.ty == Type::Identity) {
            problems.push(Problem::new(
                CONTRACT,
                0,
                format!("stream.{name}.signer"),
                "must be an asset type with a field `identity` of type identity: the key that \
                 signs",
            ));
        }
    }
}
