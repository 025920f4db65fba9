//! What a check says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hufu_contract::compare::{Change, ChangeKind};
use hufu_contract::review::{Automatic, Cell, Cost, Permission};
use hufu_contract::{Contract, Problem, Sources, Type, manifest};
use hufu_proof::{Digest, Name, Severity};
use serde::{Serialize, Serializer};

/// What a check says of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The contract's name, when it could be read.
    pub name: Option<Name>,
    /// Its version, when it could be read.
    pub version: Option<String>,
    /// What identifies the package.
    pub digest: Digest,
    /// Bytes of its canonical encoding.
    pub bytes: usize,
    /// Everything wrong with it.
    pub problems: Vec<Problem>,
    /// The tables its assets and streams become.
    pub tables: Vec<TableSummary>,
    /// Its controls by name, with their severities.
    pub controls: BTreeMap<Name, Severity>,
    /// Its control sets, with the controls in each.
    pub control_sets: BTreeMap<Name, Vec<Name>>,
    /// Who may do what.
    pub permissions: Vec<Cell>,
    /// What it does by itself.
    pub automatic: Vec<Automatic>,
    /// What each action costs at most.
    pub costs: Vec<Cost>,
    /// How its cases came out.
    pub cases: Vec<CaseResult>,
    /// What no case touches, when all came out as they say.
    pub untouched: Vec<String>,
    /// What it changes against the version it was compared with.
    pub changes: Option<Vec<Change>>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableSummary {
    /// Its name in SQL.
    pub name: String,
    /// Its columns.
    pub columns: Vec<ColumnSummary>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnSummary {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type", serialize_with = "as_text")]
    pub ty: Type,
    /// Whether it may be without a value.
    pub optional: bool,
}

/// A type as people read it.
fn as_text<S: Serializer>(ty: &Type, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(ty)
}

/// How a case came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// Its file.
    pub path: String,
    /// What it shows.
    pub title: String,
    /// Steps and expectations in it.
    pub checks: usize,
    /// Where it did not come out as it says; empty when it passes.
    pub failures: Vec<Problem>,
}

impl CaseResult {
    /// Whether it came out as it says.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Report {
    pub(crate) fn of(sources: &Sources) -> Self {
        let header =
            sources.text(hufu_contract::CONTRACT).and_then(|text| manifest::header(text).ok());
        Self {
            name: header.as_ref().map(|header| header.name.clone()),
            version: header.map(|header| header.version.to_string()),
            digest: sources.digest(),
            bytes: sources.to_bytes().len(),
            problems: Vec::new(),
            tables: Vec::new(),
            controls: BTreeMap::new(),
            control_sets: BTreeMap::new(),
            permissions: Vec::new(),
            automatic: Vec::new(),
            costs: Vec::new(),
            cases: Vec::new(),
            untouched: Vec::new(),
            changes: None,
        }
    }

    pub(crate) fn describe(&mut self, contract: &Contract) {
        let column = |column: &hufu_contract::Column| ColumnSummary {
            name: column.name.clone(),
            ty: column.ty.clone(),
            optional: column.optional,
        };
        let tables = contract.tables();
        self.tables = tables
            .iter()
            .map(|table| TableSummary {
                name: table.qualified(),
                columns: table.columns.iter().map(column).collect(),
            })
            .collect();
        let controls = contract.controls().iter();
        self.controls = controls.map(|control| (control.id.clone(), control.severity)).collect();
        let sets = contract.control_sets().values();
        self.control_sets = sets
            .map(|set| {
                let controls = set.controls.iter().map(|(control, _)| control.clone());
                (set.name.clone(), controls.collect())
            })
            .collect();
        self.permissions = contract.permissions();
        self.automatic = contract.automatic();
        self.costs = contract.costs();
    }

    /// Whether all is well.
    pub fn passed(&self) -> bool {
        self.problems.is_empty() && self.cases.iter().all(CaseResult::passed)
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        if let (Some(name), Some(version)) = (&self.name, &self.version) {
            writeln!(text, "{name}@{version}, {} bytes", self.bytes)?;
        }
        for problem in &self.problems {
            writeln!(text, "{problem}")?;
        }
        if !self.tables.is_empty() {
            writeln!(text, "\ntables")?;
        }
        for table in &self.tables {
            writeln!(text, "  {}", table.name)?;
            for column in &table.columns {
                let optional = if column.optional { ", optional" } else { "" };
                writeln!(text, "    {:<20} {}{optional}", column.name, column.ty)?;
            }
        }
        self.write_permissions(text)?;
        if !self.automatic.is_empty() {
            writeln!(text, "\nby itself")?;
        }
        for Automatic { cause, waits_for, calls } in &self.automatic {
            writeln!(text, "  {cause} ({waits_for}) calls {calls}")?;
        }
        if !self.costs.is_empty() {
            writeln!(text, "\nworst-case costs (expression steps, policy nodes, bytes stored)")?;
        }
        for cost in &self.costs {
            let (steps, nodes, bytes) = (cost.expressions, cost.policy, cost.bytes);
            writeln!(text, "  {:<24} {steps:>8} {nodes:>6} {bytes:>7}", cost.action)?;
        }
        if !self.control_sets.is_empty() {
            writeln!(text, "\ncontrol sets")?;
        }
        for (set, controls) in &self.control_sets {
            let controls: Vec<String> = controls
                .iter()
                .map(|id| {
                    format!(
                        "{id} ({})",
                        self.controls.get(id).map_or("", |severity| severity.code())
                    )
                })
                .collect();
            writeln!(text, "  {set}: {}", controls.join(", "))?;
        }
        if let Some(changes) = &self.changes {
            writeln!(text, "\nchanges")?;
            for change in changes {
                let kind = match change.kind {
                    ChangeKind::Added => "added",
                    ChangeKind::Removed => "removed",
                    ChangeKind::Changed => "changed",
                    ChangeKind::Loosened => "loosened",
                    ChangeKind::Tightened => "tightened",
                };
                writeln!(text, "  {kind:<10} {} {}", change.thing, change.change)?;
            }
        }
        if !self.cases.is_empty() {
            writeln!(text, "\ncases")?;
        }
        for case in &self.cases {
            let word = if case.passed() { "pass" } else { "FAIL" };
            writeln!(text, "  {word}  {} ({}, {} checks)", case.title, case.path, case.checks)?;
            for failure in &case.failures {
                writeln!(text, "        {failure}")?;
            }
        }
        if !self.untouched.is_empty() {
            writeln!(text, "\nno case touches")?;
        }
        for what in &self.untouched {
            writeln!(text, "  {what}")?;
        }
        writeln!(text, "\ndigest {}", self.digest)?;
        match (self.problems.len(), self.cases.iter().filter(|case| !case.passed()).count()) {
            (0, 0) => writeln!(text, "all is well"),
            (problems, failed) => writeln!(text, "{problems} problems, {failed} cases failed"),
        }
    }

    /// One line an action and state; a column a role.
    fn write_permissions(&self, text: &mut String) -> std::fmt::Result {
        if self.permissions.is_empty() {
            return Ok(());
        }
        writeln!(text, "\nwho may (yes; if: under conditions; -: never)")?;
        let who = |cell: &Cell| match (&cell.role, cell.device) {
            (Some(role), _) => role.to_string(),
            (None, true) => "(device)".into(),
            (None, false) => "(no role)".into(),
        };
        let mut columns: Vec<String> = Vec::new();
        let mut rows: Vec<(String, Vec<&'static str>)> = Vec::new();
        for cell in &self.permissions {
            let column = who(cell);
            if !columns.contains(&column) {
                columns.push(column);
            }
            let state = cell.state.as_ref().map(|state| format!(" ({state})")).unwrap_or_default();
            let row = format!("{} {}{state}", cell.action, cell.on);
            let word = match cell.permission {
                Permission::Denied => "-",
                Permission::Conditional => "if",
                Permission::Permitted => "yes",
            };
            match rows.last_mut() {
                Some((last, words)) if *last == row => words.push(word),
                _ => rows.push((row, vec![word])),
            }
        }
        write!(text, "  {:<28}", "")?;
        for column in &columns {
            write!(text, " {column:>10}")?;
        }
        writeln!(text)?;
        for (row, words) in rows {
            write!(text, "  {row:<28}")?;
            for (word, column) in words.iter().zip(&columns) {
                write!(text, " {word:>width$}", width = column.len().max(10))?;
            }
            writeln!(text)?;
        }
        Ok(())
    }
}
