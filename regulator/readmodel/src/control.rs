//! Controls: queries whose rows are findings, and where the rows come from.
//!
//! # Order
//! Findings are in the order of the query where it has an ORDER BY that names
//! the subject and no subject comes twice, which is total; else in the order of
//! subject and then of the whole row.
//!
//! # Evidence
//! A row of a result comes from rows of tables in the query's outer FROM; these
//! are told by a second run that carries their numbers along. For a stream's
//! row the evidence is the transaction that appended it; for an asset's, the
//! transaction that created the asset and the latest ones that changed it, as
//! of the height. Where rows cannot be told (DISTINCT, UNION, no table in the
//! outer FROM), the evidence is that of assets whose key is the subject.

use std::collections::{BTreeMap, BTreeSet};

use hufu_proof::Name;
use hufu_report::model::MAX_EVIDENCE;
use hufu_report::{Cell, Form};
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};

use crate::catalogue::{Table, TableKind, TableSpec, height_of, reserved_schemas, standalone};
use crate::error::Problem;
use crate::ledger_tables;
use crate::query::{Limits, Snapshot, fault, unsigned};
use crate::rewrite::{Rewritten, Traced, rewrite};
use crate::scope::Scope;

/// A control as it is run.
#[derive(Clone, Copy, Debug)]
pub struct ControlQuery<'a> {
    /// The query.
    pub sql: &'a str,
    /// The column that says what a finding is about.
    pub subject: &'a str,
    /// Values of its parameters.
    pub parameters: &'a BTreeMap<Name, Cell>,
}

/// The result of a control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The findings, ordered.
    pub found: Vec<Found>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it is about.
    pub subject: String,
    /// The row.
    pub row: Vec<Cell>,
    /// Places in the log of the transactions behind the row, ascending, at most
    /// [`MAX_EVIDENCE`].
    pub evidence: Vec<u64>,
    /// How many there are; at least so many where the row sums up more than 64
    /// assets.
    pub evidence_total: u64,
}

/// Where a row of a result comes from.
#[derive(Debug, Default)]
struct Behind {
    /// Table and what tells its row.
    rows: BTreeSet<(usize, i64)>,
    /// How many transactions appended the rows of a stream in it, also where
    /// `rows` has only the latest.
    appended: u64,
}

/// Checks a control's query against the tables of the packages it may read
/// (contract name and tables, its own and the required ones), without any data.
/// Gives the columns of its result, and what their values are as far as it is
/// known.
///
/// # Errors
/// [`Problem`], also when the subject's column or a parameter is missing.
pub fn check_control(
    sql: &str,
    subject: &str,
    parameters: &BTreeSet<Name>,
    contracts: &[(Name, Vec<TableSpec>)],
) -> Result<Vec<(String, Form)>, Problem> {
    let connection = Connection::open_in_memory().map_err(fault)?;
    let (mut schemas, mut next) = (reserved_schemas(), 0);
    let mut tables = standalone(
        &ledger_tables::ledger(),
        &ledger_tables::specs(),
        &mut BTreeSet::new(),
        &mut next,
    );
    for (contract, specs) in contracts {
        tables.extend(standalone(contract, specs, &mut schemas, &mut next));
    }
    for table in &tables {
        connection.execute_batch(&table.create()).map_err(fault)?;
    }
    let mut snapshot = Snapshot::new(connection, 0, 0, Scope::Whole, tables)?;
    let rewritten = rewrite(sql, snapshot.tables())?;
    snapshot.views(&rewritten, false)?;
    let known = |name: &str| {
        name == "as_of_height"
            || name == "as_of_time"
            || parameters.iter().any(|known| known.as_str() == name)
    };
    let columns = snapshot.prepare(&rewritten.sql, &known)?;
    let unused = parameters
        .iter()
        .find(|name| !rewritten.parameters.iter().any(|used| used == name.as_str()));
    if let Some(unused) = unused {
        return Err(Problem::UnknownParameter(unused.to_string()));
    }
    subject_column(&columns, subject)?;
    duplicate(&columns)?;
    if rewritten.limited && !orders_by(&rewritten, subject) {
        let message = "a LIMIT needs an ORDER BY that ends with the subject, so that every node \
                       takes the same rows";
        return Err(Problem::Sql { message: message.into() });
    }
    let forms = snapshot.forms(&rewritten)?;
    Ok(columns.into_iter().zip(forms).collect())
}

impl Snapshot {
    /// Runs a control.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn control(
        &mut self,
        control: &ControlQuery<'_>,
        limits: &Limits,
    ) -> Result<Findings, Problem> {
        let (rewritten, mut findings) = self.findings(control, limits)?;
        if !findings.found.is_empty() {
            let Findings { columns, found } = &mut findings;
            self.find_evidence(&rewritten, control, columns, limits, found)?;
        }
        Ok(findings)
    }

    /// Runs a control and does not look for evidence.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn control_rows(
        &mut self,
        control: &ControlQuery<'_>,
        limits: &Limits,
    ) -> Result<Findings, Problem> {
        Ok(self.findings(control, limits)?.1)
    }

    fn findings(
        &mut self,
        control: &ControlQuery<'_>,
        limits: &Limits,
    ) -> Result<(Rewritten, Findings), Problem> {
        let rewritten = rewrite(control.sql, self.tables())?;
        self.views(&rewritten, false)?;
        let (columns, rows) = self.run(&rewritten.sql, control.parameters, limits)?;
        let subject = subject_column(&columns, control.subject)?;
        let mut found: Vec<Found> = rows
            .into_iter()
            .map(|row| Found {
                subject: row[subject].to_string(),
                row,
                evidence: Vec::new(),
                evidence_total: 0,
            })
            .collect();
        let subjects: BTreeSet<&str> = found.iter().map(|one| one.subject.as_str()).collect();
        let total = orders_by(&rewritten, control.subject) && subjects.len() == found.len();
        if !total {
            found.sort_by(|one, other| (&one.subject, &one.row).cmp(&(&other.subject, &other.row)));
        }
        Ok((rewritten, Findings { columns, found }))
    }

    fn find_evidence(
        &mut self,
        rewritten: &Rewritten,
        control: &ControlQuery<'_>,
        columns: &[String],
        limits: &Limits,
        found: &mut [Found],
    ) -> Result<(), Problem> {
        let told = match &rewritten.traced {
            Some(traced) => {
                self.views(rewritten, true)?;
                match self.told(traced, control, columns, limits) {
                    Ok(told) => told,
                    // Another node may tell it.
                    Err(problem) if problem.is_of_this_machine() => return Err(problem),
                    // The second run does not judge: what it cannot tell is looked
                    // up by subject.
                    Err(_) => BTreeMap::new(),
                }
            }
            None => BTreeMap::new(),
        };
        for one in found {
            let mut transactions = BTreeSet::new();
            let mut at_least = 0;
            match told.get(&one.row) {
                Some(behind) => {
                    for (table, row) in &behind.rows {
                        transactions.extend(self.behind_row(&self.tables()[*table], *row)?);
                    }
                    at_least = behind.appended;
                }
                None => {
                    for &table in &rewritten.used {
                        let table = &self.tables()[table];
                        if table.kind == TableKind::Asset {
                            transactions.extend(self.behind_asset(table, &one.subject)?);
                        }
                    }
                }
            }
            one.evidence_total = at_least.max(transactions.len() as u64);
            one.evidence = first_and_latest(transactions);
        }
        Ok(())
    }

    /// The rows of tables behind each row of the result.
    fn told(
        &mut self,
        traced: &Traced,
        control: &ControlQuery<'_>,
        columns: &[String],
        limits: &Limits,
    ) -> Result<BTreeMap<Vec<Cell>, Behind>, Problem> {
        let (names, rows) = self.run(&traced.sql, control.parameters, limits)?;
        let own = names.len().saturating_sub(traced.tables.len());
        // A `*` shows the rows' numbers too; they are not the query's own.
        let kept: Vec<usize> = (0..own).filter(|&index| names[index] != "_row").collect();
        let mut told: BTreeMap<Vec<Cell>, Behind> = BTreeMap::new();
        if kept.len() != columns.len() {
            return Ok(told);
        }
        for row in rows {
            let content = kept.iter().map(|&index| row[index].clone()).collect();
            let behind = told.entry(content).or_default();
            for (&table, cell) in traced.tables.iter().zip(&row[own..]) {
                match cell {
                    Cell::Integer(number) => {
                        behind.rows.insert((table, *number));
                    }
                    Cell::Text(group) => {
                        let (count, numbers) = group.split_once(';').unwrap_or(("0", ""));
                        let numbers = numbers.split(',').filter_map(|number| number.parse().ok());
                        behind.rows.extend(numbers.map(|number| (table, number)));
                        if self.tables()[table].kind == TableKind::Stream {
                            let count = count.parse().unwrap_or(0);
                            behind.appended = behind.appended.max(count);
                        }
                    }
                    // A LEFT JOIN without a partner.
                    _ => {}
                }
            }
        }
        Ok(told)
    }

    /// Log places of the transactions behind one row of a table.
    fn behind_row(&self, table: &Table, row: i64) -> Result<BTreeSet<u64>, Problem> {
        if table.kind == TableKind::Stream {
            return Ok(BTreeSet::from([unsigned(row)]));
        }
        let physical = &table.physical;
        let sql = format!("SELECT _key FROM main.{physical} WHERE _row = ?1");
        let key: Option<String> = self
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut one| one.query_row([row], |row| row.get(0)).optional())
            .map_err(fault)?;
        key.map_or(Ok(BTreeSet::new()), |key| self.behind_asset(table, &key))
    }

    /// Log places of the transactions that made an asset what it is.
    fn behind_asset(&self, table: &Table, key: &str) -> Result<BTreeSet<u64>, Problem> {
        let sql = format!(
            "SELECT _tx FROM main.{} WHERE _key = ?1 AND _from <= ?2 AND _tx IS NOT NULL",
            table.physical
        );
        self.connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map((key, height_of(self.height())), |row| row.get(0))?
                    .map(|place| place.map(unsigned))
                    .collect()
            })
            .map_err(fault)
    }
}

/// The first, which created it, and the latest.
fn first_and_latest(transactions: BTreeSet<u64>) -> Vec<u64> {
    let all: Vec<u64> = transactions.into_iter().collect();
    match all.split_first() {
        Some((first, rest)) if all.len() > MAX_EVIDENCE => {
            let latest = &rest[rest.len() + 1 - MAX_EVIDENCE..];
            std::iter::once(*first).chain(latest.iter().copied()).collect()
        }
        _ => all,
    }
}

fn subject_column(columns: &[String], subject: &str) -> Result<usize, Problem> {
    columns.iter().position(|column| column == subject).ok_or_else(|| Problem::Subject {
        subject: subject.to_owned(),
        columns: columns.join(", "),
    })
}

fn duplicate(columns: &[String]) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    match columns.iter().find(|column| !seen.insert(column.as_str())) {
        None => Ok(()),
        Some(column) => Err(Problem::Sql {
            message: format!("two columns are called `{column}`; give each its own name with AS"),
        }),
    }
}

fn orders_by(rewritten: &Rewritten, subject: &str) -> bool {
    rewritten.ordered_by.iter().any(|name| name == subject)
}
