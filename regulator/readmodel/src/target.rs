//! Tables as the projection writes them: statements and the places of columns,
//! worked out once.

use std::collections::BTreeMap;
use std::sync::Arc;

use hufu_proof::Name;

use crate::catalogue::{LEDGER, STREAM_COLUMNS, Table, TableKind};
use crate::tables::OPEN;

/// All tables that are written now.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// By schema and name; an asset and a stream may share one.
    targets: BTreeMap<String, BTreeMap<String, Vec<Arc<Target>>>>,
    /// Schemas of contracts.
    schemas: BTreeMap<Name, String>,
}

impl Targets {
    pub(crate) fn new(tables: Vec<Table>) -> Self {
        let mut all = Self::default();
        for table in tables {
            if table.sql_schema != LEDGER {
                all.schemas.insert(table.contract.clone(), table.sql_schema.clone());
            }
            let schema = all.targets.entry(table.sql_schema.clone()).or_default();
            let named = schema.entry(table.name.to_string()).or_default();
            named.push(Arc::new(Target::new(table)));
        }
        all
    }

    /// A contract's table by its own name and its kind.
    pub(crate) fn of(&self, contract: &Name, name: &Name, kind: TableKind) -> Option<Arc<Target>> {
        self.find(self.schemas.get(contract)?, name.as_str(), kind)
    }

    /// One of the ledger's own tables.
    pub(crate) fn ledger(&self, name: &str, kind: TableKind) -> Option<Arc<Target>> {
        self.find(LEDGER, name, kind)
    }

    fn find(&self, schema: &str, name: &str, kind: TableKind) -> Option<Arc<Target>> {
        let named = self.targets.get(schema)?.get(name)?;
        named.iter().find(|target| target.table.kind == kind).cloned()
    }
}

/// A table that is written.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) table: Table,
    /// Inserts a row: what every table of the kind has, then the columns.
    pub(crate) insert: String,
    /// Ends the version that is valid: of which height, of which key.
    pub(crate) close: String,
    /// Places of the declared columns in the order of their names.
    pub(crate) declared: Vec<usize>,
    /// Places of [`STREAM_COLUMNS`].
    pub(crate) added: [Option<usize>; STREAM_COLUMNS.len()],
}

impl Target {
    pub(crate) fn new(table: Table) -> Self {
        let fixed = match table.kind {
            TableKind::Asset => ["_key", "_from", "_to", "_tx"].as_slice(),
            TableKind::Stream => ["_from", "_tx"].as_slice(),
        };
        let physical = table.columns.iter().map(|column| column.physical.as_str());
        let names: Vec<&str> = fixed.iter().copied().chain(physical).collect();
        let insert = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            table.physical,
            names.join(", "),
            vec!["?"; names.len()].join(", ")
        );
        let close =
            format!("UPDATE {} SET _to = ?1 WHERE _key = ?2 AND _to = {OPEN}", table.physical);
        let columns = &table.columns;
        let mut declared: Vec<usize> = (0..columns.len())
            .filter(|&index| !STREAM_COLUMNS.contains(&columns[index].name.as_str()))
            .collect();
        declared.sort_by(|&one, &other| columns[one].name.cmp(&columns[other].name));
        let added =
            STREAM_COLUMNS.map(|name| columns.iter().position(|column| column.name == name));
        Self { insert, close, declared, added, table }
    }
}
