//! Queries as of a height, over a read-only connection of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hufu_proof::{Height, LogEntry, Name};
use hufu_report::time::{iso_date, iso_time};
use hufu_report::{Cell, Form};
use rusqlite::config::DbConfig;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Statement};
use serde::{Deserialize, Serialize};

use crate::authorize::{Refusal, authorizer};
use crate::catalogue::{LEDGER, Table, height_of, quote};
use crate::error::{Measure, Problem};
use crate::infer;
use crate::rewrite::{ROWS, Rewritten, rewrite};
use crate::scope::{Ground, Scope};
use crate::tables::load_tables;
use crate::value::Bound;

/// Steps of SQLite's machine between two looks at the limits.
const STRIDE: u64 = 1000;

/// Longest text or blob that a query may make, in bytes.
const MAX_CELL: i32 = 1024 * 1024;

/// What one query may use up, counted the same way on every node. What it may use
/// up of a machine is for whoever runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Steps of SQLite's virtual machine: the same on every node.
    pub steps: u64,
    /// Rows of the result.
    pub rows: usize,
    /// Bytes of the result's texts and blobs, and at least 8 for every value.
    pub bytes: usize,
}

impl Limits {
    /// For controls.
    pub const CONTROL: Self = Self {
        steps: 2_000_000_000,
        rows: hufu_report::model::MAX_FINDINGS,
        bytes: 16 * 1024 * 1024,
    };

    /// For a person at a screen.
    pub const INTERACTIVE: Self = Self { steps: 500_000_000, rows: 10_000, bytes: 8 * 1024 * 1024 };
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// As of which height.
    pub height: u64,
    /// The time of its block, milliseconds since 1970.
    pub time_ms: u64,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// What the values of each column are, as far as it is known
    /// ([`crate::infer`]).
    pub forms: Vec<Form>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

/// Opens snapshots; cheap to clone, for any thread and any process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    path: PathBuf,
}

impl Reader {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The last applied height and its block time.
    ///
    /// # Errors
    /// [`Problem::Fault`] when the file cannot be read.
    pub fn applied(&self) -> Result<Option<(u64, u64)>, Problem> {
        let connection = self.connect()?;
        connection
            .query_row(
                "SELECT height, time_ms FROM _height ORDER BY height DESC LIMIT 1",
                [],
                |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))),
            )
            .optional()
            .map_err(fault)
    }

    /// The state as of `height`, of which `scope` is seen.
    ///
    /// # Errors
    /// [`Problem::Height`] when it is not applied yet, [`Problem::Fault`].
    pub fn snapshot(&self, height: u64, scope: Scope) -> Result<Snapshot, Problem> {
        let connection = self.connect()?;
        // One read transaction for all of the snapshot's life.
        connection.execute_batch("BEGIN").map_err(fault)?;
        let applied: Option<i64> = connection
            .query_row("SELECT max(height) FROM _height", [], |row| row.get(0))
            .map_err(fault)?;
        let time: Option<i64> = connection
            .query_row(
                "SELECT time_ms FROM _height WHERE height = ?1",
                [height_of(height)],
                |row| row.get(0),
            )
            .optional()
            .map_err(fault)?;
        let Some(time) = time else {
            let applied = applied.map_or(0, unsigned);
            return Err(Problem::Height { asked: height, applied });
        };
        let tables = load_tables(&connection, height).map_err(fault)?;
        let time_ms = unsigned(time);
        Snapshot::new(connection, height, time_ms, scope, tables)
    }

    fn connect(&self) -> Result<Connection, Problem> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(fault)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(fault)?;
        Ok(connection)
    }
}

/// The state as of one height.
#[derive(Debug)]
pub struct Snapshot {
    connection: Connection,
    height: u64,
    time_ms: u64,
    scope: Scope,
    /// All there are, by which the scope is told.
    ground: Vec<Table>,
    /// Those that may be named.
    tables: Vec<Table>,
    /// What the view of a table looks into beside the table, by physical names.
    looks_into: BTreeMap<String, BTreeSet<String>>,
    refusal: Refusal,
}

impl Snapshot {
    pub(crate) fn new(
        connection: Connection,
        height: u64,
        time_ms: u64,
        scope: Scope,
        tables: Vec<Table>,
    ) -> Result<Self, Problem> {
        (|| {
            connection.pragma_update(None, "temp_store", "memory")?;
            // "name" is a name and never quietly a text.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_CELL)?;
            connection.set_limit(Limit::SQLITE_LIMIT_EXPR_DEPTH, 100)?;
            connection.set_limit(Limit::SQLITE_LIMIT_COMPOUND_SELECT, 20)?;
            connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
            connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256)?;
            let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
            connection.create_scalar_function("iso_time", 1, flags, |context| {
                Ok(context.get::<Option<i64>>(0)?.map(iso_time))
            })?;
            connection.create_scalar_function("iso_date", 1, flags, |context| {
                Ok(context.get::<Option<i64>>(0)?.map(iso_date))
            })?;
            connection.create_aggregate_function(ROWS, 1, flags, RowSet)
        })()
        .map_err(fault)?;
        let (refusal, looks_into) = (Refusal::default(), BTreeMap::new());
        let ground = tables.clone();
        Ok(Self { connection, height, time_ms, scope, ground, tables, looks_into, refusal })
    }

    /// As of which height.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// The block's time, milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The tables there are.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Narrows the tables to the ledger's own and those of these contracts.
    pub fn permit(&mut self, contracts: &BTreeSet<Name>) {
        self.tables
            .retain(|table| table.sql_schema == LEDGER || contracts.contains(&table.contract));
    }

    /// Runs a query. `:as_of_height` and `:as_of_time` are given; every other
    /// parameter must be in `parameters`, and every one of those be used.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn query(
        &mut self,
        text: &str,
        parameters: &BTreeMap<Name, Cell>,
        limits: &Limits,
    ) -> Result<Answer, Problem> {
        let rewritten = rewrite(text, &self.tables)?;
        let unused = parameters
            .keys()
            .find(|name| !rewritten.parameters.iter().any(|used| used == name.as_str()));
        if let Some(unused) = unused {
            return Err(Problem::UnknownParameter(unused.to_string()));
        }
        self.views(&rewritten, false)?;
        let (columns, rows) = self.run(&rewritten.sql, parameters, limits)?;
        let forms = self.forms(&rewritten)?;
        Ok(Answer { height: self.height, time_ms: self.time_ms, columns, forms, rows })
    }

    /// Makes the views that a query names, with or without their rows' numbers.
    pub(crate) fn views(&mut self, rewritten: &Rewritten, with_rows: bool) -> Result<(), Problem> {
        for &index in &rewritten.used {
            let table = &self.tables[index];
            let (height, scope) = (self.height, &self.scope);
            let shown = Ground { tables: &self.ground, height, scope }.shown(table)?;
            let view = quote(&table.view());
            let select = table.select(height, shown.rows.as_deref(), with_rows);
            self.looks_into.insert(table.view(), shown.looks_into);
            self.connection
                .execute_batch(&format!(
                    "DROP VIEW IF EXISTS temp.{view}; CREATE TEMP VIEW {view} AS {select}"
                ))
                .map_err(fault)?;
        }
        Ok(())
    }

    /// The columns that a query would give, without running it.
    pub(crate) fn prepare(
        &mut self,
        sql: &str,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<String>, Problem> {
        self.guarded(u64::MAX, |connection, _| {
            let statement = connection.prepare(sql)?;
            if let Some(unknown) = unbound(&statement, known)? {
                return Ok(Err(Problem::Parameter(unknown)));
            }
            Ok(Ok(statement.column_names().map(str::to_owned).collect()))
        })
    }

    /// What the values of the columns are that a query gives.
    pub(crate) fn forms(&mut self, rewritten: &Rewritten) -> Result<Vec<Form>, Problem> {
        let tables = self.tables.clone();
        self.guarded(u64::MAX, |connection, _| {
            let statement = connection.prepare(&rewritten.sql)?;
            let Some(probe) = &rewritten.probe else {
                return Ok(Ok(vec![Form::Plain; statement.column_count()]));
            };
            let mut forms = infer::origins(&statement, &tables);
            if probe.made.len() == forms.len() && forms.contains(&None) {
                // What cannot be probed is not known.
                let columns = connection
                    .prepare(&probe.sql)
                    .map(|statement| infer::origins(&statement, &tables))
                    .unwrap_or_default();
                for (form, made) in forms.iter_mut().zip(&probe.made) {
                    if form.is_none() {
                        *form = infer::form_of(made, &columns);
                    }
                }
            }
            Ok(Ok(forms.into_iter().map(Option::unwrap_or_default).collect()))
        })
    }

    /// Runs what was rewritten.
    pub(crate) fn run(
        &mut self,
        sql: &str,
        parameters: &BTreeMap<Name, Cell>,
        limits: &Limits,
    ) -> Result<(Vec<String>, Vec<Vec<Cell>>), Problem> {
        let as_of = [
            ("as_of_height", Cell::Integer(height_of(self.height))),
            ("as_of_time", Cell::Integer(height_of(self.time_ms))),
        ];
        let value = |name: &str| {
            let given = as_of.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
            given.or_else(|| parameters.get(name))
        };
        let mut looks = false;
        let ran = self.guarded(limits.steps, |connection, columns| {
            let mut statement = connection.prepare(sql)?;
            *columns = statement.column_names().map(str::to_owned).collect();
            if let Some(unknown) = unbound(&statement, &|name| value(name).is_some())? {
                return Ok(Err(Problem::Parameter(unknown)));
            }
            for index in 1..=statement.parameter_count() {
                let name = statement.parameter_name(index).unwrap_or_default();
                if let Some(value) = value(name.trim_start_matches(':')) {
                    statement.raw_bind_parameter(index, Bound(value))?;
                }
            }
            let mut bytes = 0usize;
            let mut found: Vec<Vec<Cell>> = Vec::new();
            let mut rows = statement.raw_query();
            looks = true;
            while let Some(row) = rows.next()? {
                if found.len() == limits.rows {
                    let limit = limits.rows as u64;
                    return Ok(Err(Problem::Limit { what: Measure::Rows, limit }));
                }
                let mut cells = Vec::with_capacity(columns.len());
                for (index, column) in columns.iter().enumerate() {
                    let cell = match cell(row.get_ref(index)?, column) {
                        Ok(cell) => cell,
                        Err(problem) => return Ok(Err(problem)),
                    };
                    bytes += size(&cell);
                    if bytes > limits.bytes {
                        let limit = limits.bytes as u64;
                        return Ok(Err(Problem::Limit { what: Measure::Bytes, limit }));
                    }
                    cells.push(cell);
                }
                found.push(cells);
            }
            Ok(Ok((columns.clone(), found)))
        });
        ran.map_err(|problem| match problem {
            Problem::Sql { message } if looks => Problem::Failed { message },
            other => other,
        })
    }

    /// Does something under the authorizer, in at most so many steps.
    fn guarded<T>(
        &mut self,
        steps: u64,
        work: impl FnOnce(&Connection, &mut Vec<String>) -> rusqlite::Result<Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let mut left = steps;
        let check = move || {
            left = left.saturating_sub(STRIDE);
            if left == 0 {
                flag.store(true, Ordering::Relaxed);
            }
            left == 0
        };
        self.connection.progress_handler(STRIDE as i32, Some(check)).map_err(fault)?;
        let judge = authorizer(&self.tables, &self.looks_into, &self.refusal);
        self.connection.authorizer(Some(judge)).map_err(fault)?;
        let mut columns = Vec::new();
        let outcome = work(&self.connection, &mut columns);
        self.connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).map_err(fault)?;
        self.connection.progress_handler(0, None::<fn() -> bool>).map_err(fault)?;
        let refused = self.refusal.take();
        outcome.map_err(|error| match refused {
            Some(what) => Problem::Forbidden(what),
            None if stopped.load(Ordering::Relaxed) => {
                Problem::Limit { what: Measure::Steps, limit: steps }
            }
            None => explain(error),
        })?
    }

    /// The log entry at this place, if it is not after the snapshot.
    ///
    /// # Errors
    /// [`Problem::Fault`].
    pub fn log_entry(&self, log_index: u64) -> Result<Option<LogEntry>, Problem> {
        let Some(table) = self.ledger_table("transactions") else { return Ok(None) };
        let column = |name: &str| {
            let found = table.columns.iter().find(|column| column.name == name);
            found.map_or("NULL", |column| column.physical.as_str())
        };
        let sql = format!(
            "SELECT {}, {}, {}, {} FROM main.{} WHERE _tx = ?1 AND _from <= ?2",
            column("id"),
            column("height"),
            column("position"),
            column("outcome"),
            table.physical,
        );
        let row: Option<(String, i64, i64, String)> = self
            .connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_row((height_of(log_index), height_of(self.height)), |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                    })
                    .optional()
            })
            .map_err(fault)?;
        row.map(|(id, height, position, outcome)| {
            let unreadable = || Problem::Fault(format!("log entry {log_index} is unreadable"));
            let outcome = serde_json::from_value(serde_json::Value::String(outcome));
            Ok(LogEntry {
                transaction: id.parse().map_err(|_| unreadable())?,
                height: Height(unsigned(height)),
                index: u32::try_from(position).map_err(|_| unreadable())?,
                outcome: outcome.map_err(|_| unreadable())?,
            })
        })
        .transpose()
    }

    pub(crate) fn ledger_table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.sql_schema == LEDGER && table.name.as_str() == name)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// The first parameter of a statement that `known` does not know.
fn unbound(
    statement: &Statement<'_>,
    known: &dyn Fn(&str) -> bool,
) -> rusqlite::Result<Option<String>> {
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).unwrap_or_default().trim_start_matches(':');
        if !known(name) {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

fn cell(value: ValueRef<'_>, column: &str) -> Result<Cell, Problem> {
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(_) => return Err(Problem::Float(column.to_owned())),
        ValueRef::Text(text) => Cell::Text(
            std::str::from_utf8(text)
                .map_err(|_| Problem::Sql { message: format!("column `{column}` is not UTF-8") })?
                .to_owned(),
        ),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    })
}

fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Null | Cell::Integer(_) => 8,
        Cell::Text(text) => text.len().max(8),
        Cell::Bytes(bytes) => bytes.len().max(8),
    }
}

pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(crate) fn fault(error: rusqlite::Error) -> Problem {
    match error.sqlite_error_code() {
        Some(ErrorCode::OutOfMemory) => Problem::Memory,
        _ => Problem::Fault(error.to_string()),
    }
}

/// What SQLite says to the one who wrote the query.
fn explain(error: rusqlite::Error) -> Problem {
    match &error {
        rusqlite::Error::SqlInputError { msg, .. } if !msg.is_empty() => {
            Problem::Sql { message: msg.clone() }
        }
        rusqlite::Error::SqliteFailure(code, message) => match code.code {
            ErrorCode::TooBig => {
                Problem::Limit { what: Measure::ValueBytes, limit: MAX_CELL.unsigned_abs().into() }
            }
            ErrorCode::OutOfMemory => Problem::Memory,
            // The statement's own fault: overflow, malformed JSON, no such name.
            ErrorCode::Unknown => {
                Problem::Sql { message: message.clone().unwrap_or_else(|| code.to_string()) }
            }
            _ => Problem::Fault(error.to_string()),
        },
        _ => Problem::Sql { message: error.to_string() },
    }
}

/// The numbers of a group's rows, as text: how many different ones there are,
/// a semicolon, and the latest of them in order.
struct RowSet;

/// Most rows of one table in one group that are followed up.
pub(crate) const MAX_ROWS: usize = 64;

/// Most numbers that are told apart in one group; from there on they are not
/// counted.
const MAX_GROUP: usize = 1_000_000;

impl Aggregate<BTreeSet<i64>, String> for RowSet {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<BTreeSet<i64>> {
        Ok(BTreeSet::new())
    }

    fn step(&self, context: &mut Context<'_>, rows: &mut BTreeSet<i64>) -> rusqlite::Result<()> {
        if let Some(row) = context.get::<Option<i64>>(0)?
            && rows.len() < MAX_GROUP
        {
            rows.insert(row);
        }
        Ok(())
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        rows: Option<BTreeSet<i64>>,
    ) -> rusqlite::Result<String> {
        let rows = rows.unwrap_or_default();
        // Rows are numbered in the order of the ledger; the latest tell most.
        let skipped = rows.len().saturating_sub(MAX_ROWS);
        let latest: Vec<String> = rows.iter().skip(skipped).map(i64::to_string).collect();
        Ok(format!("{};{}", rows.len(), latest.join(",")))
    }
}
