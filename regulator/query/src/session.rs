//! What the node asks the process for, and what it is told.

use std::collections::{BTreeMap, BTreeSet};

use hufu_proof::Name;
use hufu_readmodel::{Answer, ControlQuery, Findings, Limits, Problem, Reader, Scope};
use hufu_report::Cell;
use serde::{Deserialize, Serialize};

use crate::workers::Worker;

/// What a query sees: the state as of a height, or less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// The height.
    pub height: u64,
    /// Of what the rows are seen.
    pub scope: Scope,
    /// As [`hufu_readmodel::Snapshot::permit`] narrows it.
    pub contracts: Option<BTreeSet<Name>>,
}

/// One question, whole.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) reader: Reader,
    pub(crate) as_of: AsOf,
    pub(crate) sql: String,
    pub(crate) parameters: BTreeMap<Name, Cell>,
    pub(crate) limits: Limits,
    pub(crate) wanted: Wanted,
}

/// In which form.
#[derive(Serialize, Deserialize)]
pub(crate) enum Wanted {
    /// As the rows that they are.
    Rows,
    /// As findings on what this column says, with or without what is behind them.
    Findings { subject: String, evidence: bool },
}

/// What comes back.
#[derive(Serialize, Deserialize)]
pub(crate) enum Told {
    Rows(Answer),
    Findings(Findings),
    Problem(Problem),
}

impl Ask {
    /// Answers it, in this process.
    pub(crate) fn answer(&self) -> Told {
        self.run().unwrap_or_else(Told::Problem)
    }

    fn run(&self) -> Result<Told, Problem> {
        let AsOf { height, scope, contracts } = &self.as_of;
        let mut snapshot = self.reader.snapshot(*height, scope.clone())?;
        if let Some(contracts) = contracts {
            snapshot.permit(contracts);
        }
        let (sql, parameters, limits) = (&self.sql, &self.parameters, &self.limits);
        match &self.wanted {
            Wanted::Rows => snapshot.query(sql, parameters, limits).map(Told::Rows),
            Wanted::Findings { subject, evidence } => {
                let control = ControlQuery { sql, subject, parameters };
                let findings = match evidence {
                    true => snapshot.control(&control, limits),
                    false => snapshot.control_rows(&control, limits),
                };
                findings.map(Told::Findings)
            }
        }
    }
}

/// Questions to one process over one read model, each as of some height.
#[derive(Debug)]
pub struct Session {
    worker: Worker,
    reader: Reader,
}

impl Session {
    /// Over the read model of `reader`.
    pub fn new(worker: Worker, reader: Reader) -> Self {
        Self { worker, reader }
    }

    /// Runs a query ([`hufu_readmodel::Snapshot::query`]).
    ///
    /// # Errors
    /// [`Problem`].
    pub fn query(
        &mut self,
        as_of: &AsOf,
        sql: &str,
        parameters: &BTreeMap<Name, Cell>,
        limits: &Limits,
    ) -> Result<Answer, Problem> {
        match self.ask(as_of, sql, parameters, limits, Wanted::Rows)? {
            Told::Rows(answer) => Ok(answer),
            other => Err(unasked(other)),
        }
    }

    /// Runs a control ([`hufu_readmodel::Snapshot::control`]), or its rows alone
    /// ([`hufu_readmodel::Snapshot::control_rows`]).
    ///
    /// # Errors
    /// [`Problem`].
    pub fn findings(
        &mut self,
        as_of: &AsOf,
        control: &ControlQuery<'_>,
        limits: &Limits,
        evidence: bool,
    ) -> Result<Findings, Problem> {
        let wanted = Wanted::Findings { subject: control.subject.to_owned(), evidence };
        match self.ask(as_of, control.sql, control.parameters, limits, wanted)? {
            Told::Findings(findings) => Ok(findings),
            other => Err(unasked(other)),
        }
    }

    fn ask(
        &mut self,
        as_of: &AsOf,
        sql: &str,
        parameters: &BTreeMap<Name, Cell>,
        limits: &Limits,
        wanted: Wanted,
    ) -> Result<Told, Problem> {
        self.worker.exchange(&Ask {
            reader: self.reader.clone(),
            as_of: as_of.clone(),
            sql: sql.to_owned(),
            parameters: parameters.clone(),
            limits: *limits,
            wanted,
        })
    }
}

/// The refusal that was told, or what it means when something else was.
fn unasked(told: Told) -> Problem {
    match told {
        Told::Problem(problem) => problem,
        Told::Rows(_) | Told::Findings(_) => {
            Problem::Gone("it answered something else than was asked".to_owned())
        }
    }
}
