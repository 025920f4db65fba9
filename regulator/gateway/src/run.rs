//! A control set as of a height becomes a report.
//!
//! Everything in the report follows from the ledger up to the anchor: the same
//! inputs give the same bytes on every node. Nothing here reads a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hufu_contract::{Contract, Control, ControlSet};
use hufu_proof::{Digest, FinalityProof, Genesis, Name};
use hufu_query::{AsOf as Seen, Session};
use hufu_readmodel::{ControlQuery, Findings, Limits, Reader, Scope, Snapshot, value};
use hufu_report::model::FORMAT;
use hufu_report::{
    Anchor, AsOf, Cell, ControlResult, ControlSetTitle, Counts, Evidence, Finding,
    PackageReference, Report, ReportError,
};

use crate::earlier::{self, Earlier, Parameters};
use crate::ledger::{LedgerAccess, LedgerFault};
use crate::shown::{scope, shown, title, words};

/// Most log entries in evidence of one report. Findings that refer to more keep
/// the latest of theirs, and say how many there are.
pub const MAX_EVIDENCE: usize = 10_000;

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
    /// Narrows tables to what is in it; tables that do not tell are refused.
    pub jurisdiction: Option<String>,
    /// The height of the run to compare with; the last one that the ledger knows
    /// when absent.
    pub since: Option<u64>,
}

impl Run {
    /// Of what it sees the rows.
    pub fn scope(&self) -> Scope {
        Scope::narrowed_to(self.jurisdiction.as_deref())
    }
}

/// A report that was computed.
#[derive(Debug)]
pub struct Ran {
    /// The report.
    pub report: Report,
    /// That its anchor is final.
    pub finality: FinalityProof,
    /// The digest of what was asked.
    pub question: Digest,
}

/// How far a run came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// To where the earlier run is looked for.
    Begun {
        /// How many controls there are.
        of: usize,
    },
    /// To this control of the earlier run.
    Compared {
        /// As of which height that is.
        height: u64,
        /// Which control.
        control: Name,
        /// Its number, from 1.
        number: usize,
        /// Of how many.
        of: usize,
    },
    /// To this control.
    Control {
        /// Which one.
        control: Name,
        /// Its number, from 1.
        number: usize,
        /// Of how many.
        of: usize,
    },
    /// Past all its controls, to where their rows are counted.
    Scope {
        /// How many they are.
        of: usize,
    },
}

impl std::fmt::Display for Stage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Begun { of } => {
                write!(formatter, "none of {of} controls had run, the run before was looked for")
            }
            Self::Compared { height, control, number, of } => write!(
                formatter,
                "control `{control}` ({number} of {of}) in the earlier run, as of height {height}"
            ),
            Self::Control { control, number, of } => {
                write!(formatter, "control `{control}` ({number} of {of})")
            }
            Self::Scope { of } => {
                write!(formatter, "all {of} controls had run, their rows were counted")
            }
        }
    }
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
    /// A query failed on the way.
    #[error("{stage}: {problem}")]
    Query {
        /// Which one.
        stage: Stage,
        /// Why.
        problem: hufu_readmodel::Problem,
    },
    /// The read model failed, or is not at the height yet.
    #[error(transparent)]
    Read(#[from] hufu_readmodel::Problem),
    /// The file would be larger than a report may be.
    #[error("the report is larger than a report may be; narrow the controls down")]
    TooLarge,
    /// The ledger does not answer, or not what the read model says.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// The report does not hold together: a fault of this node.
    #[error("the report does not hold: {0}")]
    Report(String),
}

impl RunError {
    /// Whether rows were looked at before it.
    pub fn has_looked(&self) -> bool {
        match self {
            Self::Query { problem, .. } => problem.has_looked(),
            Self::Read(problem) => problem.is_of_this_machine(),
            Self::TooLarge | Self::Report(_) => true,
            Self::Request(_) | Self::NotAnchored(_) | Self::Ledger(_) => false,
        }
    }
}

/// Runs a control set: its queries by `session`, the rest here.
///
/// # Errors
/// [`RunError`].
pub fn run(
    session: &mut Session,
    reader: &Reader,
    ledger: &dyn LedgerAccess,
    genesis: &Genesis,
    run: &Run,
) -> Result<Ran, RunError> {
    let mut snapshot = reader.snapshot(run.as_of, run.scope())?;
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
    let contracts: BTreeSet<Name> = packages.iter().map(|one| one.name.clone()).collect();
    snapshot.permit(&contracts);
    let seen = Seen { height: run.as_of, scope: run.scope(), contracts: Some(contracts) };

    let parameters = parameters(&contract, set, run)?;
    let question = earlier::question(run, &parameters)?;
    let earlier = Earlier::of(session, reader, ledger, run, &parameters, &question)?;
    let of = set.controls.len();
    let mut controls = Vec::new();
    for (number, (id, parameters)) in (1..).zip(&parameters_in_order(set, parameters)) {
        let declared = declared(&contract, id)?;
        let (sql, subject) = (&declared.sql, &declared.subject);
        let query = ControlQuery { sql, subject, parameters };
        let found = session.findings(&seen, &query, &Limits::CONTROL, true);
        let found = found.map_err(|problem| {
            let stage = Stage::Control { control: id.clone(), number, of };
            RunError::Query { stage, problem }
        })?;
        controls.push(result(declared, found, parameters, earlier.as_ref()));
    }
    bound_evidence(&mut controls);
    for control in &mut controls {
        control.result = control.result_digest();
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
        scope: scope(session, &seen, snapshot.tables(), &contract)
            .map_err(|problem| RunError::Query { stage: Stage::Scope { of }, problem })?,
        compared: earlier.map(|earlier| earlier.as_of),
        words: BTreeMap::new(),
    };
    report.counts = report.computed_counts();
    report.words = words(&contract, &report);
    // What would not verify at the reader's is not given out.
    report.check().map_err(RunError::Report)?;
    Ok(Ran { report, finality, question })
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

pub(crate) fn contract_at(
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

/// The values of the parameters of every control of the set.
fn parameters(contract: &Contract, set: &ControlSet, run: &Run) -> Result<Parameters, RunError> {
    let mut all = Parameters::new();
    for (id, defaults) in &set.controls {
        let control = declared(contract, id)?;
        let mut values: BTreeMap<Name, Cell> =
            defaults.iter().map(|(name, given)| (name.clone(), value::cell(given))).collect();
        for (name, json) in run.parameters.get(id).into_iter().flatten() {
            let wrong = |problem: &dyn std::fmt::Display| {
                RunError::Request(format!("parameters.{id}.{name}: {problem}"))
            };
            let declared = control
                .parameters
                .get(name)
                .ok_or_else(|| wrong(&"the control has no such parameter"))?;
            let given = declared.ty.from_json(json).map_err(|problem| wrong(&problem))?;
            values.insert(name.clone(), value::cell(&given));
        }
        all.insert(id.clone(), values);
    }
    Ok(all)
}

fn parameters_in_order(
    set: &ControlSet,
    mut parameters: Parameters,
) -> Vec<(Name, BTreeMap<Name, Cell>)> {
    let of = |(id, _): &(Name, _)| (id.clone(), parameters.remove(id).unwrap_or_default());
    set.controls.iter().map(of).collect()
}

fn declared<'a>(contract: &'a Contract, id: &Name) -> Result<&'a Control, RunError> {
    contract.control(id.as_str()).ok_or_else(|| {
        RunError::Report(format!("the control set names control `{id}`, which is not there"))
    })
}

/// The result of a control. Its digest is made when its evidence is known.
fn result(
    control: &Control,
    findings: Findings,
    parameters: &BTreeMap<Name, Cell>,
    earlier: Option<&Earlier>,
) -> ControlResult {
    let id = &control.id;
    let change = earlier.and_then(|earlier| earlier.change(id, &findings, control.each.as_deref()));
    let found = findings.found.into_iter().map(|one| Finding {
        subject: one.subject,
        row: one.row,
        evidence: one.evidence,
        evidence_total: one.evidence_total,
    });
    ControlResult {
        id: id.clone(),
        title: title(&control.title),
        clause: control.clause.en.clone(),
        severity: control.severity,
        text: Digest::of(control.sql.as_bytes()),
        shown: Some(shown(control, &findings.columns)),
        columns: findings.columns,
        findings: found.collect(),
        parameters: parameters.clone(),
        result: Digest::default(),
        change,
    }
}

/// Leaves at most [`MAX_EVIDENCE`] log entries in evidence: of each finding fewer
/// and fewer, the latest ones, and at last none of the later findings.
fn bound_evidence(controls: &mut [ControlResult]) {
    let distinct = |controls: &[ControlResult]| {
        let findings = controls.iter().flat_map(|control| &control.findings);
        findings.flat_map(|one| one.evidence.iter().copied()).collect::<BTreeSet<u64>>().len()
    };
    let mut most = hufu_report::model::MAX_EVIDENCE;
    while distinct(controls) > MAX_EVIDENCE && most > 1 {
        most /= 2;
        for finding in controls.iter_mut().flat_map(|control| &mut control.findings) {
            let all = finding.evidence.len();
            finding.evidence.drain(..all.saturating_sub(most));
        }
    }
    let mut kept = BTreeSet::new();
    for finding in controls.iter_mut().flat_map(|control| &mut control.findings) {
        finding.evidence.retain(|place| {
            kept.contains(place) || (kept.len() < MAX_EVIDENCE && kept.insert(*place))
        });
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
