//! Which tables there are, as of each height.
//!
//! A table of a contract keeps one physical table for ever; a column keeps its
//! physical column as long as its name and storage stay. Physical names are
//! numbers (`t5`, `c3`), so that no name of a contract meets a keyword, another
//! name or a system table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use hufu_contract::Telling;
use hufu_proof::{Digest, Name};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// The schema of the ledger's own tables, which no contract's is called.
pub(crate) const LEDGER: &str = "ledger";

/// Heights in SQLite are signed; the ledger never gets to 2^63.
pub(crate) fn height_of(height: u64) -> i64 {
    i64::try_from(height).unwrap_or(i64::MAX - 1)
}

/// How a column is stored and what its values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `INTEGER` 0 or 1.
    Bool,
    /// `INTEGER`.
    Int,
    /// `INTEGER`, in units of the last decimal.
    Decimal {
        /// Decimals.
        scale: u8,
    },
    /// `INTEGER`, milliseconds since 1970.
    Time,
    /// `TEXT`: text, symbols, identifiers, members, references; digests and
    /// identities in hexadecimal.
    Text,
    /// `BLOB`.
    Bytes,
    /// `TEXT`: a JSON array, for `json_each`.
    List,
}

impl ColumnType {
    /// Its storage in SQLite.
    pub fn storage(self) -> &'static str {
        match self {
            Self::Bool | Self::Int | Self::Decimal { .. } | Self::Time => "INTEGER",
            Self::Text | Self::List => "TEXT",
            Self::Bytes => "BLOB",
        }
    }

    /// How values of a contract's type are stored.
    pub fn of(ty: &hufu_contract::Type) -> Self {
        use hufu_contract::Type;
        match ty {
            Type::Bool => Self::Bool,
            Type::Int { .. } => Self::Int,
            Type::Decimal { scale, .. } => Self::Decimal { scale: *scale },
            Type::Time { .. } => Self::Time,
            Type::Bytes { .. } => Self::Bytes,
            Type::List { .. } | Type::Set { .. } => Self::List,
            Type::Text { .. }
            | Type::Symbol
            | Type::Id
            | Type::Digest
            | Type::Member
            | Type::Identity
            | Type::Ref { .. } => Self::Text,
        }
    }

    /// The code in the catalogue.
    pub fn code(self) -> String {
        match self {
            Self::Bool => "bool".into(),
            Self::Int => "int".into(),
            Self::Decimal { scale } => format!("decimal({scale})"),
            Self::Time => "time".into(),
            Self::Text => "text".into(),
            Self::Bytes => "bytes".into(),
            Self::List => "list".into(),
        }
    }

    /// The type with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Some(match code {
            "bool" => Self::Bool,
            "int" => Self::Int,
            "time" => Self::Time,
            "text" => Self::Text,
            "bytes" => Self::Bytes,
            "list" => Self::List,
            other => {
                let scale = other.strip_prefix("decimal(")?.strip_suffix(')')?;
                Self::Decimal { scale: scale.parse().ok()? }
            }
        })
    }
}

impl ToSql for ColumnType {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.code().into())
    }
}

impl FromSql for ColumnType {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_code(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// Whether rows are changed or only added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKind {
    /// Rows have a key and versions, each valid for a range of heights.
    Asset,
    /// Rows are added and stay.
    Stream,
}

impl TableKind {
    /// The code in the catalogue.
    pub fn code(self) -> &'static str {
        match self {
            Self::Asset => "asset",
            Self::Stream => "stream",
        }
    }

    /// The kind with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Asset, Self::Stream].into_iter().find(|one| one.code() == code)
    }
}

impl ToSql for TableKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.code().into())
    }
}

impl FromSql for TableKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_code(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// A table that a contract, or the ledger itself, declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// Its asset type's or stream's name.
    pub name: Name,
    /// Versioned or append-only.
    pub kind: TableKind,
    /// All columns in order, an asset's key first; what the ledger adds to a
    /// contract's columns has `@` in front, which no declared name has.
    pub columns: Vec<(String, ColumnType)>,
    /// What says whose its rows are, and where.
    pub telling: Telling,
}

/// The column of an asset's state.
pub const STATE: &str = "@state";

/// What the ledger adds to a stream's columns: the key of the asset that
/// signed, the number of the batch, the row's place in it, and the height and
/// block time at which it was recorded.
pub const STREAM_COLUMNS: [&str; 5] =
    ["@device", "@sequence", "@position", "@recorded_height", "@recorded_time"];

/// Who knows the tables of a deployed contract.
pub trait Packages {
    /// The tables of the package with this digest ([`contract_tables`]); `None`
    /// when it is not known.
    fn tables(&self, contract: &Name, digest: &Digest) -> Option<Vec<TableSpec>>;
}

impl fmt::Debug for dyn Packages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Packages")
    }
}

/// Tables of a compiled contract, for callers that have it at hand.
impl Packages for BTreeMap<Digest, Arc<hufu_contract::Contract>> {
    fn tables(&self, _: &Name, digest: &Digest) -> Option<Vec<TableSpec>> {
        self.get(digest).map(|contract| contract_tables(contract))
    }
}

/// The tables of a contract.
pub fn contract_tables(contract: &hufu_contract::Contract) -> Vec<TableSpec> {
    contract.tables().iter().map(contract_table).collect()
}

fn contract_table(table: &hufu_contract::Table) -> TableSpec {
    use hufu_contract::TableKind as Declared;
    let kind = match table.kind {
        Declared::Asset => TableKind::Asset,
        Declared::Stream => TableKind::Stream,
    };
    let column = |(index, column): (usize, &hufu_contract::Column)| {
        let added = match kind {
            TableKind::Asset => index == 1,
            TableKind::Stream => index < STREAM_COLUMNS.len(),
        };
        let name = if added { format!("@{}", column.name) } else { column.name.clone() };
        (name, ColumnType::of(&column.ty))
    };
    let columns = table.columns.iter().enumerate().map(column).collect();
    let mut telling = Telling::of(table);
    if let (TableKind::Stream, Some(device)) = (kind, &mut telling.device) {
        device.column = format!("@{}", device.column);
    }
    TableSpec { name: table.of.clone(), kind, columns, telling }
}

/// A column as of a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in the contract, or with `@` in front what the ledger adds.
    pub name: String,
    /// Its name in queries.
    pub sql_name: String,
    /// Its physical name.
    pub physical: String,
    /// What it holds.
    pub column_type: ColumnType,
}

/// A table as of a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The contract that declares it, or `ledger`.
    pub contract: Name,
    /// Its name in the contract.
    pub name: Name,
    /// The contract's name in queries.
    pub sql_schema: String,
    /// Its name in queries.
    pub sql_name: String,
    /// Its physical name.
    pub physical: String,
    /// Versioned or append-only.
    pub kind: TableKind,
    /// Its columns.
    pub columns: Vec<Column>,
    /// What says whose its rows are, and where.
    pub telling: Telling,
}

impl Table {
    /// The name of its view, which no query can write.
    pub fn view(&self) -> String {
        format!("{}{}.{}", crate::sql::RESERVED, self.sql_schema, self.sql_name)
    }

    /// The SELECT that shows it as of `height`, of its rows those that `only`
    /// holds for; `with_rows` with a column `_row` that tells where a row comes
    /// from: of an asset its physical row, of a stream the place in the log of the
    /// transaction that appended it.
    pub fn select(&self, height: u64, only: Option<&str>, with_rows: bool) -> String {
        let mut columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} AS {}", column.physical, quote(&column.sql_name)))
            .collect();
        if with_rows {
            columns.push(match self.kind {
                TableKind::Asset => "_row AS _row".into(),
                TableKind::Stream => "_tx AS _row".into(),
            });
        }
        let mut rows = match self.kind {
            TableKind::Asset => format!("_from <= {height} AND _to > {height}"),
            TableKind::Stream => format!("_from <= {height}"),
        };
        if let Some(only) = only {
            rows.push_str(&format!(" AND {only}"));
        }
        format!("SELECT {} FROM main.{} WHERE {rows}", columns.join(", "), self.physical)
    }

    /// The physical name of the column with this name in the contract.
    pub(crate) fn physical_column(&self, name: &str) -> Option<&str> {
        let column = self.columns.iter().find(|column| column.name == name);
        column.map(|column| column.physical.as_str())
    }

    /// The statement that creates the physical table.
    pub fn create(&self) -> String {
        let mut columns = vec!["_row INTEGER PRIMARY KEY".to_owned()];
        if self.kind == TableKind::Asset {
            columns.push("_key TEXT NOT NULL".into());
        }
        columns.push("_from INTEGER NOT NULL".into());
        if self.kind == TableKind::Asset {
            columns.push("_to INTEGER NOT NULL".into());
        }
        columns.push("_tx INTEGER".into());
        columns.extend(
            self.columns
                .iter()
                .map(|column| format!("{} {}", column.physical, column.column_type.storage())),
        );
        format!("CREATE TABLE main.{} ({}) STRICT", self.physical, columns.join(", "))
    }

    /// The statement that creates the index by which versions are found.
    pub fn create_index(&self) -> Option<String> {
        let physical = &self.physical;
        (self.kind == TableKind::Asset)
            .then(|| format!("CREATE INDEX main.{physical}_key ON {physical} (_key, _to)"))
    }
}

/// A name for queries that is not taken: `-` becomes `_`, and a number is
/// appended where that, or a case of SQLite's own names, is in use already.
pub fn sql_name(name: &str, taken: &BTreeSet<String>) -> String {
    let base = name.trim_start_matches('@').replace('-', "_");
    if !taken.contains(&base) {
        return base;
    }
    let mut number = 2u64;
    loop {
        let candidate = format!("{base}_{number}");
        if !taken.contains(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

/// Schemas that contracts cannot have.
pub fn reserved_schemas() -> BTreeSet<String> {
    ["ledger", "main", "temp"].map(str::to_owned).into()
}

/// A name in double quotes.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The tables of `specs` as they stand where `contract` is deployed beside
/// what has taken `schemas` and physical numbers up to `next`: what a check
/// works on.
pub fn standalone(
    contract: &Name,
    specs: &[TableSpec],
    schemas: &mut BTreeSet<String>,
    next: &mut u64,
) -> Vec<Table> {
    let schema = sql_name(contract.as_str(), schemas);
    schemas.insert(schema.clone());
    let mut taken = BTreeSet::new();
    let table = |spec: &TableSpec| {
        let name = sql_name(spec.name.as_str(), &taken);
        taken.insert(name.clone());
        *next += 1;
        let mut columns = Vec::new();
        for (name, column_type) in spec.columns.iter().cloned() {
            add_column(&mut columns, name, column_type);
        }
        Table {
            contract: contract.clone(),
            name: spec.name.clone(),
            sql_schema: schema.clone(),
            sql_name: name,
            physical: format!("t{next}"),
            kind: spec.kind,
            columns,
            telling: spec.telling.clone(),
        }
    };
    specs.iter().map(table).collect()
}

/// Adds a column under the next physical name and a free name for queries.
fn add_column(columns: &mut Vec<Column>, name: String, column_type: ColumnType) {
    let taken = columns.iter().map(|column| column.sql_name.clone()).collect();
    columns.push(Column {
        sql_name: sql_name(&name, &taken),
        name,
        physical: format!("c{}", columns.len() + 1),
        column_type,
    });
}
