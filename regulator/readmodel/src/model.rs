//! The projection: one SQLite file, written once for each height.
//!
//! Rules it keeps:
//! - A height is applied in one transaction, together with the number of the
//!   height; after a crash the file stands at some height, and the node goes on
//!   from there. Heights follow one another; one that was applied is ignored.
//! - Nothing is ever rewritten but the end of a version's validity, so a query
//!   as of a height gives the same for ever.
//! - A failed write is rolled back, and may be tried again; where it cannot be,
//!   the handle is poisoned. The file is a projection: when it is damaged, it is
//!   removed and built again from the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hufu_machine::event::Event;
use hufu_proof::{Block, Digest, Name};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use crate::catalogue::{
    self, Column, ColumnType, LEDGER, Table, TableKind, TableSpec, height_of, sql_name,
};
use crate::error::ReadModelError;
use crate::ledger_tables;
use crate::project;
use crate::query::Reader;
use crate::target::Target;

/// Version of the file's layout. A file of another version is built anew.
const LAYOUT: i64 = 3;

/// The end of validity of what is valid now.
pub(crate) const OPEN: i64 = i64::MAX;

/// Who knows the tables of a deployed contract.
pub trait Packages {
    /// The tables of the package with this digest
    /// ([`contract_tables`](crate::contract_tables)); `None` when it is not
    /// known.
    fn tables(&self, contract: &Name, digest: &Digest) -> Option<Vec<TableSpec>>;
}

/// The writing side of the read model; there is one for each file.
#[derive(Debug)]
pub struct ReadModel {
    path: PathBuf,
    connection: Option<Connection>,
    applied: Option<u64>,
    /// By schema and name; an asset and a stream may share one.
    targets: BTreeMap<String, BTreeMap<String, Vec<Arc<Target>>>>,
    /// Schemas of contracts.
    pub(crate) schemas: BTreeMap<Name, String>,
}

impl std::fmt::Debug for dyn Packages {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Packages")
    }
}

impl ReadModel {
    /// Opens the file at `path` for the consortium with this genesis digest, or
    /// makes it. A file of an older layout is removed and made anew, at no
    /// height.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn open(path: &Path, chain: &Digest) -> Result<Self, ReadModelError> {
        let connection = match connect(path, chain) {
            Ok(Some(connection)) => connection,
            Ok(None) => {
                remove(path)?;
                connect(path, chain)?.ok_or(ReadModelError::Poisoned)?
            }
            Err(error) => return Err(error),
        };
        let mut model = Self {
            path: path.to_owned(),
            connection: None,
            applied: None,
            targets: BTreeMap::new(),
            schemas: BTreeMap::new(),
        };
        let loaded = (|| {
            let applied: Option<i64> =
                connection.query_row("SELECT max(height) FROM _height", [], |row| row.get(0))?;
            Ok((applied, load_tables(&connection, u64::MAX)?))
        })();
        let (applied, tables) = loaded.map_err(|source| damaged(path, source))?;
        model.applied = applied.and_then(|height| u64::try_from(height).ok());
        model.remember(tables);
        model.connection = Some(connection);
        Ok(model)
    }

    /// The last applied height.
    pub fn applied(&self) -> Option<u64> {
        self.applied
    }

    /// The height that [`ReadModel::apply`] waits for.
    pub fn next_height(&self) -> u64 {
        self.applied.map_or(0, |height| height + 1)
    }

    /// A handle for queries, for any thread.
    pub fn reader(&self) -> Reader {
        Reader::new(&self.path)
    }

    /// Applies the events of one block (and the rows of streams, which are in
    /// the block itself), all or nothing. A height that was applied before is
    /// ignored, and the answer is `false`.
    ///
    /// # Errors
    /// [`ReadModelError::Gap`] when heights are missing before it; other faults
    /// leave the handle poisoned where SQLite could not roll the height back.
    pub fn apply(
        &mut self,
        block: &Block,
        events: &[Event],
        packages: &dyn Packages,
    ) -> Result<bool, ReadModelError> {
        let height = block.header.height.get();
        let mut connection = self.connection.take().ok_or(ReadModelError::Poisoned)?;
        let expected = self.next_height();
        if height != expected {
            self.connection = Some(connection);
            return if height < expected {
                Ok(false)
            } else {
                Err(ReadModelError::Gap { expected, found: height })
            };
        }
        let outcome = project::block(&mut connection, self, block, events, packages);
        match &outcome {
            Ok(()) => {
                self.applied = Some(height);
                self.connection = Some(connection);
            }
            // Rolled back, so that nothing was written and the height may be given
            // again: what a full disk needs, where nothing could be opened either.
            Err(_) if connection.is_autocommit() => {
                let tables = load_tables(&connection, u64::MAX).map_err(|source| {
                    ReadModelError::Storage { action: "read its tables", source }
                })?;
                self.remember(tables);
                self.connection = Some(connection);
            }
            Err(_) => {}
        }
        outcome.map(|()| true)
    }

    pub(crate) fn remember(&mut self, tables: Vec<Table>) {
        self.schemas = tables
            .iter()
            .filter(|table| table.sql_schema != LEDGER)
            .map(|table| (table.contract.clone(), table.sql_schema.clone()))
            .collect();
        self.targets.clear();
        for table in tables {
            let schema = self.targets.entry(table.sql_schema.clone()).or_default();
            let named = schema.entry(table.name.to_string()).or_default();
            named.push(Arc::new(Target::new(table)));
        }
    }

    /// A table by the contract's name in queries, its own name and its kind.
    pub(crate) fn target(&self, schema: &str, name: &str, kind: TableKind) -> Option<Arc<Target>> {
        let named = self.targets.get(schema)?.get(name)?;
        named.iter().find(|target| target.table.kind == kind).cloned()
    }
}

/// `None` when the file is of another layout.
fn connect(path: &Path, chain: &Digest) -> Result<Option<Connection>, ReadModelError> {
    let fault = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(path, source),
        _ => ReadModelError::Storage { action: "open its file", source },
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    connection.set_prepared_statement_cache_capacity(256);
    // Write-ahead log, so that queries do not wait for writes. A commit may be
    // lost with the power, never torn: the ledger gives the height again.
    connection.pragma_update(None, "journal_mode", "wal").map_err(fault)?;
    connection.pragma_update(None, "synchronous", "normal").map_err(fault)?;
    let layout: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fault)?;
    if layout == 0 {
        create(&mut connection, chain).map_err(fault)?;
    } else if layout != LAYOUT {
        return Ok(None);
    }
    let found: String = connection
        .query_row("SELECT value FROM _meta WHERE name = 'chain'", [], |row| row.get(0))
        .map_err(fault)?;
    match found.parse::<Digest>() {
        Ok(found) if found == *chain => Ok(Some(connection)),
        Ok(found) => {
            Err(ReadModelError::OtherConsortium { path: path.to_owned(), found, expected: *chain })
        }
        Err(_) => Err(damaged(path, rusqlite::Error::InvalidQuery)),
    }
}

fn damaged(path: &Path, source: rusqlite::Error) -> ReadModelError {
    ReadModelError::Damaged { path: path.to_owned(), source }
}

fn remove(path: &Path) -> Result<(), ReadModelError> {
    for ending in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let source = rusqlite::Error::ToSqlConversionFailure(Box::new(error));
                return Err(ReadModelError::Storage { action: "remove its old file", source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn create(connection: &mut Connection, chain: &Digest) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE _meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
         CREATE TABLE _height (height INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL) STRICT;
         CREATE TABLE _table (
             number INTEGER PRIMARY KEY, contract TEXT NOT NULL, name TEXT NOT NULL,
             sql_schema TEXT NOT NULL, sql_name TEXT NOT NULL, kind TEXT NOT NULL,
             since INTEGER NOT NULL, UNIQUE (sql_schema, name, kind), UNIQUE (sql_schema, sql_name)
         ) STRICT;
         CREATE TABLE _column (
             table_number INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,
             sql_name TEXT NOT NULL, type TEXT NOT NULL, since INTEGER NOT NULL,
             until INTEGER NOT NULL, PRIMARY KEY (table_number, number)
         ) STRICT;
         CREATE TABLE _telling (
             table_number INTEGER NOT NULL, since INTEGER NOT NULL, telling TEXT NOT NULL,
             PRIMARY KEY (table_number, since)
         ) STRICT;",
    )?;
    transaction.execute("INSERT INTO _meta VALUES ('chain', ?1)", [chain.to_string()])?;
    for spec in ledger_tables::specs() {
        declare(&transaction, &ledger_tables::ledger(), LEDGER, &spec, 0)?;
    }
    transaction.pragma_update(None, "user_version", LAYOUT)?;
    transaction.commit()
}

/// The name of `contract` in queries: the one it has, or a free one.
pub(crate) fn schema_of(connection: &Connection, contract: &Name) -> rusqlite::Result<String> {
    let known: Option<String> = connection
        .query_row(
            "SELECT sql_schema FROM _table WHERE contract = ?1 AND sql_schema <> ?2 LIMIT 1",
            [contract.as_str(), LEDGER],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(schema) = known {
        return Ok(schema);
    }
    let mut taken = catalogue::reserved_schemas();
    let mut statement = connection.prepare_cached("SELECT DISTINCT sql_schema FROM _table")?;
    for schema in statement.query_map([], |row| row.get::<_, String>(0))? {
        taken.insert(schema?);
    }
    Ok(sql_name(contract.as_str(), &taken))
}

/// Makes a table, or brings its columns to those of `spec`, as of `height`.
pub(crate) fn declare(
    connection: &Connection,
    contract: &Name,
    schema: &str,
    spec: &TableSpec,
    height: u64,
) -> rusqlite::Result<()> {
    let known: Option<i64> = connection
        .query_row(
            "SELECT number FROM _table WHERE sql_schema = ?1 AND name = ?2 AND kind = ?3",
            (schema, spec.name.as_str(), spec.kind.code()),
            |row| row.get(0),
        )
        .optional()?;
    let number = match known {
        Some(number) => number,
        None => create_table(connection, contract, schema, spec, height)?,
    };
    let physical = format!("t{number}");
    let mut statement = connection.prepare_cached(
        "SELECT number, name, sql_name, type FROM _column WHERE table_number = ?1 AND until = ?2",
    )?;
    let mut open: BTreeMap<String, (i64, String, String)> = BTreeMap::new();
    for row in statement.query_map((number, OPEN), |row| {
        Ok((row.get::<_, String>(1)?, (row.get(0)?, row.get(2)?, row.get(3)?)))
    })? {
        let (name, column) = row?;
        open.insert(name, column);
    }
    let mut next: i64 = connection.query_row(
        "SELECT coalesce(max(number), 0) + 1 FROM _column WHERE table_number = ?1",
        [number],
        |row| row.get(0),
    )?;
    let height = height_of(height);
    let mut kept = Vec::new();
    let mut added = Vec::new();
    for (name, column_type) in &spec.columns {
        match open.get(name) {
            Some((at, sql, code)) if *code == column_type.code() => kept.push((*at, sql.clone())),
            _ => added.push((name, column_type)),
        }
    }
    for (at, _, _) in open.values() {
        if !kept.iter().any(|(number, _)| number == at) {
            connection.execute(
                "UPDATE _column SET until = ?3 WHERE table_number = ?1 AND number = ?2",
                (number, at, height),
            )?;
        }
    }
    let mut taken: std::collections::BTreeSet<String> =
        kept.into_iter().map(|(_, sql)| sql).collect();
    for (name, column_type) in added {
        let sql = sql_name(name, &taken);
        taken.insert(sql.clone());
        connection.execute(
            "INSERT INTO _column VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (number, next, name, &sql, column_type.code(), height, OPEN),
        )?;
        let storage = column_type.storage();
        connection
            .execute_batch(&format!("ALTER TABLE {physical} ADD COLUMN c{next} {storage}"))?;
        next += 1;
    }
    let telling = serde_json::to_string(&spec.telling)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    connection
        .execute("INSERT OR REPLACE INTO _telling VALUES (?1, ?2, ?3)", (number, height, telling))
        .map(drop)
}

fn create_table(
    connection: &Connection,
    contract: &Name,
    schema: &str,
    spec: &TableSpec,
    height: u64,
) -> rusqlite::Result<i64> {
    let mut taken = std::collections::BTreeSet::new();
    let mut statement =
        connection.prepare_cached("SELECT sql_name FROM _table WHERE sql_schema = ?1")?;
    for name in statement.query_map([schema], |row| row.get::<_, String>(0))? {
        taken.insert(name?);
    }
    let number: i64 =
        connection
            .query_row("SELECT coalesce(max(number), 0) + 1 FROM _table", [], |row| row.get(0))?;
    let name = sql_name(spec.name.as_str(), &taken);
    connection.execute(
        "INSERT INTO _table VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            number,
            contract.as_str(),
            spec.name.as_str(),
            schema,
            &name,
            spec.kind.code(),
            height_of(height),
        ),
    )?;
    let table = Table {
        contract: contract.clone(),
        name: spec.name.clone(),
        sql_schema: schema.to_owned(),
        sql_name: name,
        physical: format!("t{number}"),
        kind: spec.kind,
        columns: Vec::new(),
        telling: spec.telling.clone(),
    };
    connection.execute_batch(&table.create())?;
    if let Some(index) = table.create_index() {
        connection.execute_batch(&index)?;
    }
    Ok(number)
}

/// The tables as they stand after `height`.
pub(crate) fn load_tables(connection: &Connection, height: u64) -> rusqlite::Result<Vec<Table>> {
    let height = height_of(height);
    let mut tables = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT number, contract, name, sql_schema, sql_name, kind FROM _table
         WHERE since <= ?1 ORDER BY number",
    )?;
    let mut columns = connection.prepare_cached(
        "SELECT number, name, sql_name, type FROM _column
         WHERE table_number = ?1 AND since <= ?2 AND until > ?2 ORDER BY number",
    )?;
    let mut tellings = connection.prepare_cached(
        "SELECT telling FROM _telling WHERE table_number = ?1 AND since <= ?2
         ORDER BY since DESC LIMIT 1",
    )?;
    let mut rows = statement.query([height])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let name = |index: usize| {
            Name::new(&row.get::<_, String>(index)?).map_err(|error| unreadable(index, error))
        };
        let kind = match row.get::<_, String>(5)?.as_str() {
            "asset" => TableKind::Asset,
            _ => TableKind::Stream,
        };
        let telling: String = tellings.query_row((number, height), |row| row.get(0))?;
        let mut table = Table {
            contract: name(1)?,
            name: name(2)?,
            sql_schema: row.get(3)?,
            sql_name: row.get(4)?,
            physical: format!("t{number}"),
            kind,
            columns: Vec::new(),
            telling: serde_json::from_str(&telling).map_err(|error| unreadable(0, error))?,
        };
        for column in columns.query_map((number, height), |row| {
            let code: String = row.get(3)?;
            Ok(Column {
                physical: format!("c{}", row.get::<_, i64>(0)?),
                name: row.get(1)?,
                sql_name: row.get(2)?,
                column_type: ColumnType::from_code(&code)
                    .ok_or_else(|| unreadable(3, std::fmt::Error))?,
            })
        })? {
            table.columns.push(column?);
        }
        tables.push(table);
    }
    Ok(tables)
}

fn unreadable(
    index: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}
