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

use std::path::{Path, PathBuf};

use hufu_machine::event::Event;
use hufu_proof::{Block, Digest};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::catalogue::{LEDGER, Packages};
use crate::error::ReadModelError;
use crate::ledger_tables;
use crate::project;
use crate::query::Reader;
use crate::tables::{declare, load_tables};
use crate::target::Targets;

/// Version of the file's layout. A file of another version is built anew.
const LAYOUT: i64 = 4;

/// The writing side of the read model; there is one for each file.
#[derive(Debug)]
pub struct ReadModel {
    path: PathBuf,
    connection: Option<Connection>,
    applied: Option<u64>,
    targets: Targets,
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
            targets: Targets::default(),
        };
        let loaded = (|| {
            let applied: Option<i64> =
                connection.query_row("SELECT max(height) FROM _height", [], |row| row.get(0))?;
            Ok((applied, load_tables(&connection, u64::MAX)?))
        })();
        let (applied, tables) = loaded.map_err(|source| damaged(path, source))?;
        model.applied = applied.and_then(|height| u64::try_from(height).ok());
        model.targets = Targets::new(tables);
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
        let outcome = project::block(&mut connection, &mut self.targets, block, events, packages);
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
                self.targets = Targets::new(tables);
                self.connection = Some(connection);
            }
            Err(_) => {}
        }
        outcome.map(|()| true)
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
