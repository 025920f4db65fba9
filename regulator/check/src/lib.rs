//! `hufu policy check`: everything that can be said of a contract package
//! before it is proposed.
//!
//! The package is checked as every node will check it; its controls are
//! prepared under the authorizer of the read model; and its cases are *run*: on
//! a real state machine over a store in a temporary directory, with a real read
//! model beside it, in a fixture world whose keys everybody knows. What a case
//! says about outcomes, findings and views is thereby true of the product and
//! not of a model of it.
//!
//! It is *not* a node: one process, no network, blocks made by itself, no votes.
//!
//! Where to start reading: [`check_package`]; [`Report`] is its answer; `world`
//! is the consortium of the cases, `run` runs one.

mod coverage;
mod report;
mod run;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hufu_contract::compare::{compare, incompatibilities};
use hufu_contract::shown::missing_titles;
use hufu_contract::{Contract, Problem, Sources, case, check, required_names};
use hufu_proof::Name;
use hufu_readmodel::infer::{declared, fits};
use hufu_readmodel::{TableSpec, check_control, contract_tables};
use hufu_report::Form;

use crate::coverage::Coverage;

pub use report::{CaseResult, ColumnSummary, Report, TableSummary};
pub use world::{DEVICE_PREFIX, MEMBERS};

/// Checks a package. `required` are the packages it requires and those that
/// these require, in any order.
pub fn check_package(sources: &Sources, required: &[Sources]) -> Report {
    let mut report = Report::of(sources);
    let (contract, order) = match compile(sources, required) {
        Ok(compiled) => compiled,
        Err(problems) => {
            report.problems = problems;
            return report;
        }
    };
    report.describe(&contract);
    report.problems = missing_titles(contract.package());
    report.problems.extend(control_problems(&contract));
    let mut coverage = Coverage::default();
    for (path, text) in sources.files().filter(|(path, _)| path.starts_with("cases/")) {
        match case::parse(path, text) {
            Ok(case) if report.problems.is_empty() => {
                let result = run::run(&case, &contract, sources, &order, &mut coverage);
                report.cases.push(result);
            }
            // The check has reported it already, or the package cannot be run.
            Ok(_) | Err(_) => {}
        }
    }
    // Of cases that did not come out as they say, less was run.
    if report.passed() {
        report.untouched = coverage.untouched(&contract);
    }
    report
}

/// Checks a package as the new version of `old`: also what it changes, and what
/// it must not change.
pub fn check_upgrade(sources: &Sources, required: &[Sources], old: &Sources) -> Report {
    let mut report = check_package(sources, required);
    let (Ok((new, _)), Ok((old, _))) = (compile(sources, required), compile(old, required)) else {
        if report.problems.is_empty() {
            let message = "the version to compare with does not pass its own check";
            report.problems.push(Problem::new("", 0, "against", message));
        }
        return report;
    };
    report.changes = Some(compare(&old, &new));
    report.problems.extend(incompatibilities(&old, &new));
    report
}

/// A compiled contract, and the packages to deploy before it, in order.
type Compiled<'a> = (Arc<Contract>, Vec<&'a Sources>);

/// Compiles the required packages, then the package.
fn compile<'a>(sources: &Sources, required: &'a [Sources]) -> Result<Compiled<'a>, Vec<Problem>> {
    let mut compiled: BTreeMap<Name, Arc<Contract>> = BTreeMap::new();
    let mut order = Vec::new();
    let mut open: Vec<&Sources> = required.iter().collect();
    // Whatever requires nothing that is still open comes first.
    while !open.is_empty() {
        let before = open.len();
        let mut later = Vec::new();
        for package in open {
            if required_names(package).iter().all(|name| compiled.contains_key(name)) {
                let contract =
                    check(package, &compiled).map_err(|problems| within(package, problems))?;
                compiled.insert(contract.name().clone(), Arc::new(contract));
                order.push(package);
            } else {
                later.push(package);
            }
        }
        if later.len() == before {
            // Each of them requires something that nobody gave.
            let problems = later.iter().flat_map(|package| {
                check(package, &compiled).err().map(|problems| within(package, problems))
            });
            return Err(problems.flatten().collect());
        }
        open = later;
    }
    let contract = check(sources, &compiled)?;
    // Only what the package needs is deployed in its cases.
    let mut needed: BTreeSet<Name> = BTreeSet::new();
    let mut open = vec![&contract];
    while let Some(contract) = open.pop() {
        for (name, contract) in contract.dependencies() {
            needed.insert(name.clone());
            open.push(contract);
        }
    }
    order.retain(|package| named(package).is_some_and(|name| needed.contains(&name)));
    Ok((Arc::new(contract), order))
}

/// The name that a package gives itself, when it can be read.
pub fn named(sources: &Sources) -> Option<Name> {
    let text = sources.text(hufu_contract::CONTRACT)?;
    hufu_contract::manifest::header(text).ok().map(|header| header.name)
}

/// Says of which required package the problems are.
fn within(package: &Sources, problems: Vec<Problem>) -> Vec<Problem> {
    let name = named(package).map_or_else(|| "required package".into(), |name| name.to_string());
    let rename = |problem: Problem| Problem { file: format!("{name}/{}", problem.file), ..problem };
    problems.into_iter().map(rename).collect()
}

/// Prepares every control under the read model's authorizer.
fn control_problems(contract: &Contract) -> Vec<Problem> {
    let mut tables: Vec<(Name, Vec<TableSpec>)> =
        vec![(contract.name().clone(), contract_tables(contract))];
    for (name, required) in contract.dependencies() {
        tables.push((name.clone(), contract_tables(required)));
    }
    let check = |control: &hufu_contract::Control| {
        let file = format!("controls/{}.sql", control.id);
        let parameters: BTreeSet<Name> = control.parameters.keys().cloned().collect();
        match check_control(&control.sql, &control.subject, &parameters, &tables) {
            Ok(columns) => column_problems(control, &columns),
            Err(error) => vec![Problem::new(file, 0, control.id.as_str(), error.to_string())],
        }
    };
    contract.controls().iter().flat_map(check).collect()
}

/// What a control's query gives otherwise than `controls.toml` declares it.
fn column_problems(control: &hufu_contract::Control, given: &[(String, Form)]) -> Vec<Problem> {
    let problem = |column: &str, message: String| {
        let thing = format!("control.{}.columns.{column}", control.id);
        Problem::new(hufu_contract::sources::CONTROLS, 0, thing, message)
    };
    let mut problems = Vec::new();
    for (name, form) in given {
        let Some(column) = control.columns.get(name.as_str()) else {
            let message = "is a column of the query's result and not declared; write \
                           { title = { en = \"...\", zh = \"...\" }, type = \"...\" }";
            problems.push(problem(name, message.into()));
            continue;
        };
        if !fits(form, &declared(&column.ty)) {
            let message = format!("is declared as {}; the query gives {form}", column.ty);
            problems.push(problem(name, message));
        }
    }
    for name in control.columns.keys() {
        if !given.iter().any(|(column, _)| column == name.as_str()) {
            let message = "is declared, and no column of the query's result; remove it";
            problems.push(problem(name.as_str(), message.into()));
        }
    }
    problems
}
