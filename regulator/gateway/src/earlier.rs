//! What is otherwise than when the same was asked before.
//!
//! Every report is preceded by a look on the ledger, which names the control set
//! with the digest of everything it was asked with, and the height. The last such
//! look before the report's height, seen as of that height, is the earlier run;
//! its findings are computed again from the state of then with the package that was
//! active then. So the comparison follows from the ledger like the rest, and is the
//! same on every node.

use std::collections::{BTreeMap, BTreeSet};

use hufu_contract::ControlSet;
use hufu_proof::{Digest, Name};
use hufu_query::{AsOf as Seen, Session};
use hufu_readmodel::{ControlQuery, Findings, Limits, Problem, Reader, Scope};
use hufu_report::canonical;
use hufu_report::{AsOf, Cell, Change};
use serde::Serialize;

use crate::ledger::LedgerAccess;
use crate::run::{Run, RunError, Stage, active_contracts, contract_at};

/// The values of all parameters by control.
pub type Parameters = BTreeMap<Name, BTreeMap<Name, Cell>>;

/// What tells one finding of a control from another, in two runs.
type Key = (String, Option<Cell>);

/// The digest of everything that a run is asked with but the height.
///
/// # Errors
/// [`RunError::Report`], which is a fault of this program.
pub fn question(run: &Run, parameters: &Parameters) -> Result<Digest, RunError> {
    #[derive(Serialize)]
    struct Question<'a> {
        contract: &'a Name,
        set: &'a Name,
        jurisdiction: Option<&'a str>,
        parameters: &'a Parameters,
    }
    let question = Question {
        contract: &run.contract,
        set: &run.set,
        jurisdiction: run.jurisdiction.as_deref(),
        parameters,
    };
    let bytes =
        canonical::encode(&question).map_err(|error| RunError::Report(error.to_string()))?;
    Ok(Digest::of_parts(&[b"hufu report question v1\0", &bytes]))
}

/// How the look of a run begins.
pub fn look_begins(contract: &Name, set: &Name, question: &Digest) -> String {
    format!("report {contract}/{set} {question} ")
}

/// The findings of an earlier run.
pub struct Earlier {
    /// As of when.
    pub as_of: AsOf,
    found: BTreeMap<Name, BTreeSet<Key>>,
}

impl Earlier {
    /// Computes the run as of `run.since`, or of the last run before this with the
    /// same question. `None` where there is none.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn of(
        session: &mut Session,
        reader: &Reader,
        ledger: &dyn LedgerAccess,
        run: &Run,
        parameters: &Parameters,
        question: &Digest,
    ) -> Result<Option<Self>, RunError> {
        let height = match run.since {
            Some(since) if since >= run.as_of => {
                let detail = format!("since: name a height before {}", run.as_of);
                return Err(RunError::Request(detail));
            }
            Some(since) => Some(since),
            None => last(session, run, question).map_err(|problem| {
                let stage = Stage::Begun { of: parameters.len() };
                RunError::Query { stage, problem }
            })?,
        };
        let Some(height) = height else { return Ok(None) };
        let mut snapshot = reader.snapshot(height, run.scope())?;
        let as_of = AsOf { height, time_ms: snapshot.time_ms() };
        let mut found = BTreeMap::new();
        let active = active_contracts(&mut snapshot)?;
        // A contract that was not there then has found nothing.
        if active.contains_key(&run.contract) {
            let contract = contract_at(ledger, &active, &run.contract)?;
            let seen = Seen { height, scope: run.scope(), contracts: None };
            let set = contract.control_sets().get(&run.set);
            let controls = set.map_or(&[][..], |set: &ControlSet| &set.controls[..]);
            for (number, (id, defaults)) in (1..).zip(controls) {
                let Some(control) = contract.control(id.as_str()) else { continue };
                let given = parameters.get(id);
                // With what it is asked now, as far as there was such a parameter.
                let parameters = defaults
                    .iter()
                    .map(|(name, value)| {
                        let now = given.and_then(|given| given.get(name)).cloned();
                        let then = || hufu_readmodel::value::cell(value);
                        (name.clone(), now.unwrap_or_else(then))
                    })
                    .collect();
                let query = ControlQuery {
                    sql: &control.sql,
                    subject: &control.subject,
                    parameters: &parameters,
                };
                match session.findings(&seen, &query, &Limits::CONTROL, false) {
                    Ok(findings) => {
                        let keys = keys(&findings, control.each.as_deref()).into_iter().collect();
                        found.insert(id.clone(), keys);
                    }
                    // Another node may compare with it.
                    Err(problem) if problem.is_of_this_machine() => {
                        let (control, of) = (id.clone(), controls.len());
                        let stage = Stage::Compared { height, control, number, of };
                        return Err(RunError::Query { stage, problem });
                    }
                    // What could not run then is not compared with.
                    Err(_) => {}
                }
            }
        }
        Ok(Some(Self { as_of, found }))
    }

    /// What is otherwise in the findings of a control now.
    pub fn change(&self, id: &Name, now: &Findings, each: Option<&str>) -> Option<Change> {
        let then = self.found.get(id)?;
        let now = keys(now, each);
        let new = now.iter().zip(0u32..).filter(|(key, _)| !then.contains(*key));
        let new = new.map(|(_, place)| place).collect();
        let now: BTreeSet<&Key> = now.iter().collect();
        let gone = then.iter().filter(|key| !now.contains(key)).count() as u64;
        Some(Change { new, gone })
    }
}

fn keys(findings: &Findings, each: Option<&str>) -> Vec<Key> {
    let each = each.and_then(|each| findings.columns.iter().position(|column| column == each));
    let key = |found: &hufu_readmodel::Found| {
        (found.subject.clone(), each.and_then(|place| found.row.get(place)).cloned())
    };
    findings.found.iter().map(key).collect()
}

/// The height of the last run of the same question before this one.
fn last(session: &mut Session, run: &Run, question: &Digest) -> Result<Option<u64>, Problem> {
    // The looks of all members, whatever the caller may see of them.
    let seen = Seen { height: run.as_of, scope: Scope::Whole, contracts: None };
    let begins = look_begins(&run.contract, &run.set, question);
    let length = Cell::Integer(i64::try_from(begins.len()).unwrap_or(0));
    let mut parameters = BTreeMap::new();
    for (name, value) in [("length", length), ("begins", Cell::Text(begins))] {
        let name = Name::new(name).map_err(|error| Problem::Fault(error.to_string()))?;
        parameters.insert(name, value);
    }
    let answer = session.query(
        &seen,
        "SELECT max(height) FROM ledger.looks \
         WHERE height < :as_of_height AND substr(subject, 1, :length) = :begins",
        &parameters,
        &Limits::CONTROL,
    )?;
    Ok(match answer.rows.first().map(Vec::as_slice) {
        Some([Cell::Integer(height)]) => u64::try_from(*height).ok(),
        _ => None,
    })
}
