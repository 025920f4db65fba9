//! A control set as of a height becomes a report.
//!
//! Everything in the report follows from the ledger up to the anchor: the same
//! inputs give the same bytes on every node. Nothing here reads a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hufu_contract::{Contract, ControlSet};
use hufu_proof::{Digest, FinalityProof, Genesis, Name};
use hufu_readmodel::{ControlQuery, Limits, Reader, Snapshot, value};
use hufu_report::model::{FORMAT, Title};
use hufu_report::{
    Anchor, AsOf, Cell, ControlResult, ControlSetTitle, Counts, Evidence, Finding,
    PackageReference, Report, ReportError, Severity,
};

use crate::ledger::{LedgerAccess, LedgerFault};

/// Most log entries in evidence of one report.
pub const MAX_EVIDENCE: usize = 50_000;

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The contract that defines the control set.
    pub contract: Name,
    /// The control set.
    pub set: Name,
    /// Values of parameters by control, in place of the set's, as JSON.
    pub parameters: BTreeMap<Name, BTreeMap<Name, serde_json::Value>>,
    /// As of which height.
    pub as_of: u64,
    /// Narrows tables that have a column `jurisdiction`.
    pub jurisdiction: Option<String>,
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no such contract, control set, control or parameter.
    #[error("{0}")]
    Request(String),
    /// No final header commits to the height yet.
    #[error("no final header commits to height {0} yet; try again in a moment")]
    NotAnchored(u64),
    /// A control failed.
    #[error("control `{control}`: {problem}")]
    Control {
        /// Which one.
        control: Name,
        /// Why.
        problem: hufu_readmodel::Problem,
    },
    /// The read model failed, or is not at the height yet.
    #[error(transparent)]
    Read(#[from] hufu_readmodel::Problem),
    /// Too much evidence.
    #[error("the findings refer to more than {MAX_EVIDENCE} log entries; narrow the controls down")]
    TooLarge,
    /// The ledger does not answer, or not what the read model says.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// The report does not hold together: a fault of this node.
    #[error("the report does not hold: {0}")]
    Report(String),
}

/// Runs a control set. Gives the report and the proof that its anchor is final.
///
/// # Errors
/// [`RunError`].
pub fn run(
    reader: &Reader,
    ledger: &dyn LedgerAccess,
    genesis: &Genesis,
    run: &Run,
) -> Result<(Report, FinalityProof), RunError> {
    let mut snapshot = reader.snapshot(run.as_of, run.jurisdiction.as_deref())?;
    let (header, finality) = match ledger.anchor(run.as_of) {
        Err(LedgerFault::NotFound(_) | LedgerFault::Pending) => {
            return Err(RunError::NotAnchored(run.as_of));
        }
        other => other?,
    };
    let active = active_contracts(&mut snapshot)?;
    let contract = contract_at(ledger, &active, &run.contract)?;
    let set = contract.control_sets().get(&run.set).ok_or_else(|| {
        let known: Vec<&str> = contract.control_sets().keys().map(Name::as_str).collect();
        RunError::Request(format!(
            "contract `{}` has no control set `{}`; it has: {}",
            run.contract,
            run.set,
            known.join(", ")
        ))
    })?;
    refuse_unknown(run, set)?;
    let packages = packages(&active, &contract);
    snapshot.permit(&packages.iter().map(|one| one.name.clone()).collect());

    let mut controls = Vec::new();
    for (id, defaults) in &set.controls {
        controls.push(control(&mut snapshot, &contract, run, id, defaults)?);
    }
    let evidence = evidence(&snapshot, ledger, &controls, header.executed.log_size)?;
    let as_of = AsOf { height: run.as_of, time_ms: snapshot.time_ms() };
    let mut report = Report {
        format: FORMAT.to_owned(),
        consortium: genesis.consortium.clone(),
        genesis: genesis.digest(),
        control_set: ControlSetTitle {
            contract: run.contract.clone(),
            name: run.set.clone(),
            title: title(&set.title),
        },
        packages,
        jurisdiction: run.jurisdiction.clone(),
        as_of,
        anchor: Anchor { digest: header.digest(), header },
        controls,
        evidence,
        counts: Counts::default(),
    };
    report.counts = report.computed_counts();
    // What would not verify at the reader's is not given out.
    report.check().map_err(RunError::Report)?;
    Ok((report, finality))
}

/// A contract's title, by language.
pub fn title(title: &hufu_contract::package::Title) -> Title {
    Title::from([("en".to_owned(), title.en.clone()), ("zh".to_owned(), title.zh.clone())])
}

/// Version and package digest of every active contract, by name.
///
/// # Errors
/// [`hufu_readmodel::Problem`].
pub fn active_contracts(
    snapshot: &mut Snapshot,
) -> Result<BTreeMap<Name, (String, Digest)>, hufu_readmodel::Problem> {
    let answer = snapshot.query(
        "SELECT name, version, digest FROM ledger.contracts ORDER BY name",
        &BTreeMap::new(),
        &Limits::CONTROL,
    )?;
    let unreadable = || hufu_readmodel::Problem::Fault("ledger.contracts is unreadable".into());
    answer
        .rows
        .into_iter()
        .map(|row| match row.as_slice() {
            [Cell::Text(name), Cell::Text(version), Cell::Text(digest)] => {
                let name = Name::new(name).map_err(|_| unreadable())?;
                let digest = digest.parse().map_err(|_| unreadable())?;
                Ok((name, (version.clone(), digest)))
            }
            _ => Err(unreadable()),
        })
        .collect()
}

fn contract_at(
    ledger: &dyn LedgerAccess,
    active: &BTreeMap<Name, (String, Digest)>,
    name: &Name,
) -> Result<Arc<Contract>, RunError> {
    let (_, digest) = active.get(name).ok_or_else(|| {
        RunError::Request(format!("no contract `{name}` was active at this height"))
    })?;
    Ok(ledger.contract(digest)?)
}

/// The contract and those it requires, as they were active.
fn packages(
    active: &BTreeMap<Name, (String, Digest)>,
    contract: &Contract,
) -> Vec<PackageReference> {
    let names: BTreeSet<&Name> = contract.dependencies().keys().chain([contract.name()]).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let (version, digest) = active.get(name)?;
            Some(PackageReference { name: name.clone(), version: version.clone(), digest: *digest })
        })
        .collect()
}

fn refuse_unknown(run: &Run, set: &ControlSet) -> Result<(), RunError> {
    let unknown =
        run.parameters.keys().find(|id| !set.controls.iter().any(|(known, _)| known == *id));
    match unknown {
        None => Ok(()),
        Some(id) => Err(RunError::Request(format!(
            "parameters: control set `{}` has no control `{id}`",
            run.set
        ))),
    }
}

fn control(
    snapshot: &mut Snapshot,
    contract: &Contract,
    run: &Run,
    id: &Name,
    defaults: &BTreeMap<Name, hufu_proof::Value>,
) -> Result<ControlResult, RunError> {
    let control = contract.control(id.as_str()).ok_or_else(|| {
        RunError::Report(format!("the control set names control `{id}`, which is not there"))
    })?;
    let mut parameters: BTreeMap<Name, Cell> =
        defaults.iter().map(|(name, given)| (name.clone(), value::cell(given))).collect();
    for (name, json) in run.parameters.get(id).into_iter().flatten() {
        let declared = control.parameters.get(name).ok_or_else(|| {
            RunError::Request(format!("parameters.{id}.{name}: the control has no such parameter"))
        })?;
        let given = declared
            .ty
            .from_json(json)
            .map_err(|problem| RunError::Request(format!("parameters.{id}.{name}: {problem}")))?;
        parameters.insert(name.clone(), value::cell(&given));
    }
    let query =
        ControlQuery { sql: &control.sql, subject: &control.subject, parameters: &parameters };
    let findings = snapshot
        .control(&query, &Limits::CONTROL)
        .map_err(|problem| RunError::Control { control: id.clone(), problem })?;
    let found = findings.found.into_iter().map(|one| Finding {
        subject: one.subject,
        row: one.row,
        evidence: one.evidence,
        evidence_total: one.evidence_total,
    });
    let mut result = ControlResult {
        id: id.clone(),
        title: title(&control.title),
        clause: control.clause.clone(),
        severity: severity(control.severity),
        text: Digest::of(control.sql.as_bytes()),
        columns: findings.columns,
        findings: found.collect(),
        parameters,
        result: Digest::default(),
    };
    result.result = result.result_digest();
    Ok(result)
}

fn severity(severity: hufu_contract::Severity) -> Severity {
    match severity {
        hufu_contract::Severity::Info => Severity::Info,
        hufu_contract::Severity::Low => Severity::Low,
        hufu_contract::Severity::Medium => Severity::Medium,
        hufu_contract::Severity::High => Severity::High,
        hufu_contract::Severity::Critical => Severity::Critical,
    }
}

fn evidence(
    snapshot: &Snapshot,
    ledger: &dyn LedgerAccess,
    controls: &[ControlResult],
    log_size: u64,
) -> Result<Vec<Evidence>, RunError> {
    let places: BTreeSet<u64> = controls
        .iter()
        .flat_map(|control| &control.findings)
        .flat_map(|finding| finding.evidence.iter().copied())
        .collect();
    if places.len() > MAX_EVIDENCE {
        return Err(RunError::TooLarge);
    }
    places
        .into_iter()
        .map(|log_index| {
            let entry = snapshot.log_entry(log_index)?.ok_or_else(|| {
                RunError::Report(format!("log entry {log_index} is not in the read model"))
            })?;
            let path = ledger.log_path(log_index, log_size)?;
            Ok(Evidence { log_index, entry, path })
        })
        .collect()
}

impl From<ReportError> for RunError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::TooLarge(_) => Self::TooLarge,
            other => Self::Report(other.to_string()),
        }
    }
}
